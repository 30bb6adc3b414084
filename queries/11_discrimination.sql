-- Which questions tell the strong from the weak?
-- Discrimination: the correlation between answering this question right and the share of the same attempt's other
-- questions that were answered right. Near 0, the question tells nothing about the rest of the exam; below 0, weaker
-- users answer it better, so its key or its wording deserves a look. Questions with 50 results or more, the lowest five
-- and the highest five. The rest of an attempt is a few questions only, so each value is a rough one.
WITH scored AS (
  SELECT question_id, exam_name, CAST(user_result = 'correct' AS INT) AS is_correct,
         (sum(CAST(user_result = 'correct' AS INT)) OVER attempt - CAST(user_result = 'correct' AS INT))
           / (count(*) OVER attempt - 1) AS rest
  FROM questions
  WHERE user_result IS NOT NULL
  WINDOW attempt AS (PARTITION BY keen_id)
  QUALIFY count(*) OVER attempt > 1
), of_question AS (
  SELECT question_id, min(exam_name) AS exam_name, count(*) AS results, round(100 * avg(is_correct), 1) AS percent_correct,
         round(try_divide(covar_pop(is_correct, rest), stddev_pop(is_correct) * stddev_pop(rest)), 2) AS discrimination
  FROM scored
  GROUP BY question_id
  HAVING count(*) >= 50
)
SELECT question_id, exam_name, results, percent_correct, discrimination
FROM of_question
QUALIFY least(row_number() OVER (ORDER BY discrimination, question_id), row_number() OVER (ORDER BY discrimination DESC, question_id)) <= 5
ORDER BY discrimination, question_id
