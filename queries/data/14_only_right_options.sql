-- Which questions have no wrong option?
-- A question is its id within an exam's name. Compared on first attempts: how often such questions are right, and all.
WITH keys AS (SELECT exam_name, question_id, bool_and(correct) AS is_only_right FROM options GROUP BY exam_name, question_id),
  answers AS (SELECT is_only_right, user_result = 'correct' AS is_right FROM questions JOIN keys USING (exam_name, question_id)
              JOIN attempt_order USING (keen_id) WHERE NOT is_retake AND user_result IS NOT NULL)
SELECT 'questions with right options only' AS what, string(count_if(is_only_right)) AS found, string(count(*)) AS of FROM keys
UNION ALL SELECT '.. answers to them that are right', string(count_if(is_right)), string(count(*)) FROM answers WHERE is_only_right
UNION ALL SELECT '.. percent right of them, of all', string(round(100 * avg(int(is_right)) FILTER (WHERE is_only_right), 1)), string(round(100 * avg(int(is_right)), 1)) FROM answers
