-- What is the average score?
-- Each average answers a different question: the mean over attempts; the pooled share of all questions; the mean of the
-- exams' means, by id and by name (each exam counts the same, however many took it). First attempts and retakes apart:
-- what people knew is the former. Attempts without counts are left out and counted.
WITH scored AS (
  SELECT a.*, correct / total AS score, explode(array('all', IF(is_retake, 'retakes', 'first'))) AS which
  FROM attempts a JOIN attempt_order o ON o.keen_id = a.keen_id
), by_attempt AS (
  SELECT which, round(100 * avg(score), 2) AS mean_over_attempts, round(100 * sum(correct) / sum(total), 2) AS pooled_over_questions,
         count(total) AS attempts_with_counts, count_if(total IS NULL) AS attempts_without
  FROM scored GROUP BY which
), by_id AS (
  SELECT which, round(100 * avg(score), 2) AS mean_of_exam_means
  FROM (SELECT which, avg(score) AS score FROM scored GROUP BY which, base_exam_id) GROUP BY which
), by_name AS (
  SELECT which, round(100 * avg(score), 2) AS the_same_by_name
  FROM (SELECT which, avg(score) AS score FROM scored GROUP BY which, exam_name) GROUP BY which
)
SELECT which AS attempts, mean_over_attempts, pooled_over_questions, mean_of_exam_means, the_same_by_name, attempts_with_counts, attempts_without
FROM by_attempt JOIN by_id USING (which) JOIN by_name USING (which)
ORDER BY which
