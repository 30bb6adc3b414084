-- Which attempts were not serious?
-- Under 2 seconds a question, or nothing answered. Nothing answered may also be an attempt that somebody left.
WITH timed AS (SELECT *, CAST(keen_timestamp AS DOUBLE) - CAST(started_at AS DOUBLE) AS seconds FROM attempts),
  judged AS (SELECT *, seconds < 2 * question_count AS is_fast, coalesce(submitted = 0, false) AS is_empty FROM timed)
SELECT 'attempts under 2 s a question or with nothing answered' AS what, string(count_if(is_fast OR is_empty)) AS found, string(count(*)) AS of FROM judged
UNION ALL SELECT '.. nothing answered: all, also under 2 s a question', string(count(*)), string(count_if(is_fast)) FROM judged WHERE is_empty
UNION ALL SELECT '.. nothing answered: longest, seconds', string(bigint(round(max(seconds)))), '' FROM judged WHERE is_empty
UNION ALL SELECT 'mean score, without these', string(round(100 * avg(correct / total), 2)), string(round(100 * avg(correct / total) FILTER (WHERE NOT (is_fast OR is_empty)), 2)) FROM judged
