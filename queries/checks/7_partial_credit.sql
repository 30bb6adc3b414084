-- What would partial credit change, and are questions with several right options harder for the same people?
-- First attempts with results. credited: a partly right answer counts as the share of the right options that were checked. one and
-- several: percent right of the questions of each kind, in the with_both attempts that have both; margin: half a 95 % interval.
WITH answer AS (
  SELECT q.keen_id, q.user_result, count_if(o.correct) > 1 AS is_several, try_divide(count_if(o.checked AND o.correct), count_if(o.correct)) AS share
  FROM questions q JOIN options o ON o.keen_id = q.keen_id AND o.question_position = q.question_position
    JOIN attempt_order a ON a.keen_id = q.keen_id AND NOT a.is_retake
  WHERE q.user_result IS NOT NULL GROUP BY q.keen_id, q.question_position, q.user_result
), attempt AS (
  SELECT 100 * avg(int(user_result = 'correct')) AS score, 100 * avg(IF(user_result IN ('correct', 'missed_some'), share, 0)) AS credited,
         100 * avg(int(user_result = 'correct')) FILTER (WHERE NOT is_several) AS one,
         100 * avg(int(user_result = 'correct')) FILTER (WHERE is_several) AS several
  FROM answer GROUP BY keen_id
)
SELECT count(one - several) AS with_both, round(avg(one) FILTER (WHERE several IS NOT NULL), 1) AS one,
       round(avg(several) FILTER (WHERE one IS NOT NULL), 1) AS several, round(avg(one - several), 1) AS difference,
       round(1.96 * stddev(one - several) / sqrt(count(one - several)), 1) AS margin, count(*) AS first_attempts,
       count_if(credited > score + 1e-9) AS changed, round(avg(score), 1) AS mean_score, round(avg(credited), 1) AS mean_credited
FROM attempt
