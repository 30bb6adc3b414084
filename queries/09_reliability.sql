-- How far can a score be trusted?
-- KR-20 (Cronbach's alpha for right or wrong) says how well the questions of an exam agree: 1, if another set of such
-- questions would rank people the same; 0, if at random. First attempts at one version of an exam (sequences_id), at
-- least 50 of them; versions that do not ask everybody the same questions are left out. low and high: a 95 % interval
-- (Bonett 2002). margin_points: 1.96 standard errors of measurement, in points of 100: so far may a score lie from what
-- the same person gets on average.
WITH answer AS (
  SELECT q.exam_name, a.sequences_id, q.keen_id, q.question_id, CAST(q.user_result = 'correct' AS INT) AS is_right
  FROM questions q JOIN attempts a ON a.keen_id = q.keen_id JOIN attempt_order o ON o.keen_id = q.keen_id AND NOT o.is_retake
  WHERE q.user_result IS NOT NULL
), attempt AS (
  SELECT exam_name, sequences_id, keen_id, sum(is_right) AS score, count(*) AS k FROM answer GROUP BY exam_name, sequences_id, keen_id
), question AS (
  SELECT exam_name, sequences_id, question_id, var_samp(is_right) AS variance FROM answer GROUP BY exam_name, sequences_id, question_id
), version AS (
  SELECT exam_name, sequences_id, count(*) AS first_attempts, max(k) AS k, avg(score) AS mean, var_samp(score) AS variance
  FROM attempt GROUP BY exam_name, sequences_id HAVING count(*) >= 50 AND min(k) = max(k) AND max(k) > 1
), agreement AS (
  SELECT exam_name, first_attempts, k, mean, v.variance, k / (k - 1) * (1 - try_divide(sum(q.variance), v.variance)) AS kr20
  FROM version v JOIN question q USING (exam_name, sequences_id)
  GROUP BY exam_name, sequences_id, first_attempts, k, mean, v.variance
  HAVING count(*) = k
)
SELECT exam_name, first_attempts, k AS questions, round(100 * mean / k, 1) AS mean_score, round(kr20, 2) AS kr20,
       round(1 - (1 - kr20) * exp(1.96 * sqrt(2 * k / ((k - 1) * (first_attempts - 2)))), 2) AS low,
       round(1 - (1 - kr20) * exp(-1.96 * sqrt(2 * k / ((k - 1) * (first_attempts - 2)))), 2) AS high,
       CAST(round(100 * 1.96 * sqrt(variance * (1 - kr20)) / k) AS BIGINT) AS margin_points
FROM agreement
ORDER BY kr20 DESC, exam_name
