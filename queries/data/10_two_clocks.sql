-- Do clicks lie between the start and the end of their attempt?
-- clicked_at is by the user's clock; started_at and keen_timestamp agree with the collector's.
WITH clicks AS (SELECT keen_id, clicked_at, started_at, keen_timestamp FROM options JOIN attempts USING (keen_id) WHERE clicked_at IS NOT NULL)
SELECT 'clicks before the start' AS what, string(count_if(clicked_at < started_at)) AS found, string(count(*)) AS of FROM clicks
UNION ALL SELECT 'clicks after the end', string(count_if(clicked_at > keen_timestamp)), string(count(*)) FROM clicks
UNION ALL SELECT 'attempts with a click over a minute after the end', string(count(DISTINCT keen_id)), (SELECT string(count(*)) FROM attempts)
          FROM clicks WHERE clicked_at > keen_timestamp + INTERVAL 1 MINUTE
UNION ALL SELECT 'attempts that end before they start', string(count_if(keen_timestamp < started_at)), string(count(*)) FROM attempts
