-- Which questions need a review?
-- First attempts only: who retakes an exam has seen its questions. A question is its id within an exam's name; those with
-- at least 30 results. It is listed when (1) a wrong option was chosen more often than every right one (right_chosen: the
-- right option that was chosen most; least_right: the one chosen least), (2) it is hard: less than a third are right even
-- at the upper end of a 95 % Wilson interval, or (3) it does not tell strong from weak: the correlation with the share of
-- right answers in the rest of the attempt is below 0.2 even at the upper end of a 95 % interval (Fisher's z). Anything
-- but correct is not right, a partly right answer too. A listed question is one to read, not one proved wrong.
WITH answer AS (
  SELECT q.exam_name, q.question_id, q.keen_id, q.question_position, q.user_result <> 'unanswered' AS answered,
         CAST(q.user_result = 'correct' AS INT) AS is_right,
         try_divide(sum(CAST(q.user_result = 'correct' AS INT)) OVER attempt - CAST(q.user_result = 'correct' AS INT),
                    count(*) OVER attempt - 1) AS rest
  FROM questions q JOIN attempt_order o ON o.keen_id = q.keen_id AND NOT o.is_retake
  WHERE q.user_result IS NOT NULL
  WINDOW attempt AS (PARTITION BY q.keen_id)
), question AS (
  SELECT exam_name, question_id, count(*) AS results, avg(is_right) AS p, count(rest) AS n,
         try_divide(covar_pop(is_right, rest), stddev_pop(is_right) FILTER (WHERE rest IS NOT NULL) * stddev_pop(rest)) AS r
  FROM answer
  GROUP BY exam_name, question_id
  HAVING count(*) >= 30
), chosen AS (
  SELECT a.exam_name, a.question_id, o.option_id, bool_or(o.correct) AS correct, count_if(o.checked) AS chosen
  FROM answer a JOIN options o ON o.keen_id = a.keen_id AND o.question_position = a.question_position
  WHERE a.answered
  GROUP BY a.exam_name, a.question_id, o.option_id
), most AS (
  SELECT exam_name, question_id, max(chosen) FILTER (WHERE NOT correct) AS wrong_chosen, max(chosen) FILTER (WHERE correct) AS right_chosen,
         min(chosen) FILTER (WHERE correct) AS least_right
  FROM chosen
  GROUP BY exam_name, question_id
), bounded AS (
  SELECT *, (p + 1.9207 / results + 1.96 * sqrt(p * (1 - p) / results + 0.9604 / results / results)) / (1 + 3.8415 / results) AS p_high,
         tanh(atanh(r) - 1.96 / sqrt(n - 3)) AS r_low, tanh(atanh(r) + 1.96 / sqrt(n - 3)) AS r_high
  FROM question LEFT JOIN most USING (exam_name, question_id)
), judged AS (
  SELECT *, concat_ws(', ', IF(wrong_chosen > right_chosen, 'wrong option ahead', NULL), IF(p_high < 1 / 3, 'hard', NULL),
                      IF(r_high < 0.2, 'does not discriminate', NULL)) AS why,
         count(*) OVER () AS of_questions
  FROM bounded
)
SELECT exam_name, left(question_id, 8) AS question, results, round(100 * p, 1) AS percent_right, wrong_chosen, right_chosen, least_right,
       round(r, 2) AS discrimination, round(r_low, 2) AS low, round(r_high, 2) AS high, why, of_questions
FROM judged
WHERE why <> ''
ORDER BY p, exam_name, question_id
