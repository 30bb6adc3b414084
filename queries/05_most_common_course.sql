-- And the most common?
-- The first five by attempts, ties sharing a rank, in both readings: a course is its name or its base_exam_id. Beside
-- them the number of deliveries, which is larger where events were delivered again.
WITH taken AS (
  SELECT a.exam_name, a.base_exam_id, count(*) AS deliveries, count_if(m.status = 'accepted') AS attempts
  FROM messages m JOIN attempts a ON a.keen_id = m.keen_id
  WHERE m.status <> 'rejected'
  GROUP BY a.exam_name, a.base_exam_id
), counted AS (
  SELECT 'by name' AS reading, exam_name, CAST(NULL AS STRING) AS base_exam_id, sum(attempts) AS attempts, sum(deliveries) AS deliveries FROM taken GROUP BY exam_name
  UNION ALL
  SELECT 'by id', exam_name, base_exam_id, attempts, deliveries FROM taken
)
SELECT reading, rank() OVER (PARTITION BY reading ORDER BY attempts DESC) AS rank, exam_name, base_exam_id, attempts, deliveries
FROM counted
QUALIFY rank <= 5
ORDER BY reading DESC, rank, exam_name, base_exam_id
