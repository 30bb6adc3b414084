-- Which questions are the hardest?
-- First attempts only: who retakes an exam has seen its questions. A question is its id within an exam's name (a few ids
-- name other questions in other exams); its place is no identity. Share of right answers among those with a result, open
-- ones counted as not right; the share among answered ones beside it. Only questions with at least 30 results: a share of
-- three answers says little. The first ten, ties sharing a rank.
WITH counted AS (
  SELECT question_id, exam_name, count(*) AS results, count_if(user_result = 'correct') AS correct, count_if(user_result <> 'unanswered') AS answered
  FROM questions JOIN attempt_order USING (keen_id)
  WHERE user_result IS NOT NULL AND NOT is_retake
  GROUP BY question_id, exam_name
  HAVING count(*) >= 30
)
SELECT rank() OVER (ORDER BY correct / results) AS rank, question_id, exam_name, results,
       round(100 * correct / results, 1)               AS percent_correct,
       round(100 * try_divide(correct, answered), 1)   AS percent_of_answered
FROM counted
QUALIFY rank <= 10
ORDER BY rank, question_id
