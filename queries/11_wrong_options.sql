-- Which wrong options are chosen more often than every right one?
-- First attempts only: who retakes an exam has learned the key. An option is its id within its question, and a question its
-- id within an exam's name. chosen: how many of those who answered left the wrong option checked; most_chosen_right: the
-- same of the right option that was chosen most (several may be right). Only options with at least 30 answers, of_options
-- in all. It hints at a wrong key, a question that misleads, or a belief that is widely held.
WITH counted AS (
  SELECT o.question_id, o.exam_name, o.option_id, bool_or(o.correct) AS correct, count(*) AS answers, count_if(o.checked) AS chosen
  FROM options o JOIN questions q ON q.keen_id = o.keen_id AND q.question_position = o.question_position
    JOIN attempt_order a ON a.keen_id = o.keen_id AND NOT a.is_retake
  WHERE q.user_result IN ('correct', 'incorrect', 'missed_some')
  GROUP BY o.question_id, o.exam_name, o.option_id
), compared AS (
  SELECT *, count_if(correct) OVER question AS right_options, max(chosen) FILTER (WHERE correct) OVER question AS most_chosen_right
  FROM counted
  WINDOW question AS (PARTITION BY question_id, exam_name)
), wrong AS (
  SELECT *, count(*) OVER () AS of_options FROM compared WHERE NOT correct AND answers >= 30 AND right_options > 0
)
SELECT exam_name, left(question_id, 8) AS question, left(option_id, 8) AS option, answers, chosen, most_chosen_right, right_options, of_options
FROM wrong
WHERE chosen > most_chosen_right
ORDER BY chosen - most_chosen_right DESC, question_id, option_id
