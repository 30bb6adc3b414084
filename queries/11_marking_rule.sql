-- What does the marking rule cost: are questions with several right options answered worse?
-- A question is right when all its right options are checked and no other; one that is partly right (missed_some: no wrong
-- option, but not all right ones) counts as nothing. First attempts only, questions with a result. fewer: of the answered
-- ones, those with fewer options checked than are right. 'several' sums up the lines of two and more.
WITH answer AS (
  SELECT q.exam_name, q.question_id, q.user_result, count_if(o.correct) AS right_options, count_if(o.checked) AS checked
  FROM questions q JOIN options o ON o.keen_id = q.keen_id AND o.question_position = q.question_position
    JOIN attempt_order a ON a.keen_id = q.keen_id AND NOT a.is_retake
  WHERE q.user_result IS NOT NULL
  GROUP BY q.keen_id, q.question_position, q.exam_name, q.question_id, q.user_result
), shown AS (
  SELECT *, explode(CASE right_options WHEN 1 THEN array('1 one') WHEN 2 THEN array('2 two', '5 several')
                    WHEN 3 THEN array('3 three', '5 several') ELSE array('4 four or more', '5 several') END) AS format
  FROM answer WHERE right_options > 0
)
SELECT substr(format, 3) AS right_options, count(DISTINCT exam_name, question_id) AS questions, count(*) AS results,
       count_if(user_result = 'correct') AS correct,
       round(100 * avg(CAST(user_result = 'correct' AS INT)), 1)     AS percent_right,
       round(100 * avg(CAST(user_result = 'missed_some' AS INT)), 1) AS percent_partly,
       round(100 * avg(CAST(user_result = 'incorrect' AS INT)), 1)   AS percent_wrong,
       round(100 * avg(CAST(user_result = 'unanswered' AS INT)), 1)  AS percent_unanswered,
       round(100 * count_if(checked < right_options AND user_result <> 'unanswered') / count_if(user_result <> 'unanswered'), 1) AS percent_fewer
FROM shown
GROUP BY format
ORDER BY format
