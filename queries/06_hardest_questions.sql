-- Which questions are the hardest?
-- By question_id, not by the place at which a question was shown: the places are shuffled. Share of correct answers
-- among those that have a result, an unanswered one counted as not correct (the stricter reading); the other reading,
-- among answered ones, beside it. Only questions with 30 results or more: a share of three answers says little. A
-- question may stand in several exams (exams); one of their names is shown.
SELECT question_id, min(exam_name) AS exam_name, count(DISTINCT base_exam_id) AS exams, count(*) AS results,
       round(100 * avg(CAST(user_result = 'correct' AS INT)), 1)                                         AS percent_correct,
       round(100 * try_divide(count_if(user_result = 'correct'), count_if(user_result <> 'unanswered')), 1) AS percent_of_answered
FROM questions
WHERE user_result IS NOT NULL
GROUP BY question_id
HAVING count(*) >= 30
ORDER BY percent_correct, question_id
LIMIT 10
