-- How long may an attempt take?
-- From started_at to keen_timestamp. A page may be left open.
WITH timed AS (SELECT CAST(keen_timestamp AS DOUBLE) - CAST(started_at AS DOUBLE) AS seconds FROM attempts)
SELECT 'attempts of over an hour' AS what, string(count_if(seconds > 3600)) AS found, string(count(*)) AS of FROM timed
UNION ALL SELECT '.. the longest, hours', string(round(max(seconds) / 3600, 1)), '' FROM timed
UNION ALL SELECT 'mean seconds, without these', string(bigint(round(avg(seconds)))), string(bigint(round(avg(seconds) FILTER (WHERE seconds <= 3600)))) FROM timed
