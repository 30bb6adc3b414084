-- Which messages repeat an attempt that was already sent?
-- One of several messages with the same keen_id is an attempt, the others are repeats. Copies differ when their content hashes do. A
-- run: neighbours in the file that all have copies.
WITH copies AS (SELECT keen_id, count(DISTINCT content_hash) AS contents FROM messages GROUP BY keen_id HAVING count(*) > 1),
  span AS (SELECT min(keen_timestamp) AS first, max(keen_timestamp) AS last FROM attempts JOIN copies USING (keen_id)),
  runs AS (SELECT kafka_offset - row_number() OVER (ORDER BY kafka_offset) AS run FROM messages JOIN copies USING (keen_id))
SELECT 'messages that repeat an attempt' AS what, string(count_if(status = 'duplicate')) AS found, string(count(*)) AS of FROM messages
UNION ALL SELECT 'attempts sent more than once', string(count(*)), (SELECT string(count(*)) FROM attempts) FROM copies
UNION ALL SELECT '.. with copies that differ', string(count_if(contents > 1)), string(count(*)) FROM copies
UNION ALL SELECT '.. of the attempts that ended in the same hours', (SELECT string(count(*)) FROM copies), string(count(*)) FROM attempts, span WHERE keen_timestamp BETWEEN first AND last
UNION ALL SELECT '.. these hours: from, to', date_format(first, 'yyyy-MM-dd HH:mm'), date_format(last, 'yyyy-MM-dd HH:mm') FROM span
UNION ALL SELECT '.. runs of neighbours in the file', string(count(DISTINCT run)), string(count(*)) FROM runs
