-- What does a retake do to an answer?
-- Pairs of one question in an attempt and in its retake, by its result before. percent_right: right in the retake;
-- percent_changed: other options chosen than before; right_of_changed: right among those. if_guessed: what somebody gets who
-- avoids the wrong option chosen before and guesses among the others. Groups of at least 250 answers.
WITH answer AS (
  SELECT q.keen_id, q.question_id, q.user_result, q.option_count, count_if(o.correct) AS right_options,
         array_sort(collect_list(o.option_id) FILTER (WHERE o.checked)) AS chosen
  FROM questions q JOIN options o ON o.keen_id = q.keen_id AND o.question_position = q.question_position
  WHERE q.user_result IS NOT NULL
  GROUP BY q.keen_id, q.question_position, q.question_id, q.user_result, q.option_count
), pair AS (
  SELECT IF(n.right_options = 1, concat('one of ', n.option_count), 'several') AS right_options,
         decode(b.user_result, 'correct', '1 right', 'missed_some', '2 partly', 'incorrect', '3 wrong', '4 unanswered') AS result,
         n.user_result = 'correct' AS is_right, n.chosen <> b.chosen AS is_changed,
         IF(n.right_options = 1 AND b.user_result = 'incorrect', 100 / (n.option_count - 1), NULL) AS guess
  FROM attempt_order a JOIN answer n ON n.keen_id = a.keen_id
    JOIN answer b ON b.keen_id = a.previous_keen_id AND b.question_id = n.question_id
  WHERE a.is_retake
), shown AS (
  SELECT *, explode(array(right_options, 'all')) AS format FROM pair
)
SELECT format AS right_options, substr(result, 3) AS before, count(*) AS answers,
       round(100 * avg(CAST(is_right AS INT)), 1) AS percent_right, round(100 * avg(CAST(is_changed AS INT)), 1) AS percent_changed,
       round(100 * avg(CAST(is_right AS INT)) FILTER (WHERE is_changed), 1) AS right_of_changed,
       IF(format = 'all', NULL, round(avg(guess), 1)) AS if_guessed
FROM shown
GROUP BY format, result
HAVING count(*) >= 250
ORDER BY format, result
