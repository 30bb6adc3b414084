-- Do attempts at an exam follow each other by chance?
-- The same counts after all starts are moved by an hour, a day and a week. within: attempts that begin at most 60 seconds after
-- another one at the exam ended. overlaps: attempts that overlap another one in time, each pair counted from both sides.
WITH moved AS (SELECT *, explode(array(0, 1, 24, 168)) AS hours FROM attempts),
events AS (
  SELECT hours, base_exam_id, keen_id, started_at + make_dt_interval(0, hours) AS at, false AS is_end FROM moved
  UNION ALL SELECT hours, base_exam_id, keen_id, keen_timestamp, true FROM moved
), last_end AS (
  SELECT *, last_value(IF(is_end, struct(at, keen_id), NULL)) IGNORE NULLS
              OVER (PARTITION BY hours, base_exam_id ORDER BY at, is_end, keen_id) AS ended
  FROM events
), followed AS (
  SELECT hours, count_if(CAST(at AS DOUBLE) - CAST(ended.at AS DOUBLE) <= 60) AS within
  FROM last_end WHERE NOT is_end AND ended.keen_id <> keen_id GROUP BY hours
), overlapping AS (
  SELECT hours, count(*) AS overlaps FROM moved a JOIN attempts b ON b.base_exam_id = a.base_exam_id AND b.keen_id <> a.keen_id
  WHERE a.started_at + make_dt_interval(0, hours) < b.keen_timestamp AND b.started_at < a.keen_timestamp + make_dt_interval(0, hours)
  GROUP BY hours
)
SELECT 'attempts within 60 s after another one at the exam' AS what, string(max(within) FILTER (WHERE hours = 0)) AS seen,
       array_join(transform(array_sort(collect_list(struct(hours, within)) FILTER (WHERE hours > 0)), each -> string(each.within)), ', ') AS otherwise,
       'all starts moved by an hour, a day, a week' AS which_is FROM followed
UNION ALL
SELECT 'attempts that overlap another one at the exam', string(max(overlaps) FILTER (WHERE hours = 0)),
       array_join(transform(array_sort(collect_list(struct(hours, overlaps)) FILTER (WHERE hours > 0)), each -> string(each.overlaps)), ', '),
       'the same' FROM overlapping
