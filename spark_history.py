import json, os
raw = spark.read.format("kafka").option("kafka.bootstrap.servers", os.environ["KAFKA"]).option("subscribe", os.environ["TOPIC"]).option("startingOffsets", "earliest").option("endingOffsets", "latest").load()
raw = raw.cache()
raw.printSchema()
raw.show(3)
messages = raw.select(raw.value.cast("string"))
messages.printSchema()
messages.show(3, truncate=80)
messages.count()
first = messages.first().value
print(first[:150])
first = json.loads(first)
list(first)
print(json.dumps(first["sequences"]["counts"]))
print(json.dumps(first["sequences"]["questions"][0], indent=1))
try:
    messages.rdd.map(lambda message: json.loads(message.value)).toDF()
except Exception as error:
    print(type(error).__name__, str(error)[:160])
from collections import Counter
def leaves(value, path=""):
    if isinstance(value, dict):
        for name in value:
            yield from leaves(value[name], f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, path + "[]")
    elif value is not None:
        yield path
parsed = messages.rdd.map(lambda message: json.loads(message.value))
guessed = "keen_timestamp string, max_attempts string, started_at string, base_exam_id string, user_exam_id string, keen_created_at string, certification string, keen_id string, exam_name string, sequences map<string,array<map<string,boolean>>>"
extracted = spark.createDataFrame(parsed, guessed, verifySchema=False)
before = Counter(parsed.flatMap(leaves).collect())
after = Counter(extracted.rdd.flatMap(lambda row: leaves(row.asDict(recursive=True))).collect())
for path in sorted(before):
    print(f"{path:45} {before[path]:8} {after[path]:8}")
print(f"{'all values':45} {before.total():8} {after.total():8}")
from pyspark.sql import functions as F
option = "struct<id string, checked boolean, at string, submitted bigint, correct boolean>"
one_question = f"struct<id string, user_result string, user_correct boolean, user_incomplete boolean, user_submitted boolean, options array<{option}>>"
counts = "struct<total bigint, correct bigint, incorrect bigint, incomplete bigint, unanswered bigint, submitted bigint, all_correct boolean>"
schema = f"keen_id string, exam_name string, base_exam_id string, user_exam_id string, started_at string, keen_timestamp string, keen_created_at string, certification string, max_attempts string, sequences struct<id string, attempt bigint, counts {counts}, questions array<{one_question}>>"
extracted = messages.select(F.from_json("value", schema).alias("message")).select("message.*")
extracted.printSchema()
left = Counter(extracted.rdd.flatMap(lambda row: leaves(row.asDict(recursive=True))).collect())
print(left.total(), "of", before.total(), "values")
extracted.createOrReplaceTempView("deliveries")
spark.sql("SELECT exam_name, sequences.counts.total, sequences.counts.correct FROM deliveries LIMIT 5").show(truncate=False)
spark.sql("""
WITH q AS (SELECT keen_id, sequences.counts.total, sequences.counts.correct, explode(sequences.questions) AS question FROM deliveries),
     o AS (SELECT keen_id, total, correct, explode(question.options) AS option FROM q)
SELECT 'a message' AS a_row_is, count(*) AS rows, sum(sequences.counts.total) AS questions_asked, round(100 * avg(sequences.counts.correct / sequences.counts.total), 2) AS mean_score FROM deliveries
UNION ALL SELECT 'a question', count(*), sum(total), round(100 * avg(correct / total), 2) FROM q
UNION ALL SELECT 'an option', count(*), sum(total), round(100 * avg(correct / total), 2) FROM o
""").show(truncate=False)
some_assessment_info = spark.sql("SELECT keen_id, exam_name, started_at FROM deliveries")
some_assessment_info.write.mode("overwrite").parquet("/tmp/some_assessment_info")
exit()
spark.sql("SHOW TABLES").show(truncate=False)
spark.table("attempts").select("keen_id", "exam_name", "started_at", "keen_timestamp", "total", "correct").orderBy("kafka_offset").show(3, truncate=False)
spark.table("questions").select("question_position", "question_id", "user_result", "option_count").where("keen_id = '5a6745820eb8ab00016be1f1'").orderBy("question_position").show(truncate=False)
spark.sql("""
SELECT (SELECT count(*) FROM messages) AS messages, (SELECT count(*) FROM attempts) AS attempts,
       (SELECT count(*) FROM questions) AS questions, (SELECT count(*) FROM options) AS options
""").show()
spark.sql("SELECT min(keen_timestamp) AS first_end, max(keen_timestamp) AS last_end FROM attempts").show(truncate=False)
for name in ("messages", "attempts", "questions", "options"):
    for column in spark.sql(f"DESCRIBE TABLE {name}").where("comment <> ''").collect():
        print(f"{name + '.' + column.col_name:28} {column.data_type:9} {column.comment}")
spark.sql("""
SELECT count(*) AS ids, sum(copies) AS deliveries, sum(copies) - count(*) AS delivered_again, max(copies) AS most_copies, max(contents) AS contents_an_id,
       min(keen_timestamp) AS first_ended, max(keen_timestamp) AS last_ended
FROM (SELECT keen_id, count(*) AS copies, count(DISTINCT content_hash) AS contents FROM messages GROUP BY keen_id HAVING count(*) > 1) JOIN attempts USING (keen_id)
""").show(truncate=False)
spark.sql("""
WITH again AS (SELECT keen_id FROM messages WHERE status = 'duplicate'),
     span AS (SELECT min(keen_timestamp) AS first, max(keen_timestamp) AS last FROM attempts WHERE keen_id IN (SELECT keen_id FROM again))
SELECT count(*) AS attempts_in_that_time, count_if(keen_id IN (SELECT keen_id FROM again)) AS of_them_delivered_again FROM attempts, span WHERE keen_timestamp BETWEEN first AND last
""").show()
spark.sql("""
WITH copies AS (SELECT kafka_offset - row_number() OVER (ORDER BY kafka_offset) AS run FROM messages
                WHERE keen_id IN (SELECT keen_id FROM messages WHERE status = 'duplicate')),
     runs AS (SELECT run, count(*) AS length FROM copies GROUP BY run)
SELECT sum(length) AS deliveries, count(*) AS runs_of_neighbours, max(length) AS longest_run FROM runs
""").show()
spark.sql("SELECT count(*) AS attempts, count(DISTINCT user_exam_id) AS user_exam_ids, count(DISTINCT sequences_id) AS sequences_ids, count(DISTINCT base_exam_id) AS exams FROM attempts").show()
spark.sql("""
WITH moved AS (SELECT hours, keen_id, base_exam_id, started_at + make_dt_interval(0, hours) AS begins
               FROM attempts CROSS JOIN (SELECT explode(array(0, -1, 1, -2, 2, -24, 24, 168)) AS hours))
SELECT hours AS beginnings_moved_by_hours, count(*) AS attempts_within_a_minute_after_another
FROM moved a LEFT SEMI JOIN attempts b ON b.base_exam_id = a.base_exam_id AND b.keen_id <> a.keen_id
     AND a.begins BETWEEN b.keen_timestamp AND b.keen_timestamp + INTERVAL 60 SECONDS
GROUP BY hours
ORDER BY abs(hours), hours
""").show()
spark.sql("""
WITH exams AS (SELECT exam_name, count(DISTINCT base_exam_id) AS ids, count(DISTINCT sequences_id) AS sequences_ids, count(*) AS attempts FROM attempts GROUP BY exam_name),
     of_question AS (SELECT exam_name, question_id, count(DISTINCT base_exam_id) AS asked_under_ids FROM questions GROUP BY exam_name, question_id)
SELECT exam_name, ids, attempts, sequences_ids, count(*) AS questions, count_if(asked_under_ids = ids) AS questions_under_both
FROM exams JOIN of_question USING (exam_name)
WHERE ids > 1
GROUP BY exam_name, ids, attempts, sequences_ids
ORDER BY exam_name
""").show(truncate=False)
spark.sql("""
SELECT question_position, count(*) AS shown, count(DISTINCT question_id) AS different_questions
FROM questions WHERE exam_name = 'Learning Git' GROUP BY question_position ORDER BY question_position
""").show()
spark.sql("""
WITH shown AS (SELECT exam_name, question_id, array_join(array_sort(collect_list(option_id)), ' ') AS ids FROM options GROUP BY exam_name, question_id, keen_id, question_position)
SELECT 'question_id' AS a_question_is, count(*) AS questions, count_if(sets > 1) AS with_several_sets_of_options, sum(sets - 1) AS further_sets
FROM (SELECT count(DISTINCT ids) AS sets FROM shown GROUP BY question_id)
UNION ALL
SELECT 'exam_name, question_id', count(*), count_if(sets > 1), sum(sets - 1) FROM (SELECT count(DISTINCT ids) AS sets FROM shown GROUP BY exam_name, question_id)
""").show(truncate=False)
spark.sql("""
SELECT 'question_id' AS a_question_is, count(*) AS options, count_if(verdicts > 1) AS sometimes_right
FROM (SELECT count(DISTINCT correct) AS verdicts FROM options GROUP BY question_id, option_id)
UNION ALL
SELECT 'exam_name, question_id', count(*), count_if(verdicts > 1) FROM (SELECT count(DISTINCT correct) AS verdicts FROM options GROUP BY exam_name, question_id, option_id)
""").show(truncate=False)
spark.sql("""
WITH shown AS (SELECT exam_name, question_id, array_join(array_sort(collect_list(option_id)), ' ') AS ids FROM options GROUP BY exam_name, question_id, keen_id, question_position)
SELECT question_id, count(DISTINCT exam_name) AS exam_names, count(DISTINCT ids) AS sets_of_options, count(*) AS times_asked
FROM shown GROUP BY question_id HAVING count(DISTINCT exam_name) > 1 ORDER BY question_id
""").show(truncate=False)
spark.sql("""
WITH asked AS (SELECT keen_id, array_join(array_sort(collect_list(question_id)), ' ') AS ids FROM questions GROUP BY keen_id)
SELECT count(*) AS sequences_ids, count_if(sets = 1) AS with_one_set_of_questions
FROM (SELECT sequences_id, count(DISTINCT ids) AS sets FROM attempts JOIN asked USING (keen_id) GROUP BY sequences_id)
""").show()
spark.sql("""
WITH asked AS (SELECT keen_id, array_join(array_sort(collect_list(question_id)), ' ') AS ids FROM questions GROUP BY keen_id)
SELECT sequences_id, count(DISTINCT ids) AS sets_of_questions, count(DISTINCT exam_name) AS exam_names, min(exam_name) AS first_name, count(*) AS attempts
FROM attempts JOIN asked USING (keen_id) GROUP BY sequences_id HAVING count(DISTINCT ids) > 1 ORDER BY exam_names DESC, sequences_id
""").show(truncate=False)
spark.sql("""
WITH asked AS (SELECT a.base_exam_id, a.exam_name, a.sequences_id, q.question_id, a.keen_id, a.keen_timestamp FROM attempts a JOIN questions q ON q.keen_id = a.keen_id),
     shared AS (SELECT base_exam_id, question_id, count(DISTINCT sequences_id) AS sequences_ids FROM asked GROUP BY base_exam_id, question_id)
SELECT exam_name, sequences_id, count(DISTINCT keen_id) AS attempts, count(DISTINCT question_id) AS questions, count(DISTINCT question_id) FILTER (WHERE sequences_ids > 1) AS also_in_another,
       date_trunc('minute', min(keen_timestamp)) AS first_ended, date_trunc('minute', max(keen_timestamp)) AS last_ended
FROM asked JOIN shared USING (base_exam_id, question_id)
WHERE base_exam_id IN (SELECT base_exam_id FROM attempts GROUP BY base_exam_id HAVING count(DISTINCT sequences_id) > 1)
GROUP BY exam_name, sequences_id
ORDER BY exam_name, first_ended
""").show(truncate=False)
spark.sql("""
SELECT count_if(total IS NULL) AS without_counts, min(exam_name) FILTER (WHERE total IS NULL) AS their_exam, count(DISTINCT exam_name) FILTER (WHERE total IS NULL) AS exams,
       count_if(certification IS NULL) AS without_certification, count_if(NOT certification) AS not_certified, count_if(certification) AS certified
FROM attempts
""").show(truncate=False)
spark.sql("SELECT count(*) AS questions, count_if(user_result IS NULL) AS without_result, count_if(user_result = 'unanswered') AS unanswered FROM questions").show()
spark.sql("""
SELECT count(*) AS exams, count_if(nulls > 0) AS with_a_null, count_if(nulls = attempts) AS null_in_all_attempts
FROM (SELECT count(*) AS attempts, count_if(certification IS NULL) AS nulls FROM attempts GROUP BY base_exam_id)
""").show()
spark.sql("SELECT round(100 * avg(correct / total), 2) AS left_out, round(100 * avg(coalesce(correct / total, 0)), 2) AS filled_with_0, round(100 * avg(coalesce(correct / total, -99)), 2) AS filled_with_99 FROM attempts").show()
bool("false"), bool("true")
spark.sql("""
SELECT count(DISTINCT max_attempts) AS max_attempts_values, count(DISTINCT attempt) AS attempt_values, count_if(keen_timestamp <> keen_created_at) AS the_two_times_differ,
       count_if(abs(conv(substr(keen_id, 1, 8), 16, 10) - CAST(keen_timestamp AS BIGINT)) <= 1) AS id_begins_with_the_time
FROM attempts
""").show(truncate=False)
spark.sql("""
SELECT count_if(clicked_at < started_at) AS clicks_before_start, count(DISTINCT keen_id) FILTER (WHERE clicked_at < started_at) AS attempts_with_one_before,
       round(max(CAST(started_at AS DOUBLE) - CAST(clicked_at AS DOUBLE)), 1) AS most_seconds_before,
       count_if(clicked_at > keen_timestamp) AS clicks_after_end, count(DISTINCT keen_id) FILTER (WHERE clicked_at > keen_timestamp) AS attempts_with_one_after, count(clicked_at) AS clicks
FROM options JOIN attempts USING (keen_id)
""").show(truncate=False)
spark.sql("""
WITH clicks AS (SELECT keen_id, min(CAST(clicked_at AS DOUBLE)) AS first, max(CAST(clicked_at AS DOUBLE)) AS last FROM options WHERE clicked_at IS NOT NULL GROUP BY keen_id)
SELECT count_if(last - ended > 60) AS over_a_minute_late, count_if(last - ended > 3600) AS over_an_hour_late,
       count_if(first > ended) AS even_the_first_late, round(max(first - ended) / 3600, 1) AS the_first_at_most_hours_late
FROM clicks JOIN (SELECT keen_id, CAST(keen_timestamp AS DOUBLE) AS ended FROM attempts) USING (keen_id)
""").show(truncate=False)
spark.sql("SELECT count_if(seconds < 0) AS negative, count_if(seconds > 3600) AS over_an_hour, round(max(seconds) / 3600, 1) AS longest_hours FROM (SELECT CAST(keen_timestamp AS DOUBLE) - CAST(started_at AS DOUBLE) AS seconds FROM attempts)").show()
spark.sql("SELECT count_if(NOT checked AND clicked_at IS NOT NULL) AS unchecked_but_clicked, count_if(checked AND clicked_at IS NULL) AS checked_never_clicked, count(*) AS options FROM options").show()
spark.sql("SELECT count_if(keen_timestamp < previous) AS out_of_order, count(*) AS attempts FROM (SELECT keen_timestamp, lag(keen_timestamp) OVER (ORDER BY kafka_offset) AS previous FROM attempts)").show()
spark.sql("""
SELECT count_if(seconds < 2) AS under_2_s_a_question, count_if(submitted = 0) AS nothing_answered, count_if(seconds < 2 OR submitted = 0) AS either
FROM (SELECT submitted, (CAST(keen_timestamp AS DOUBLE) - CAST(started_at AS DOUBLE)) / question_count AS seconds FROM attempts)
""").show()
spark.sql("""
SELECT count_if(submitted <> checked) AS sent_in_is_not_checked, count(DISTINCT exam_name) FILTER (WHERE submitted <> checked) AS in_exams, min(exam_name) FILTER (WHERE submitted <> checked) AS their_name FROM options
""").show(truncate=False)
spark.sql("""
SELECT count(user_result) AS results, count_if(user_correct = (user_result = 'correct') AND user_incomplete = (user_result = 'missed_some') AND user_submitted = (user_result <> 'unanswered')) AS flags_agree FROM questions
""").show()
spark.sql("SELECT exam_name, base_exam_id, count(*) AS attempts FROM attempts WHERE length(base_exam_id) <> 36 GROUP BY exam_name, base_exam_id").show(truncate=False)
spark.sql("""
SELECT count(*) AS option_ids, count_if(questions > 1) AS in_several_questions
FROM (SELECT option_id, count(DISTINCT exam_name, question_id) AS questions FROM options GROUP BY option_id)
""").show()
spark.sql("""
SELECT
  (SELECT count(*) FROM messages)                              AS messages,
  (SELECT count(*) FROM messages WHERE status = 'duplicate')   AS delivered_again,
  (SELECT count(*) FROM messages WHERE status = 'rejected')    AS rejected,
  count(*)                                                     AS attempts,
  count(DISTINCT base_exam_id)                                 AS exams_by_id,
  count(DISTINCT exam_name)                                    AS exams_by_name
FROM attempts
""").show(40, truncate=False)
spark.sql("""
SELECT current_database() AS topic, kafka_partition, min(kafka_offset) AS first_offset, max(kafka_offset) AS last_offset, count(*) AS messages
FROM messages
GROUP BY kafka_partition
ORDER BY kafka_partition
""").show(40, truncate=False)
spark.sql("""
WITH git AS (SELECT * FROM attempts WHERE exam_name = 'Learning Git')
SELECT
  count(*)                                    AS attempts,
  count(*) - (SELECT count(*) FROM git a LEFT SEMI JOIN git b ON b.base_exam_id = a.base_exam_id AND b.keen_id <> a.keen_id
              AND a.started_at BETWEEN b.keen_timestamp AND b.keen_timestamp + INTERVAL 60 SECONDS) AS first_sittings,
  count(DISTINCT user_exam_id)                AS user_exam_ids,
  (SELECT count(*) FROM messages m WHERE m.status <> 'rejected' AND m.keen_id IN (SELECT keen_id FROM git)) AS deliveries
FROM git
""").show(40, truncate=False)
spark.sql("""
WITH counted AS (
  SELECT 'by name' AS reading, exam_name, CAST(NULL AS STRING) AS base_exam_id, count(*) AS attempts FROM attempts GROUP BY exam_name
  UNION ALL
  SELECT 'by id', exam_name, base_exam_id, count(*) FROM attempts GROUP BY exam_name, base_exam_id
)
SELECT reading, exam_name, base_exam_id, attempts
FROM counted
QUALIFY attempts = min(attempts) OVER (PARTITION BY reading)
ORDER BY reading DESC, exam_name, base_exam_id
""").show(40, truncate=False)
spark.sql("""
WITH taken AS (
  SELECT a.exam_name, a.base_exam_id, count(*) AS deliveries, count_if(m.status = 'accepted') AS attempts
  FROM messages m JOIN attempts a ON a.keen_id = m.keen_id
  WHERE m.status <> 'rejected'
  GROUP BY a.exam_name, a.base_exam_id
), counted AS (
  SELECT 'by name' AS reading, exam_name, CAST(NULL AS STRING) AS base_exam_id, sum(attempts) AS attempts, sum(deliveries) AS deliveries FROM taken GROUP BY exam_name
  UNION ALL
  SELECT 'by id', exam_name, base_exam_id, attempts, deliveries FROM taken
)
SELECT reading, rank() OVER (PARTITION BY reading ORDER BY attempts DESC) AS rank, exam_name, base_exam_id, attempts, deliveries
FROM counted
QUALIFY rank <= 5
ORDER BY reading DESC, rank, exam_name, base_exam_id
""").show(40, truncate=False)
spark.sql("""
WITH counted AS (
  SELECT question_id, exam_name, count(*) AS results, count_if(user_result = 'correct') AS correct, count_if(user_result <> 'unanswered') AS answered
  FROM questions
  WHERE user_result IS NOT NULL
  GROUP BY question_id, exam_name
  HAVING count(*) >= 30
)
SELECT rank() OVER (ORDER BY correct / results) AS rank, question_id, exam_name, results,
       round(100 * correct / results, 1)               AS percent_correct,
       round(100 * try_divide(correct, answered), 1)   AS percent_of_answered
FROM counted
QUALIFY rank <= 10
ORDER BY rank, question_id
""").show(40, truncate=False)
spark.sql("""
WITH scored AS (
  SELECT question_id, exam_name, CAST(user_result = 'correct' AS INT) AS is_correct,
         (sum(CAST(user_result = 'correct' AS INT)) OVER attempt - CAST(user_result = 'correct' AS INT))
           / (count(*) OVER attempt - 1) AS rest
  FROM questions
  WHERE user_result IS NOT NULL
  WINDOW attempt AS (PARTITION BY keen_id)
  QUALIFY count(*) OVER attempt > 1
), of_question AS (
  SELECT question_id, exam_name, count(*) AS results, avg(is_correct) AS share_correct,
         try_divide(covar_pop(is_correct, rest), stddev_pop(is_correct) * stddev_pop(rest)) AS r
  FROM scored
  GROUP BY question_id, exam_name
  HAVING count(*) >= 50
)
SELECT question_id, exam_name, results, round(100 * share_correct, 1) AS percent_correct, round(r, 2) AS discrimination,
       round(1.96 * (1 - r * r) / sqrt(results - 1), 2) AS margin
FROM of_question
WHERE r IS NOT NULL
QUALIFY least(row_number() OVER (ORDER BY r, question_id), row_number() OVER (ORDER BY r DESC, question_id)) <= 5
ORDER BY r, question_id
""").show(40, truncate=False)
spark.sql("""
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
""").show(40, truncate=False)
spark.sql("""
WITH counted AS (
  SELECT o.question_id, o.exam_name, o.option_id, bool_or(o.correct) AS correct, count(*) AS answers, count_if(o.checked) AS chosen
  FROM options o JOIN questions q ON q.keen_id = o.keen_id AND q.question_position = o.question_position
  WHERE q.user_result IN ('correct', 'incorrect', 'missed_some')
  GROUP BY o.question_id, o.exam_name, o.option_id
), compared AS (
  SELECT *, max(chosen) FILTER (WHERE correct) OVER (PARTITION BY question_id, exam_name) AS most_chosen_right FROM counted
)
SELECT count(*) AS wrong_options, count_if(chosen > most_chosen_right) AS ahead_of_every_right_one, max(chosen - most_chosen_right) AS by_at_most_answers, count_if(chosen = most_chosen_right) AS level
FROM compared WHERE NOT correct AND answers >= 30
""").show()
spark.sql("""
SELECT right_options, changed_mind, count(*) AS questions,
       count_if(user_result = 'correct')                                  AS correct,
       count_if(user_result = 'missed_some')                              AS missed_some,
       count_if(user_result = 'incorrect')                                AS incorrect,
       count_if(took_back_a_right_one)                                    AS took_back_a_right_one,
       round(100 * avg(CAST(user_result = 'correct' AS INT)), 1)          AS percent_correct
FROM (
  SELECT q.user_result, bool_or(o.clicked_at IS NOT NULL AND NOT o.checked) AS changed_mind,
         bool_or(o.clicked_at IS NOT NULL AND NOT o.checked AND o.correct) AS took_back_a_right_one,
         CASE WHEN count_if(o.correct) > 1 THEN 'several' ELSE 'one' END    AS right_options
  FROM questions q JOIN options o ON o.keen_id = q.keen_id AND o.question_position = q.question_position
  WHERE q.user_result IN ('correct', 'incorrect', 'missed_some')
  GROUP BY q.keen_id, q.question_position, q.user_result
)
GROUP BY right_options, changed_mind
ORDER BY right_options, changed_mind
""").show(40, truncate=False)
spark.sql("""
SELECT exam_name, count(*) AS attempts,
       round(median(seconds), 1)              AS median_seconds,
       round(median(seconds / question_count), 1) AS median_a_question,
       round(avg(seconds), 1)                 AS mean_seconds,
       round(max(seconds) / 60, 1)            AS longest_minutes
FROM (SELECT *, CAST(keen_timestamp AS DOUBLE) - CAST(started_at AS DOUBLE) AS seconds FROM attempts)
GROUP BY exam_name
HAVING count(*) >= 50
ORDER BY median(seconds / question_count) DESC, exam_name
""").show(40, truncate=False)
spark.sql("""
SELECT CAST(round(median(seconds)) AS INT) AS median_seconds, CAST(round(avg(seconds)) AS INT) AS mean_seconds, count_if(seconds > 3600) AS over_an_hour,
       CAST(round(100 * sum(seconds) FILTER (WHERE seconds > 3600) / sum(seconds)) AS INT) AS their_percent_of_all_time, CAST(round(avg(seconds) FILTER (WHERE seconds <= 3600)) AS INT) AS mean_without_them
FROM (SELECT CAST(keen_timestamp AS DOUBLE) - CAST(started_at AS DOUBLE) AS seconds FROM attempts)
""").show()
spark.sql("""
SELECT
  round(100 * avg(correct / total), 2)          AS mean_over_attempts,
  round(100 * sum(correct) / sum(total), 2)     AS pooled_over_questions,
  (SELECT round(100 * avg(score), 2) FROM (SELECT avg(correct / total) AS score FROM attempts WHERE total IS NOT NULL GROUP BY base_exam_id)) AS mean_of_exam_means,
  (SELECT round(100 * avg(score), 2) FROM (SELECT avg(correct / total) AS score FROM attempts WHERE total IS NOT NULL GROUP BY exam_name))    AS the_same_by_name,
  count(total)                                  AS attempts_with_counts,
  count_if(total IS NULL)                       AS attempts_without
FROM attempts
""").show(40, truncate=False)
spark.sql("""
WITH again AS (
  SELECT a.keen_id FROM attempts a LEFT SEMI JOIN attempts b ON b.base_exam_id = a.base_exam_id AND b.keen_id <> a.keen_id
    AND a.started_at BETWEEN b.keen_timestamp AND b.keen_timestamp + INTERVAL 60 SECONDS
), sittings AS (
  SELECT exam_name, keen_id IN (SELECT keen_id FROM again) AS is_again, correct / total AS score,
         CAST(keen_timestamp AS DOUBLE) - CAST(started_at AS DOUBLE) AS seconds
  FROM attempts
), counted AS (
  SELECT coalesce(exam_name, 'all exams') AS exam_name, count(*) AS attempts, count_if(NOT is_again) AS first, count_if(is_again) AS again,
         round(100 * avg(score) FILTER (WHERE NOT is_again), 1) AS score_first, round(100 * avg(score) FILTER (WHERE is_again), 1) AS score_again,
         round(median(seconds) FILTER (WHERE NOT is_again), 1) AS seconds_first, round(median(seconds) FILTER (WHERE is_again), 1) AS seconds_again
  FROM sittings
  GROUP BY GROUPING SETS ((exam_name), ())
)
SELECT *
FROM counted
QUALIFY rank() OVER (ORDER BY attempts DESC) <= 11
ORDER BY attempts DESC, exam_name
""").show(40, truncate=False)
exit()
