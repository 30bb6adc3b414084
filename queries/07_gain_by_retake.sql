-- How much better is a retake than the attempt before it?
-- Pairs of an attempt and its retake: the same exam and, by inference, the same person. Grouped by the score before.
-- percent_retaken is over all attempts with that score. margin is half a 95 % interval of the mean gain; it takes the
-- pairs as independent, though some belong to one chain. gain_if_chance: the gain if scores were pure chance, so that a
-- retake scored what first attempts at the same exam score on average; regression to the mean cannot be more than that.
-- Attempts without counts have no score and are left out.
WITH scored AS (
  SELECT keen_id, previous_keen_id, is_retake, is_retaken, 100 * correct / total AS score,
         avg(100 * correct / total) FILTER (WHERE NOT is_retake) OVER (PARTITION BY base_exam_id) AS exam_mean
  FROM attempts JOIN attempt_order USING (keen_id) WHERE total > 0
), attempt AS (
  SELECT b.keen_id, b.is_retaken, b.score, a.score - b.score AS gain, b.exam_mean - b.score AS chance,
         CASE WHEN b.score = 0 THEN '1 none right' WHEN b.score < 50 THEN '2 less than half'
              WHEN b.score < 100 THEN '3 half or more, not all' ELSE '4 all right' END AS score_before
  FROM scored b LEFT JOIN scored a ON a.is_retake AND a.previous_keen_id = b.keen_id
)
SELECT coalesce(score_before, 'all') AS score_before, count(DISTINCT keen_id) AS attempts, count(gain) AS pairs,
       round(100 * count(DISTINCT keen_id) FILTER (WHERE is_retaken) / count(DISTINCT keen_id), 1) AS percent_retaken,
       round(avg(score) FILTER (WHERE gain IS NOT NULL), 1) AS mean_before,
       round(avg(score + gain), 1) AS mean_after, round(avg(gain), 1) AS mean_gain,
       round(1.96 * stddev(gain) / sqrt(count(gain)), 1) AS margin,
       round(avg(chance) FILTER (WHERE gain IS NOT NULL), 1) AS gain_if_chance,
       round(100 * avg(CAST(gain > 1e-9 AS INT)), 1) AS percent_better,
       round(100 * avg(CAST(abs(gain) <= 1e-9 AS INT)), 1) AS percent_equal,
       round(100 * avg(CAST(gain < -1e-9 AS INT)), 1) AS percent_worse
FROM attempt
GROUP BY GROUPING SETS ((score_before), ())
ORDER BY score_before
