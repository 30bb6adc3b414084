-- Which wrong option attracts the most?
-- An option is its id within its question, and a question its id within an exam's name. How many of those who answered
-- left the wrong option checked, beside how many checked a right one: the least and the most chosen right option (several
-- may be right). Only options with 30 answers or more. The first ten, ties sharing a rank. A wrong option that is chosen
-- more often than every right one hints at a wrong key or a question that misleads.
WITH counted AS (
  SELECT o.question_id, o.exam_name, o.option_id, bool_or(o.correct) AS correct, count(*) AS answers, count_if(o.checked) AS chosen
  FROM options o JOIN questions q ON q.keen_id = o.keen_id AND q.question_position = o.question_position
  WHERE q.user_result IN ('correct', 'incorrect', 'missed_some')
  GROUP BY o.question_id, o.exam_name, o.option_id
), compared AS (
  SELECT *, count_if(correct) OVER question AS right_options, min(chosen) FILTER (WHERE correct) OVER question AS least_chosen_right,
         max(chosen) FILTER (WHERE correct) OVER question AS most_chosen_right
  FROM counted
  WINDOW question AS (PARTITION BY question_id, exam_name)
)
SELECT rank() OVER (ORDER BY chosen / answers DESC) AS rank, question_id, option_id, exam_name, answers, chosen,
       round(100 * chosen / answers, 1) AS percent_chosen, right_options, least_chosen_right, most_chosen_right
FROM compared
WHERE NOT correct AND answers >= 30
QUALIFY rank <= 10
ORDER BY rank, question_id, option_id
