-- And the most common?
-- The ten exams with most attempts, ties sharing a rank; a course is its name. Beside the attempts: those that are no
-- retakes; deliveries, which include repeated messages; and, for a name that belongs to several base_exam_ids, the
-- attempts of the largest of them, which is the number if a course is its id.
WITH delivered AS (
  SELECT exam_name, count(*) AS deliveries FROM messages JOIN attempts USING (keen_id) WHERE status <> 'rejected' GROUP BY exam_name
), of_id AS (
  SELECT exam_name, base_exam_id, count(*) AS attempts, count_if(NOT is_retake) AS first_attempts
  FROM attempts JOIN attempt_order USING (keen_id) GROUP BY exam_name, base_exam_id
), of_name AS (
  SELECT exam_name, sum(attempts) AS attempts, sum(first_attempts) AS first_attempts, count(*) AS base_exam_ids, max(attempts) AS of_largest_id
  FROM of_id GROUP BY exam_name
)
SELECT rank() OVER (ORDER BY attempts DESC) AS rank, exam_name, attempts, first_attempts, deliveries, base_exam_ids, of_largest_id
FROM of_name JOIN delivered USING (exam_name)
QUALIFY rank <= 10
ORDER BY rank, exam_name
