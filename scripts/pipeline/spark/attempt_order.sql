-- Which attempt came before this one, and was it a retake? No message names its user, so this is inferred from times.
-- previous_keen_id: the attempt at the same exam that ended last before this one began. is_retake: this one began at
-- most 60 seconds later. is_retaken: this one has a retake. One row per attempt.
CREATE OR REPLACE TEMPORARY VIEW attempt_order AS
WITH events AS (
  SELECT base_exam_id, keen_id, started_at AS at, false AS is_end FROM attempts
  UNION ALL
  SELECT base_exam_id, keen_id, keen_timestamp, true FROM attempts
), last_end AS (
  SELECT keen_id, at, is_end,
         last_value(IF(is_end, struct(at, keen_id), NULL)) IGNORE NULLS
           OVER (PARTITION BY base_exam_id ORDER BY at, is_end, keen_id) AS ended
  FROM events
), after AS (
  SELECT keen_id, ended.keen_id AS previous_keen_id,
         CAST(at AS DOUBLE) - CAST(ended.at AS DOUBLE) AS seconds_between
  FROM last_end
  WHERE NOT is_end
)
SELECT keen_id, previous_keen_id, seconds_between, coalesce(seconds_between <= 60, false) AS is_retake,
       retaken.keen_id IS NOT NULL AS is_retaken
FROM after LEFT JOIN (
  SELECT DISTINCT previous_keen_id AS keen_id FROM after WHERE seconds_between <= 60
) retaken USING (keen_id)
