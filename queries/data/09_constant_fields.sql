-- Which fields say nothing?
-- max_attempts and attempt are always 1, and keen_created_at equals keen_timestamp, when nothing is found.
SELECT 'attempts in which such a field differs' AS what,
       string(count_if(max_attempts <> 1 OR attempt <> 1 OR keen_created_at <> keen_timestamp)) AS found, string(count(*)) AS of FROM attempts
