-- And the most common?
-- The first ten by attempts, with their ranks (ties share one), beside the number of deliveries of the same name.
WITH deliveries AS (
  SELECT a.exam_name, count(*) AS deliveries
  FROM messages m JOIN attempts a ON a.keen_id = m.keen_id
  WHERE m.status <> 'rejected'
  GROUP BY a.exam_name
), by_name AS (
  SELECT exam_name, count(DISTINCT base_exam_id) AS exam_ids, count(*) AS attempts FROM attempts GROUP BY exam_name
)
SELECT rank() OVER (ORDER BY attempts DESC) AS rank, exam_name, exam_ids, attempts, deliveries
FROM by_name JOIN deliveries USING (exam_name)
QUALIFY rank <= 10
ORDER BY rank, exam_name
