-- Which wrong option attracts the most?
-- An option is named by its id within its question. Share of those who answered the question and left the wrong option
-- checked, beside the share that answered the question right. Only options with 30 answers or more. Options that were
-- right in some attempts and wrong in others (the exam was edited meanwhile) are left out. A wrong option chosen more
-- often than the question is answered right hints at a wrong key or a question that misleads.
WITH answered AS (
  SELECT o.question_id, o.option_id, o.exam_name, o.checked, o.correct, q.user_result
  FROM options o JOIN questions q ON q.keen_id = o.keen_id AND q.question_position = o.question_position
  WHERE q.user_result IN ('correct', 'incorrect', 'missed_some')
)
SELECT question_id, option_id, min(exam_name) AS exam_name, count(*) AS answers, count_if(checked) AS chosen,
       round(100 * avg(CAST(checked AS INT)), 1)                 AS percent_chosen,
       round(100 * avg(CAST(user_result = 'correct' AS INT)), 1) AS percent_right
FROM answered
GROUP BY question_id, option_id
HAVING count(*) >= 30 AND NOT bool_or(correct)
ORDER BY percent_chosen DESC, question_id, option_id
LIMIT 10
