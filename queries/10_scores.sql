-- What is the average score?
-- Readings that are often mixed up: the mean over attempts of each one's share of right answers, the pooled share of all
-- answers, and the mean of the exams' means, by id and by name (each exam counts the same, however many took it). Attempts
-- without counts are left out and counted. First sittings and repeated ones differ: see 12_sat_again.
SELECT
  round(100 * avg(correct / total), 2)          AS mean_over_attempts,
  round(100 * sum(correct) / sum(total), 2)     AS pooled_over_questions,
  (SELECT round(100 * avg(score), 2) FROM (SELECT avg(correct / total) AS score FROM attempts WHERE total IS NOT NULL GROUP BY base_exam_id)) AS mean_of_exam_means,
  (SELECT round(100 * avg(score), 2) FROM (SELECT avg(correct / total) AS score FROM attempts WHERE total IS NOT NULL GROUP BY exam_name))    AS the_same_by_name,
  count(total)                                  AS attempts_with_counts,
  count_if(total IS NULL)                       AS attempts_without
FROM attempts
