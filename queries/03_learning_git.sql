-- How many people took Learning Git?
-- The data contain no user id, so people can only be estimated. Every attempt is at most one more person; a retake (an
-- attempt that begins shortly after another attempt at the same exam ended) is most likely the same person again. How
-- shortly is arbitrary, so four limits are shown. Deliveries count repeated messages too; they are often reported.
SELECT seconds AS retake_within_seconds, count(*) AS attempts, count_if(seconds_between <= seconds) AS retakes,
       count(*) - count_if(seconds_between <= seconds) AS first_attempts,
       (SELECT count(*) FROM messages JOIN attempts USING (keen_id)
        WHERE status <> 'rejected' AND exam_name = 'Learning Git') AS deliveries
FROM attempts JOIN attempt_order USING (keen_id) CROSS JOIN (SELECT explode(array(30, 60, 120, 600)) AS seconds)
WHERE exam_name = 'Learning Git'
GROUP BY seconds
ORDER BY seconds
