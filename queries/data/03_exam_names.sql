-- Is an exam's name an exam's id?
-- base_exam_id is the source's id of an exam; sequences_id is one version of its questions.
WITH names AS (SELECT exam_name, count(DISTINCT base_exam_id) AS ids, count(DISTINCT sequences_id) AS versions FROM attempts GROUP BY exam_name)
SELECT 'names of exams with two base_exam_ids' AS what, string(count_if(ids = 2)) AS found, string(count(*)) AS of FROM names
UNION ALL SELECT '.. with one version of the questions', string(count_if(versions = 1)), string(count(*)) FROM names WHERE ids = 2
