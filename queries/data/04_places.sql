-- Is a question its place?
-- The place is question_position. Questions with at least 20 results, in exams of several questions.
WITH places AS (SELECT count(DISTINCT question_position) AS places FROM questions JOIN attempts USING (keen_id)
                WHERE question_count > 1 GROUP BY questions.exam_name, question_id HAVING count(*) >= 20)
SELECT 'questions always at the same place' AS what, string(count_if(places = 1)) AS found, string(count(*)) AS of FROM places
