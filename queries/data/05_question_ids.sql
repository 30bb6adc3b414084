-- Does question_id identify a question?
-- A question is the same when its options are. Within an exam's name, and across names.
WITH shown AS (SELECT exam_name, question_id, sort_array(collect_list(option_id)) AS options FROM options
               GROUP BY exam_name, question_id, keen_id, question_position),
  ids AS (SELECT count(DISTINCT exam_name) AS names, count(DISTINCT options) AS sets FROM shown GROUP BY question_id),
  pairs AS (SELECT count(DISTINCT options) AS sets FROM shown GROUP BY exam_name, question_id),
  keys AS (SELECT count(DISTINCT correct) AS verdicts FROM options GROUP BY question_id, option_id)
SELECT 'question_ids in exams of several names' AS what, string(count_if(names > 1)) AS found, string(count(*)) AS of FROM ids
UNION ALL SELECT '.. with several sets of options', string(count_if(sets > 1)), string(count(*)) FROM ids
UNION ALL SELECT '.. the same for question_id within exam_name', string(count_if(sets > 1)), string(count(*)) FROM pairs
UNION ALL SELECT 'options that are right here and wrong there', string(count_if(verdicts > 1)), string(count(*)) FROM keys
