-- Which wrong option attracts the most?
-- An option is named by its id within its question. Share of those who answered the question and left the wrong
-- option checked. Only questions with 30 answers or more. A share above that of the right option hints at a key that
-- is wrong, or a question that misleads.
WITH answered AS (
  SELECT o.question_id, o.option_id, o.exam_name, o.checked, o.correct
  FROM options o JOIN questions q ON q.keen_id = o.keen_id AND q.question_position = o.question_position
  WHERE q.user_result IN ('correct', 'incorrect', 'missed_some')
), by_option AS (
  SELECT question_id, option_id, min(exam_name) AS exam_name, any_value(correct) AS correct, count(*) AS answers, count_if(checked) AS chosen
  FROM answered
  GROUP BY question_id, option_id
  HAVING count(DISTINCT correct) = 1
)
SELECT question_id, option_id, exam_name, answers, chosen, round(100 * chosen / answers, 1) AS percent
FROM by_option
WHERE NOT correct AND answers >= 30
ORDER BY percent DESC, question_id, option_id
LIMIT 10
