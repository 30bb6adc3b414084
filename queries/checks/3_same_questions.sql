-- Does a retake ask the same questions?
-- By their ids, in any order.
WITH asked AS (SELECT keen_id, array_sort(collect_list(question_id)) AS ids FROM questions GROUP BY keen_id)
SELECT 'retakes with the same questions' AS what, string(count_if(a.ids = b.ids)) AS seen, string(count(*)) AS otherwise, 'all retakes' AS which_is
FROM attempt_order o JOIN asked a ON a.keen_id = o.keen_id JOIN asked b ON b.keen_id = o.previous_keen_id WHERE o.is_retake
