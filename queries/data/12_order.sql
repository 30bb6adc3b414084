-- Is the file in order of time?
-- An attempt stands where its accepted message does.
WITH placed AS (SELECT keen_timestamp, lag(keen_timestamp) OVER (ORDER BY kafka_partition, kafka_offset) AS above FROM attempts)
SELECT 'attempts that ended before the one above them' AS what, string(count_if(keen_timestamp < above)) AS found, string(count(*)) AS of FROM placed
