-- What is the least common course taken?
-- All that tie are shown, not whichever comes first, in both readings: a course is its name, as a person would ask, or
-- its base_exam_id (some names belong to two ids, which then count apart).
WITH counted AS (
  SELECT 'by name' AS reading, exam_name, CAST(NULL AS STRING) AS base_exam_id, count(*) AS attempts FROM attempts GROUP BY exam_name
  UNION ALL
  SELECT 'by id', exam_name, base_exam_id, count(*) FROM attempts GROUP BY exam_name, base_exam_id
)
SELECT reading, exam_name, base_exam_id, attempts
FROM counted
QUALIFY attempts = min(attempts) OVER (PARTITION BY reading)
ORDER BY reading DESC, exam_name, base_exam_id
