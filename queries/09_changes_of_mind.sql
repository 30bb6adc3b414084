-- Do changes of mind help?
-- An option that has a click time but stands unchecked was checked once and taken back. Answered questions with at
-- least one such option against those with none; those with one right option and those with several apart, because the
-- latter are harder and invite more clicks. It is an observation, not an experiment.
SELECT right_options, changed_mind, count(*) AS questions,
       round(100 * avg(CAST(user_result = 'correct' AS INT)), 1)     AS percent_correct,
       round(100 * avg(CAST(user_result = 'missed_some' AS INT)), 1) AS percent_missed_some,
       round(100 * avg(CAST(user_result = 'incorrect' AS INT)), 1)   AS percent_incorrect
FROM (
  SELECT q.user_result, bool_or(o.clicked_at IS NOT NULL AND NOT o.checked) AS changed_mind,
         CASE WHEN count_if(o.correct) > 1 THEN 'several' ELSE 'one' END    AS right_options
  FROM questions q JOIN options o ON o.keen_id = q.keen_id AND o.question_position = q.question_position
  WHERE q.user_result IN ('correct', 'incorrect', 'missed_some')
  GROUP BY q.keen_id, q.question_position, q.user_result
)
GROUP BY right_options, changed_mind
ORDER BY right_options, changed_mind
