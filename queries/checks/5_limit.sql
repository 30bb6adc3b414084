-- How much depends on the limit of a minute?
-- The same means with limits of 30 seconds, two minutes and ten minutes.
WITH scored AS (
  SELECT keen_id, previous_keen_id, seconds_between, 100 * correct / total AS score FROM attempts JOIN attempt_order USING (keen_id)
), means AS (
  SELECT seconds, round(avg(a.score) FILTER (WHERE NOT coalesce(a.seconds_between <= seconds, false)), 1) AS first,
         round(avg(a.score - b.score) FILTER (WHERE a.seconds_between <= seconds), 1) AS gain
  FROM scored a LEFT JOIN scored b ON b.keen_id = a.previous_keen_id CROSS JOIN (SELECT explode(array(30, 60, 120, 600)) AS seconds)
  GROUP BY seconds
)
SELECT 'mean gain of a retake' AS what, string(max(gain) FILTER (WHERE seconds = 60)) AS seen,
       array_join(transform(array_sort(collect_list(struct(seconds, gain)) FILTER (WHERE seconds <> 60)), each -> string(each.gain)), ', ') AS otherwise,
       'limits of 30 s, two and ten minutes' AS which_is FROM means
UNION ALL
SELECT 'mean of first attempts', string(max(first) FILTER (WHERE seconds = 60)),
       array_join(transform(array_sort(collect_list(struct(seconds, first)) FILTER (WHERE seconds <> 60)), each -> string(each.first)), ', '),
       'the same' FROM means
