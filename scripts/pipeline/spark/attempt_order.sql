-- The view attempt_order: which attempt came before this one, and was it a retake? No message names its user, so this is
-- inferred from times. previous_keen_id: the attempt at the same exam that ended last before this one began. is_retake:
-- this one began at most 60 seconds later. is_retaken: this one has a retake; if the event after its end is a start, that
-- is the first attempt that this one came before. One row per attempt. There is no WITH: in a question that has one, Spark
-- would not find the view in the cache, and would compute it again.
SELECT keen_id, previous_keen_id, seconds_between, coalesce(seconds_between <= 60, false) AS is_retake, is_retaken
FROM (
  SELECT keen_id, max(ended.keen_id) FILTER (WHERE NOT is_end) AS previous_keen_id,
         max(CAST(at AS DOUBLE) - CAST(ended.at AS DOUBLE)) FILTER (WHERE NOT is_end) AS seconds_between,
         coalesce(
           bool_or(NOT next.is_end AND CAST(next.at AS DOUBLE) - CAST(at AS DOUBLE) <= 60) FILTER (WHERE is_end), false
         ) AS is_retaken
  FROM (
    SELECT keen_id, at, is_end, last_value(IF(is_end, struct(at, keen_id), NULL)) IGNORE NULLS OVER exam AS ended,
           lead(struct(at, is_end)) OVER exam AS next
    FROM (
      SELECT base_exam_id, keen_id, started_at AS at, false AS is_end FROM attempts
      UNION ALL
      SELECT base_exam_id, keen_id, keen_timestamp, true FROM attempts
    )
    WINDOW exam AS (PARTITION BY base_exam_id ORDER BY at, is_end, keen_id)
  )
  GROUP BY keen_id
)
