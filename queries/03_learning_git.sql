-- How many people took Learning Git?
-- The data know no people: no message names its user, and user_exam_id differs in every attempt. So three readings:
-- attempts, the upper bound for people; first sittings, those attempts that do not begin within a minute after another
-- at the same exam ended (see 12_sat_again), the better guess; and deliveries, which are what is often reported.
WITH git AS (SELECT * FROM attempts WHERE exam_name = 'Learning Git')
SELECT
  count(*)                                    AS attempts,
  count(*) - (SELECT count(*) FROM git a LEFT SEMI JOIN git b ON b.base_exam_id = a.base_exam_id AND b.keen_id <> a.keen_id
              AND a.started_at BETWEEN b.keen_timestamp AND b.keen_timestamp + INTERVAL 60 SECONDS) AS first_sittings,
  count(DISTINCT user_exam_id)                AS user_exam_ids,
  (SELECT count(*) FROM messages m WHERE m.status <> 'rejected' AND m.keen_id IN (SELECT keen_id FROM git)) AS deliveries
FROM git
