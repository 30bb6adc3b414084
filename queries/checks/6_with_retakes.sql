-- Do the questions to review stay suspicious when retakes are included?
-- All attempts; the four questions whose signs are the clearest.
WITH chosen AS (
  SELECT left(q.question_id, 8) AS question, o.option_id, o.correct, count(*) AS results, count_if(o.checked) AS chosen,
         100 * avg(int(q.user_result = 'correct')) AS percent
  FROM questions q JOIN options o ON o.keen_id = q.keen_id AND o.question_position = q.question_position
  WHERE left(q.question_id, 8) IN ('56c69059', '2fc27e25', 'a0395a26', '32fe7d8d')
  GROUP BY left(q.question_id, 8), o.option_id, o.correct
)
SELECT question, max(results) AS results, round(max(percent), 1) AS percent_right,
       max(chosen) FILTER (WHERE NOT correct) AS wrong_chosen, max(chosen) FILTER (WHERE correct) AS right_chosen
FROM chosen GROUP BY question ORDER BY percent_right
