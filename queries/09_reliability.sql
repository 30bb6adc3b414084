-- How far can a score be trusted?
-- KR-20 (Cronbach's alpha for right or wrong) says how well the questions of an exam agree: 1, if another set of such
-- questions would rank people the same; 0, if at random. First attempts at one version of an exam (sequences_id), at
-- least 50 of them; versions that do not ask everybody the same questions are left out. low and high: a 95 % interval
-- (Bonett 2002). margin_points: 1.96 standard errors of measurement, in points of 100: so far may a score lie from what
-- the same person gets on average. A skipped answer counts as wrong, and who skips one tends to skip more, which looks
-- like agreement: so kr20_complete leaves out the attempts that skipped something (skipped).
WITH answer AS (
  SELECT q.exam_name, a.sequences_id, q.keen_id, q.question_id, CAST(q.user_result = 'correct' AS INT) AS is_right,
         bool_or(q.user_result = 'unanswered') OVER (PARTITION BY q.keen_id) AS skips
  FROM questions q JOIN attempts a ON a.keen_id = q.keen_id JOIN attempt_order o ON o.keen_id = q.keen_id AND NOT o.is_retake
  WHERE q.user_result IS NOT NULL
), counted AS (
  SELECT *, explode(IF(skips, array('all'), array('all', 'complete'))) AS which FROM answer
), attempt AS (
  SELECT which, exam_name, sequences_id, keen_id, sum(is_right) AS score, count(*) AS k
  FROM counted GROUP BY which, exam_name, sequences_id, keen_id
), question AS (
  SELECT which, exam_name, sequences_id, question_id, var_samp(is_right) AS variance
  FROM counted GROUP BY which, exam_name, sequences_id, question_id
), version AS (
  SELECT which, exam_name, sequences_id, count(*) AS first_attempts, max(k) AS k, avg(score) AS mean, var_samp(score) AS variance
  FROM attempt GROUP BY which, exam_name, sequences_id HAVING count(*) >= 50 AND min(k) = max(k) AND max(k) > 1
), agreement AS (
  SELECT which, exam_name, sequences_id, first_attempts, k, mean, v.variance, k / (k - 1) * (1 - try_divide(sum(q.variance), v.variance)) AS kr20
  FROM version v JOIN question q USING (which, exam_name, sequences_id)
  GROUP BY which, exam_name, sequences_id, first_attempts, k, mean, v.variance
  HAVING count(*) = k
)
SELECT a.exam_name, a.first_attempts, a.k AS questions, round(100 * a.mean / a.k, 1) AS mean_score, round(a.kr20, 2) AS kr20,
       round(1 - (1 - a.kr20) * exp(1.96 * sqrt(2 * a.k / ((a.k - 1) * (a.first_attempts - 2)))), 2) AS low,
       round(1 - (1 - a.kr20) * exp(-1.96 * sqrt(2 * a.k / ((a.k - 1) * (a.first_attempts - 2)))), 2) AS high,
       CAST(round(100 * 1.96 * sqrt(a.variance * (1 - a.kr20)) / a.k) AS BIGINT) AS margin_points,
       a.first_attempts - c.first_attempts AS skipped, round(c.kr20, 2) AS kr20_complete
FROM agreement a LEFT JOIN agreement c ON c.which = 'complete' AND c.exam_name = a.exam_name AND c.sequences_id = a.sequences_id
WHERE a.which = 'all'
ORDER BY kr20 DESC, exam_name
