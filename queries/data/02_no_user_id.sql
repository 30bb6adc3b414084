-- Does a field identify the person?
-- user_exam_id is the only candidate. A person's id would have fewer values than there are attempts.
SELECT 'different user_exam_ids' AS what, string(count(DISTINCT user_exam_id)) AS found, string(count(*)) AS of FROM attempts
