-- How long does an attempt take?
-- From started_at to keen_timestamp, in minutes; first attempts and retakes apart, since retakes are much quicker. The
-- median, because some people leave the page open for hours: longest shows it. The exams with at least 50 attempts.
SELECT exam_name, count_if(NOT is_retake) AS first_attempts, count_if(is_retake) AS retakes,
       round(median(minutes) FILTER (WHERE NOT is_retake), 1)                    AS median_first,
       round(median(minutes) FILTER (WHERE is_retake), 1)                        AS median_retake,
       CAST(round(60 * median(minutes / question_count) FILTER (WHERE NOT is_retake)) AS INT) AS seconds_a_question_first,
       CAST(round(max(minutes)) AS INT)                                          AS longest
FROM (
  SELECT *, (CAST(keen_timestamp AS DOUBLE) - CAST(started_at AS DOUBLE)) / 60 AS minutes
  FROM attempts JOIN attempt_order USING (keen_id)
)
GROUP BY exam_name
HAVING count(*) >= 50
ORDER BY median_first DESC, exam_name
