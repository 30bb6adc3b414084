-- How many people took Learning Git?
-- The data know no people: no message names its user, and user_exam_id differs in every attempt. So this is the number
-- of attempts, which is an upper bound for people; deliveries are shown beside it, being what is often reported.
SELECT
  count(*)                     AS attempts,
  count(DISTINCT user_exam_id) AS user_exam_ids,
  (SELECT count(*) FROM messages m WHERE m.status <> 'rejected' AND m.keen_id IN (SELECT keen_id FROM attempts WHERE exam_name = 'Learning Git')) AS deliveries
FROM attempts
WHERE exam_name = 'Learning Git'
