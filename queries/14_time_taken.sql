-- How long does an attempt take?
-- From started_at to keen_timestamp, in minutes. The median, because some people leave the page open for hours: longest
-- shows it. median_retaken_first is over the first attempts that have a retake: the people of median_retake. The exams
-- with at least 50 attempts.
SELECT exam_name, count_if(NOT is_retake) AS first_attempts, count_if(NOT is_retake AND is_retaken) AS retaken_first, count_if(is_retake) AS retakes,
       round(median(minutes) FILTER (WHERE NOT is_retake), 1)                    AS median_first,
       round(median(minutes) FILTER (WHERE NOT is_retake AND is_retaken), 1)     AS median_retaken_first,
       round(median(minutes) FILTER (WHERE is_retake), 1)                        AS median_retake,
       CAST(round(60 * median(minutes / question_count) FILTER (WHERE NOT is_retake)) AS BIGINT) AS seconds_a_question_first,
       CAST(round(max(minutes)) AS BIGINT)                                       AS longest
FROM (
  SELECT *, (CAST(keen_timestamp AS DOUBLE) - CAST(started_at AS DOUBLE)) / 60 AS minutes
  FROM attempts JOIN attempt_order USING (keen_id)
)
GROUP BY exam_name
HAVING count(*) >= 50
ORDER BY median_first DESC, exam_name
