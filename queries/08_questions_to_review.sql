-- Which questions need a review?
-- First attempts only: who retakes an exam has seen its questions. A question is its id within an exam's name; those with
-- at least 30 results. Anything but correct is not right, a partly right answer too. It is listed when
-- (1) a wrong option was chosen more often than every right one (right_chosen: the right option that was chosen most;
-- least_right: the one chosen least; p_of_lead: the probability of such a lead if both attracted equally; leads_by_chance:
-- how many such leads to expect among of_options, the wrong options of all these questions), or
-- (2) it is hard for its format, one right option or several: even the upper end of its 95 % Wilson interval lies below
-- half of what the format has over all first attempts (format_percent), or
-- (3) it does not tell strong from weak: the correlation with the share of right answers in the rest of the attempt is below
-- 0.2 even at the upper end of a 95 % interval (Fisher's z). It is NULL with fewer than five right or five other results,
-- and where more than half of the people have all the rest right; n_discrimination questions have it.
-- by_a_third: how many would be hard by one limit for all, a third right; by_a_third_several: of these, those with several
-- right options; of_several: of all, those with several. A listed question is one to read, not one proved wrong.
WITH key AS (
  SELECT exam_name, question_id, count(DISTINCT option_id) FILTER (WHERE correct) AS right_options
  FROM options GROUP BY exam_name, question_id
), answer AS (
  SELECT q.exam_name, q.question_id, q.keen_id, q.question_position, q.user_result <> 'unanswered' AS answered, right_options,
         CAST(q.user_result = 'correct' AS INT) AS is_right,
         try_divide(sum(CAST(q.user_result = 'correct' AS INT)) OVER attempt - CAST(q.user_result = 'correct' AS INT),
                    count(*) OVER attempt - 1) AS rest
  FROM questions q JOIN attempt_order o ON o.keen_id = q.keen_id AND NOT o.is_retake
    JOIN key k ON k.exam_name = q.exam_name AND k.question_id = q.question_id
  WHERE q.user_result IS NOT NULL
  WINDOW attempt AS (PARTITION BY q.keen_id)
), format AS (
  SELECT right_options > 1 AS is_several, 100 * avg(is_right) AS format_percent FROM answer GROUP BY right_options > 1
), question AS (
  SELECT exam_name, question_id, max(right_options) AS right_options,
         count(*) AS results, sum(is_right) AS right_results, avg(is_right) AS p, count(rest) AS n,
         IF(least(sum(is_right) FILTER (WHERE rest IS NOT NULL), sum(1 - is_right) FILTER (WHERE rest IS NOT NULL)) >= 5
            AND avg(CAST(rest = 1 AS INT)) <= 0.5,
            try_divide(covar_pop(is_right, rest), stddev_pop(is_right) FILTER (WHERE rest IS NOT NULL) * stddev_pop(rest)), NULL) AS r
  FROM answer
  GROUP BY exam_name, question_id
  HAVING count(*) >= 30
), chosen AS (
  SELECT a.exam_name, a.question_id, o.option_id, bool_or(o.correct) AS correct, count_if(o.checked) AS chosen
  FROM answer a JOIN options o ON o.keen_id = a.keen_id AND o.question_position = a.question_position
  WHERE a.answered
  GROUP BY a.exam_name, a.question_id, o.option_id
), most AS (
  SELECT exam_name, question_id, count_if(NOT correct) AS wrong_options, max(chosen) FILTER (WHERE NOT correct) AS wrong_chosen,
         max(chosen) FILTER (WHERE correct) AS right_chosen, min(chosen) FILTER (WHERE correct) AS least_right
  FROM chosen
  GROUP BY exam_name, question_id
), bounded AS (
  SELECT *, 100 * (p + 1.9207 / results - 1.96 * sqrt(p * (1 - p) / results + 0.9604 / results / results)) / (1 + 3.8415 / results) AS p_low,
         100 * (p + 1.9207 / results + 1.96 * sqrt(p * (1 - p) / results + 0.9604 / results / results)) / (1 + 3.8415 / results) AS p_high,
         tanh(atanh(r) - 1.96 / sqrt(n - 3)) AS r_low, tanh(atanh(r) + 1.96 / sqrt(n - 3)) AS r_high,
         wrong_chosen > right_chosen AS is_ahead, wrong_chosen + right_chosen AS both
  FROM question LEFT JOIN most USING (exam_name, question_id) JOIN format ON is_several = (right_options > 1)
), judged AS (
  SELECT *, concat_ws(', ', IF(is_ahead, 'wrong option ahead', NULL), IF(p_high < format_percent / 2, 'hard', NULL),
                      IF(r_high < 0.2, 'does not discriminate', NULL)) AS why,
         -- the sum of the binomial coefficients (both over 0) … (both over right_chosen), of 2 ^ both
         IF(is_ahead, aggregate(sequence(0, right_chosen), named_struct('term', 1D, 'sum', 1D), (a, k) -> IF(k = 0, a,
              named_struct('term', a.term * (both - k + 1) / k, 'sum', a.sum + a.term * (both - k + 1) / k)), a -> a.sum)
              / power(2, both), NULL) AS p_of_lead,
         count(*) OVER () AS of_questions, count_if(right_options > 1) OVER () AS of_several, count_if(p_high < 100 / 3) OVER () AS by_a_third,
         count_if(p_high < 100 / 3 AND right_options > 1) OVER () AS by_a_third_several, sum(wrong_options) OVER () AS of_options, count(r) OVER () AS n_discrimination
  FROM bounded
)
SELECT exam_name, left(question_id, 8) AS question, right_options, results, right_results, round(100 * p, 1) AS percent_right,
       round(p_low, 1) AS low, round(p_high, 1) AS high, round(format_percent, 1) AS format_percent,
       wrong_chosen, right_chosen, least_right, CAST(p_of_lead AS DECIMAL(5, 4)) AS p_of_lead,
       round(p_of_lead * of_options, 2) AS leads_by_chance, round(r, 2) AS discrimination, why,
       of_questions, of_several, by_a_third, by_a_third_several, of_options, n_discrimination
FROM judged
WHERE why <> ''
ORDER BY p, exam_name, question_id
