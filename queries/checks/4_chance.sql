-- What do chance and stopping alone do to the scores of those who retake?
-- Each later attempt is replaced by one drawn at random from the first attempts at its exam, and people stop as often as they really
-- do after such a score (none, less than half, half or more, all right). The expected values, so nothing is drawn.
WITH kinds AS (
  SELECT base_exam_id, o.is_retake, o.is_retaken, 100 * correct / total AS score, o.is_retake AND NOT coalesce(p.is_retake, false) AS is_second
  FROM attempts JOIN attempt_order o USING (keen_id) LEFT JOIN attempt_order p ON p.keen_id = o.previous_keen_id WHERE total > 0
), stops AS (
  SELECT *, avg(int(NOT is_retaken)) OVER (PARTITION BY score = 0, score < 50, score < 100) AS p FROM kinds
), exam AS (
  SELECT count_if(is_retaken) AS chains, avg(score) AS second, sum(p * score) / sum(p) AS last
  FROM stops WHERE NOT is_retake GROUP BY base_exam_id HAVING count_if(is_retaken) > 0
), drawn AS (
  SELECT sum(chains * second) / sum(chains) AS second, sum(chains * last) / sum(chains) AS last FROM exam
)
SELECT 'mean of second attempts' AS what, (SELECT string(round(avg(score), 1)) FROM kinds WHERE is_second) AS seen,
       string(round(second, 1)) AS otherwise, 'if scores were chance' AS which_is FROM drawn
UNION ALL
SELECT 'mean of last attempts', (SELECT string(round(avg(score), 1)) FROM kinds WHERE is_retake AND NOT is_retaken),
       string(round(last, 1)), 'if scores were chance and people stopped as they do' FROM drawn
