-- Which questions tell the strong from the weak?
-- Discrimination: the correlation between answering this question right and the share of the same attempt's other
-- questions that were answered right. Near 0, the question tells nothing about the rest of the exam; clearly below 0,
-- weaker users would answer it better. A question is its id within an exam's name. Questions with 50 results or more, the
-- lowest five and the highest five, with the half-width of a 95 % interval (margin): a value that is nearer to 0 than its
-- margin cannot be told from 0. The rest of an attempt is a few questions only, so each value is a rough one.
WITH scored AS (
  SELECT question_id, exam_name, CAST(user_result = 'correct' AS INT) AS is_correct,
         (sum(CAST(user_result = 'correct' AS INT)) OVER attempt - CAST(user_result = 'correct' AS INT))
           / (count(*) OVER attempt - 1) AS rest
  FROM questions
  WHERE user_result IS NOT NULL
  WINDOW attempt AS (PARTITION BY keen_id)
  QUALIFY count(*) OVER attempt > 1
), of_question AS (
  SELECT question_id, exam_name, count(*) AS results, avg(is_correct) AS share_correct,
         try_divide(covar_pop(is_correct, rest), stddev_pop(is_correct) * stddev_pop(rest)) AS r
  FROM scored
  GROUP BY question_id, exam_name
  HAVING count(*) >= 50
)
SELECT question_id, exam_name, results, round(100 * share_correct, 1) AS percent_correct, round(r, 2) AS discrimination,
       round(1.96 * (1 - r * r) / sqrt(results - 1), 2) AS margin
FROM of_question
WHERE r IS NOT NULL
QUALIFY least(row_number() OVER (ORDER BY r, question_id), row_number() OVER (ORDER BY r DESC, question_id)) <= 5
ORDER BY r, question_id
