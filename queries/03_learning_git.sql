-- How many people took Learning Git?
-- The data know no people: no message names its user. What can be said: attempts, and sittings (user_exam_id, one for
-- each person and exam as far as the data show). Deliveries are shown beside them, being what is often reported.
SELECT
  count(*)                     AS attempts,
  count(DISTINCT user_exam_id) AS sittings,
  (SELECT count(*) FROM messages m WHERE m.status <> 'rejected' AND m.keen_id IN (SELECT keen_id FROM attempts WHERE exam_name = 'Learning Git')) AS deliveries
FROM attempts
WHERE exam_name = 'Learning Git'
