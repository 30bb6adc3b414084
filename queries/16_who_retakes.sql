-- Who retakes: does it depend on the exam?
-- Share of first attempts with a retake within 60 seconds, and a 95 % Wilson interval; of_imperfect: the same share of first
-- attempts that had not everything right. Exams by name with at least 50 first attempts; then all exams by their length.
WITH first_attempt AS (
  SELECT is_retaken, correct < total AS is_imperfect,
         explode(array(concat('1 ', exam_name), IF(question_count <= 4, '2 up to four questions', '3 five questions or more'))) AS kind
  FROM attempts JOIN attempt_order USING (keen_id) WHERE NOT is_retake
), counted AS (
  SELECT kind, count(*) AS n, avg(CAST(is_retaken AS INT)) AS p, avg(CAST(is_retaken AS INT)) FILTER (WHERE is_imperfect) AS p_imperfect
  FROM first_attempt GROUP BY kind HAVING count(*) >= 50
)
SELECT substr(kind, 3) AS exams, n AS first_attempts, round(100 * p, 1) AS percent_retaken,
       round(100 * (p + 1.9207 / n - 1.96 * sqrt(p * (1 - p) / n + 0.9604 / n / n)) / (1 + 3.8415 / n), 1) AS low,
       round(100 * (p + 1.9207 / n + 1.96 * sqrt(p * (1 - p) / n + 0.9604 / n / n)) / (1 + 3.8415 / n), 1) AS high,
       round(100 * p_imperfect, 1) AS percent_of_imperfect
FROM counted
ORDER BY left(kind, 1), p DESC, kind
