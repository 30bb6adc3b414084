-- How many assessments are in the dataset?
-- Two honest readings: messages that were published, and attempts that took place. The collector delivered some
-- events more than once; a repeated delivery is not another attempt. Exams are counted by id and by name: some share
-- a name.
SELECT
  (SELECT count(*) FROM messages)                              AS messages,
  (SELECT count(*) FROM messages WHERE status = 'duplicate')   AS delivered_again,
  (SELECT count(*) FROM messages WHERE status = 'rejected')    AS rejected,
  count(*)                                                     AS attempts,
  count(DISTINCT base_exam_id)                                 AS exams_by_id,
  count(DISTINCT exam_name)                                    AS exams_by_name
FROM attempts
