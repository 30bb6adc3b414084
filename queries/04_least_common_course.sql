-- What is the least common course taken?
-- All that tie are shown, not whichever comes first. By name, as a person would ask, and in the second column how
-- many exam ids carry the name.
WITH by_name AS (SELECT exam_name, count(DISTINCT base_exam_id) AS exam_ids, count(*) AS attempts FROM attempts GROUP BY exam_name)
SELECT exam_name, exam_ids, attempts
FROM by_name
WHERE attempts = (SELECT min(attempts) FROM by_name)
ORDER BY exam_name
