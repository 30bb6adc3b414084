-- Is a retake made at the same computer as the attempt before it?
-- The user's computer sets the time of a click, the collector that of the end. fast_by: by how much the last click is after the end.
-- Retakes whose attempt before is fast by more than 5 seconds: is the retake fast by the same, within 5 seconds?
WITH clock AS (
  SELECT keen_id, max(CAST(clicked_at AS DOUBLE)) - first(CAST(keen_timestamp AS DOUBLE)) AS fast_by
  FROM options JOIN attempts USING (keen_id) WHERE clicked_at IS NOT NULL GROUP BY keen_id
), pair AS (
  SELECT a.keen_id, a.fast_by, b.fast_by AS before FROM attempt_order o JOIN clock a ON a.keen_id = o.keen_id
  JOIN clock b ON b.keen_id = o.previous_keen_id WHERE o.is_retake AND b.fast_by > 5
), chance AS (
  SELECT pair.keen_id, avg(CAST(abs(clock.fast_by - before) < 5 AS INT)) AS share FROM pair CROSS JOIN clock GROUP BY pair.keen_id
)
SELECT concat('retakes with the same fast clock, of ', count(*)) AS what, string(count_if(abs(fast_by - before) < 5)) AS seen,
       string(round(sum(share), 1)) AS otherwise, 'unrelated attempts' AS which_is
FROM pair JOIN chance USING (keen_id)
