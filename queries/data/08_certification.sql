-- Is certification true anywhere?
-- The source has the texts "true" and "false"; the table has a boolean.
SELECT 'attempts that certified' AS what, string(count_if(certification)) AS found, string(count(*)) AS of FROM attempts
