-- How long does an attempt take?
-- From started_at to keen_timestamp. The median, because some left the page open for hours; the mean is shown to say how
-- much they move it. The exams with 50 attempts or more, all of them. Sitting an exam again at once is much quicker than
-- the first time (see 12_sat_again): a median of both describes neither.
SELECT exam_name, count(*) AS attempts,
       round(median(seconds), 1)              AS median_seconds,
       round(median(seconds / question_count), 1) AS median_a_question,
       round(avg(seconds), 1)                 AS mean_seconds,
       round(max(seconds) / 60, 1)            AS longest_minutes
FROM (SELECT *, CAST(keen_timestamp AS DOUBLE) - CAST(started_at AS DOUBLE) AS seconds FROM attempts)
GROUP BY exam_name
HAVING count(*) >= 50
ORDER BY median(seconds / question_count) DESC, exam_name
