-- Which questions are the hardest?
-- A question is its id within an exam's name: a few ids name other questions in other exams. Its place is no identity:
-- places are shuffled. Share of correct answers among those that have a result, an unanswered one counted as not correct
-- (the stricter reading); the other reading, among answered ones, beside it. Only questions with 30 results or more: a
-- share of three answers says little. The first ten, ties sharing a rank.
WITH counted AS (
  SELECT question_id, exam_name, count(*) AS results, count_if(user_result = 'correct') AS correct, count_if(user_result <> 'unanswered') AS answered
  FROM questions
  WHERE user_result IS NOT NULL
  GROUP BY question_id, exam_name
  HAVING count(*) >= 30
)
SELECT rank() OVER (ORDER BY correct / results) AS rank, question_id, exam_name, results,
       round(100 * correct / results, 1)               AS percent_correct,
       round(100 * try_divide(correct, answered), 1)   AS percent_of_answered
FROM counted
QUALIFY rank <= 10
ORDER BY rank, question_id
