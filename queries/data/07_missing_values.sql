-- What is missing?
-- Null, or absent, in the source. The last line shows what filling in costs: a score of -99 where counts are missing, as a share.
WITH exams AS (SELECT exam_name, base_exam_id FROM attempts GROUP BY exam_name, base_exam_id HAVING count(certification) = 0)
SELECT 'attempts without counts' AS what, string(count_if(total IS NULL)) AS found, string(count(*)) AS of FROM attempts
UNION ALL SELECT 'questions without a result', string(count_if(user_result IS NULL)), string(count(*)) FROM questions
UNION ALL SELECT 'attempts without certification', string(count_if(certification IS NULL)), string(count(*)) FROM attempts
UNION ALL SELECT '.. exams that never have it: ids, names', string(count(DISTINCT base_exam_id)), string(count(DISTINCT exam_name)) FROM exams
UNION ALL SELECT 'mean score with -99 filled in, without', string(round(100 * avg(coalesce(correct / total, -99)), 1)), string(round(100 * avg(correct / total), 1)) FROM attempts
