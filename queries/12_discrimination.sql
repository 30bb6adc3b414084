-- Which questions tell the strong from the weak?
-- First attempts only. Discrimination: the correlation between answering this question right and the share of the same
-- attempt's other questions that were answered right. 0: it says nothing about the rest of the exam; negative: weaker
-- people answer it better. A question is its id within an exam's name. Questions with at least 30 results, the lowest five
-- and the highest five. low and high: a 95 % interval (Fisher's z). The lowest of many are partly low by chance.
WITH scored AS (
  SELECT question_id, exam_name, CAST(user_result = 'correct' AS INT) AS is_correct,
         (sum(CAST(user_result = 'correct' AS INT)) OVER attempt - CAST(user_result = 'correct' AS INT))
           / (count(*) OVER attempt - 1) AS rest
  FROM questions JOIN attempt_order USING (keen_id)
  WHERE user_result IS NOT NULL AND NOT is_retake
  WINDOW attempt AS (PARTITION BY keen_id)
  QUALIFY count(*) OVER attempt > 1
), of_question AS (
  SELECT question_id, exam_name, count(*) AS results, avg(is_correct) AS share_correct,
         try_divide(covar_pop(is_correct, rest), stddev_pop(is_correct) * stddev_pop(rest)) AS r
  FROM scored
  GROUP BY question_id, exam_name
  HAVING count(*) >= 30
)
SELECT question_id, exam_name, results, round(100 * share_correct, 1) AS percent_correct, round(r, 2) AS discrimination,
       round(tanh(atanh(r) - 1.96 / sqrt(results - 3)), 2) AS low, round(tanh(atanh(r) + 1.96 / sqrt(results - 3)), 2) AS high
FROM of_question
WHERE r IS NOT NULL
QUALIFY least(row_number() OVER (ORDER BY r, question_id), row_number() OVER (ORDER BY r DESC, question_id)) <= 5
ORDER BY r, question_id
