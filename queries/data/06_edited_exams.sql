-- Do exams change?
-- A version of an exam's questions is its sequences_id.
WITH edited AS (SELECT base_exam_id FROM attempts GROUP BY base_exam_id HAVING count(DISTINCT sequences_id) > 1),
  asked AS (SELECT base_exam_id, question_id, count(DISTINCT sequences_id) AS versions FROM questions JOIN attempts USING (keen_id, base_exam_id)
            JOIN edited USING (base_exam_id) GROUP BY base_exam_id, question_id)
SELECT 'exams with two versions' AS what, (SELECT string(count(*)) FROM edited) AS found, string(count(DISTINCT base_exam_id)) AS of FROM attempts
UNION ALL SELECT '.. questions in both versions', string(count_if(versions > 1)), string(count(*)) FROM asked
