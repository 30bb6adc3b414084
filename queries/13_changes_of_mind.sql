-- Do changes of mind help?
-- An option that has a click time but stands unchecked was checked once and taken back. Answered questions with at least
-- one such option against those with none; first attempts and retakes apart (who retakes has seen the key); questions with
-- one right option and those with several apart. People who change their answer were unsure, so the two groups are no fair
-- comparison; which way the changes went is: of the questions with a change, the correct ones came to the right answer,
-- and took_back_a_right_one left it.
SELECT attempts, right_options, changed_mind, count(*) AS questions,
       count_if(user_result = 'correct')                                  AS correct,
       count_if(user_result = 'missed_some')                              AS missed_some,
       count_if(user_result = 'incorrect')                                AS incorrect,
       count_if(took_back_a_right_one)                                    AS took_back_a_right_one,
       round(100 * avg(CAST(user_result = 'correct' AS INT)), 1)          AS percent_correct
FROM (
  SELECT IF(a.is_retake, 'retakes', 'first') AS attempts, q.user_result,
         bool_or(o.clicked_at IS NOT NULL AND NOT o.checked) AS changed_mind,
         bool_or(o.clicked_at IS NOT NULL AND NOT o.checked AND o.correct) AS took_back_a_right_one,
         CASE WHEN count_if(o.correct) > 1 THEN 'several' ELSE 'one' END    AS right_options
  FROM questions q JOIN options o ON o.keen_id = q.keen_id AND o.question_position = q.question_position
    JOIN attempt_order a ON a.keen_id = q.keen_id
  WHERE q.user_result IN ('correct', 'incorrect', 'missed_some')
  GROUP BY a.is_retake, q.keen_id, q.question_position, q.user_result
)
GROUP BY attempts, right_options, changed_mind
ORDER BY attempts, right_options, changed_mind
