-- Is an exam sat again at once, and what does that change?
-- No message says so. Counted as again: an attempt that begins within a minute after another attempt at the same exam
-- ended. That it is the same person is inferred, but strangers do not follow each other so closely (the report tries it
-- by moving the starts). Scores and times of first sittings and of those again apart; the ten exams with most attempts.
WITH again AS (
  SELECT a.keen_id FROM attempts a LEFT SEMI JOIN attempts b ON b.base_exam_id = a.base_exam_id AND b.keen_id <> a.keen_id
    AND a.started_at BETWEEN b.keen_timestamp AND b.keen_timestamp + INTERVAL 60 SECONDS
), sittings AS (
  SELECT exam_name, keen_id IN (SELECT keen_id FROM again) AS is_again, correct / total AS score,
         CAST(keen_timestamp AS DOUBLE) - CAST(started_at AS DOUBLE) AS seconds
  FROM attempts
), counted AS (
  SELECT coalesce(exam_name, 'all exams') AS exam_name, count(*) AS attempts, count_if(NOT is_again) AS first, count_if(is_again) AS again,
         round(100 * avg(score) FILTER (WHERE NOT is_again), 1) AS score_first, round(100 * avg(score) FILTER (WHERE is_again), 1) AS score_again,
         round(median(seconds) FILTER (WHERE NOT is_again), 1) AS seconds_first, round(median(seconds) FILTER (WHERE is_again), 1) AS seconds_again
  FROM sittings
  GROUP BY GROUPING SETS ((exam_name), ())
)
SELECT *
FROM counted
QUALIFY rank() OVER (ORDER BY attempts DESC) <= 11
ORDER BY attempts DESC, exam_name
