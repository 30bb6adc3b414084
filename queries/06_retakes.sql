-- Do people retake an exam, and with what result?
-- A retake is an attempt that begins at most 60 seconds after another attempt at the same exam ended; the data contain no
-- user id, so that it is the same person is inferred. A chain is a first attempt and its retakes. The last attempts are
-- those of the same chains as the retaken first ones, so these two lines compare the same people. Attempts without counts
-- have no score and are left out of the mean.
WITH kinds AS (
  SELECT a.*, o.is_retake, o.is_retaken, p.is_retake AS is_third_or_later FROM attempts a JOIN attempt_order o USING (keen_id)
  LEFT JOIN attempt_order p ON o.is_retake AND p.keen_id = o.previous_keen_id
), shown AS (
  SELECT *, explode(filter(array(
           IF(NOT is_retake, '1 first attempts', NULL),
           IF(NOT is_retake AND NOT is_retaken, '2 .. no retake within 60 s', NULL),
           IF(NOT is_retake AND is_retaken, '3 .. retaken', NULL),
           IF(is_retake AND NOT is_third_or_later, '4 second attempts', NULL),
           IF(is_retake AND is_third_or_later, '5 third and later', NULL),
           IF(is_retake AND NOT is_retaken, '6 last attempts of a chain', NULL)), kind -> kind IS NOT NULL)) AS kind
  FROM kinds
)
SELECT kind, count(*) AS attempts, round(100 * avg(correct / total), 1) AS mean_score,
       count_if(correct = total) AS all_right, count_if(is_retaken) AS retaken,
       round(100 * avg(CAST(is_retaken AS INT)), 1) AS percent_retaken,
       CAST(round(median(CAST(keen_timestamp AS DOUBLE) - CAST(started_at AS DOUBLE))) AS BIGINT) AS median_seconds
FROM shown
GROUP BY kind
ORDER BY kind
