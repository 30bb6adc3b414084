import json, os
raw = (spark.read.format("kafka").option("kafka.bootstrap.servers", os.environ["KAFKA"])
       .option("subscribe", os.environ["TOPIC"])
       .option("startingOffsets", "earliest").option("endingOffsets", "latest").load())
raw = raw.cache()  # keep the messages in memory, so that the topic is read once
raw.printSchema()
raw.show(2)
messages = raw.select(raw.value.cast("string"))
messages.printSchema()
messages.show(2, truncate=80)
messages.count()
first = json.loads(messages.first().value)
list(first)
print(json.dumps(first["sequences"]["counts"]))
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
texts = "keen_timestamp started_at base_exam_id user_exam_id keen_created_at certification max_attempts keen_id exam_name"
inferred = ", ".join(f"{name} string" for name in texts.split()) + ", sequences map<string,array<map<string,boolean>>>"
extracted = spark.createDataFrame(parsed, inferred, verifySchema=False)
before = Counter(parsed.flatMap(leaves).collect())
after = Counter(extracted.rdd.flatMap(lambda row: leaves(row.asDict(recursive=True))).collect())
for path in ("keen_id", "sequences.counts.total", "sequences.questions[].user_result", "sequences.questions[].options[].checked"):
    print(f"{path:42} {before[path]:8} {after[path]:8}")
print(f"{'all values':42} {before.total():8} {after.total():8}")
round(100 * after.total() / before.total())
from pyspark.sql import functions as F
option = "struct<id string, checked boolean, at string, submitted bigint, correct boolean>"
question = ("struct<id string, user_result string, user_correct boolean, user_incomplete boolean,"
            f" user_submitted boolean, options array<{option}>>")
counts = ("struct<total bigint, correct bigint, incorrect bigint, incomplete bigint, unanswered bigint,"
          " submitted bigint, all_correct boolean>")
sequences = f"struct<id string, attempt bigint, counts {counts}, questions array<{question}>>"
declared = ", ".join(f"{name} string" for name in texts.split()) + f", sequences {sequences}"
extracted = messages.select(F.from_json("value", declared).alias("message")).select("message.*")
extracted.select("sequences.counts").printSchema()
left = Counter(extracted.rdd.flatMap(lambda row: leaves(row.asDict(recursive=True))).collect())
print(left.total(), "of", before.total(), "values")
extracted.createOrReplaceTempView("deliveries")
spark.sql("SELECT exam_name, sequences.counts.total, sequences.counts.correct FROM deliveries LIMIT 3").show(truncate=False)
spark.sql("""
WITH q AS (SELECT sequences.counts.total, explode(sequences.questions) AS question FROM deliveries),
     o AS (SELECT total, explode(question.options) AS option FROM q)
SELECT 'a message' AS a_row_is, count(*) AS rows, sum(sequences.counts.total) AS sum_of_total FROM deliveries
UNION ALL SELECT 'a question', count(*), sum(total) FROM q
UNION ALL SELECT 'an option', count(*), sum(total) FROM o
""").show(truncate=False)
raw.write.mode("overwrite").parquet("/tmp/assessments")
spark.read.parquet("/tmp/assessments").count()
some_assessment_info = spark.sql("SELECT keen_id, exam_name, started_at FROM deliveries")
some_assessment_info.write.mode("overwrite").parquet("/tmp/some_assessment_info")
exit()
spark.sql("SHOW TABLES").show(truncate=False)
spark.sql("""
SELECT (SELECT count(*) FROM messages) AS messages, (SELECT count(*) FROM attempts) AS attempts,
       (SELECT count(*) FROM questions) AS questions, (SELECT count(*) FROM options) AS options
""").show()
spark.table("attempts").select("keen_id", "exam_name", "started_at", "total", "correct").orderBy("kafka_offset").show(2, truncate=False)
spark.sql("""
WITH copies AS (SELECT keen_id, count(*) AS n, count(DISTINCT content_hash) AS contents FROM messages GROUP BY keen_id HAVING count(*) > 1),
  -- the hours in which attempts ended that were sent more than once, and where their copies stand in the file
  span AS (SELECT min(keen_timestamp) AS first, max(keen_timestamp) AS last FROM attempts JOIN copies USING (keen_id)),
  runs AS (SELECT kafka_offset - row_number() OVER (ORDER BY kafka_offset) AS run FROM messages JOIN copies USING (keen_id)),
  names AS (SELECT exam_name, count(DISTINCT base_exam_id) AS ids, count(DISTINCT sequences_id) AS versions FROM attempts GROUP BY exam_name),
  -- what identifies a question: its options are the same wherever it is asked
  shown AS (SELECT exam_name, question_id, sort_array(collect_list(option_id)) AS options FROM options GROUP BY exam_name, question_id, keen_id, question_position),
  ids AS (SELECT count(DISTINCT exam_name) AS names, count(DISTINCT options) AS sets FROM shown GROUP BY question_id),
  pairs AS (SELECT count(DISTINCT options) AS sets FROM shown GROUP BY exam_name, question_id),
  keys AS (SELECT count(DISTINCT correct) AS verdicts FROM options GROUP BY question_id, option_id),
  edited AS (SELECT base_exam_id FROM attempts GROUP BY base_exam_id HAVING count(DISTINCT sequences_id) > 1),
  both AS (SELECT base_exam_id, question_id FROM questions JOIN attempts USING (keen_id, base_exam_id) JOIN edited USING (base_exam_id)
           GROUP BY base_exam_id, question_id HAVING count(DISTINCT sequences_id) > 1),
  timed AS (SELECT *, CAST(keen_timestamp AS DOUBLE) - CAST(started_at AS DOUBLE) AS seconds,
                   lag(keen_timestamp) OVER (ORDER BY kafka_offset) AS above FROM attempts),
  clicks AS (SELECT keen_id, clicked_at < started_at AS before, clicked_at > keen_timestamp AS after,
                    CAST(clicked_at AS DOUBLE) - CAST(keen_timestamp AS DOUBLE) AS late
             FROM options JOIN attempts USING (keen_id) WHERE clicked_at IS NOT NULL)
SELECT stack(25,
  '0 messages that repeat an attempt', (SELECT count_if(status = 'duplicate') FROM messages), (SELECT count(*) FROM messages),
  '1 attempts sent more than once', (SELECT count(*) FROM copies), (SELECT count(*) FROM attempts),
  '2 of these: copies differ', (SELECT count_if(contents > 1) FROM copies), (SELECT count(*) FROM copies),
  '3 sent again, of the attempts that ended in the same hours', (SELECT count(*) FROM copies), (SELECT count(*) FROM attempts, span WHERE keen_timestamp BETWEEN first AND last),
  '4 runs of neighbours in the file that the copies form', (SELECT count(DISTINCT run) FROM runs), (SELECT count(*) FROM runs),
  '5 different user_exam_ids', (SELECT count(DISTINCT user_exam_id) FROM attempts), (SELECT count(*) FROM attempts),
  '6 names of exams with two base_exam_ids', (SELECT count_if(ids = 2) FROM names), (SELECT count(*) FROM names),
  '7 of these: one version of the questions', (SELECT count_if(ids = 2 AND versions = 1) FROM names), (SELECT count_if(ids = 2) FROM names),
  '8 question_ids in exams of several names', (SELECT count_if(names > 1) FROM ids), (SELECT count(*) FROM ids),
  '9 question_ids with several sets of options', (SELECT count_if(sets > 1) FROM ids), (SELECT count(*) FROM ids),
  '10 the same for question_id within exam_name', (SELECT count_if(sets > 1) FROM pairs), (SELECT count(*) FROM pairs),
  '11 options that are right here and wrong there', (SELECT count_if(verdicts > 1) FROM keys), (SELECT count(*) FROM keys),
  '12 exams with two versions', (SELECT count(*) FROM edited), (SELECT count(DISTINCT base_exam_id) FROM attempts),
  '13 questions in both versions', (SELECT count(*) FROM both), (SELECT count(DISTINCT base_exam_id, question_id) FROM questions JOIN edited USING (base_exam_id)),
  '14 attempts without counts', (SELECT count_if(total IS NULL) FROM attempts), (SELECT count(*) FROM attempts),
  '15 questions without a result', (SELECT count_if(user_result IS NULL) FROM questions), (SELECT count(*) FROM questions),
  '16 attempts without certification', (SELECT count_if(certification IS NULL) FROM attempts), (SELECT count(*) FROM attempts),
  '17 attempts that certified', (SELECT count_if(certification) FROM attempts), (SELECT count(*) FROM attempts),
  '18 clicks before the start', (SELECT count_if(before) FROM clicks), (SELECT count(*) FROM clicks),
  '19 clicks after the end', (SELECT count_if(after) FROM clicks), (SELECT count(*) FROM clicks),
  '20 attempts with a click over a minute after the end', (SELECT count(DISTINCT keen_id) FROM clicks WHERE late > 60), (SELECT count(*) FROM attempts),
  '21 attempts of over an hour', (SELECT count_if(seconds > 3600) FROM timed), (SELECT count(*) FROM attempts),
  '22 attempts that ended before the one above them', (SELECT count_if(keen_timestamp < above) FROM timed), (SELECT count(*) FROM attempts),
  '23 attempts under 2 s a question or with nothing answered', (SELECT count_if(seconds < 2 * question_count OR submitted = 0) FROM timed), (SELECT count(*) FROM attempts),
  '24 questions with right options only', (SELECT count_if(only_right) FROM (SELECT bool_and(correct) AS only_right FROM options GROUP BY exam_name, question_id)), (SELECT count(*) FROM pairs)
) AS (what, n, of)
""").show(40, truncate=False)
spark.sql("""
WITH events AS (
  SELECT hours, base_exam_id, keen_id, started_at + make_dt_interval(0, hours) AS at, false AS is_end
  FROM attempts CROSS JOIN (SELECT explode(array(0, 1, 24, 168)) AS hours)
  UNION ALL
  SELECT hours, base_exam_id, keen_id, keen_timestamp, true
  FROM attempts CROSS JOIN (SELECT explode(array(0, 1, 24, 168)) AS hours)
), last_end AS (
  SELECT *, last_value(IF(is_end, struct(at, keen_id), NULL)) IGNORE NULLS
              OVER (PARTITION BY hours, base_exam_id ORDER BY at, is_end, keen_id) AS ended
  FROM events
), gaps AS (
  SELECT hours, CAST(at AS DOUBLE) - CAST(ended.at AS DOUBLE) AS seconds
  FROM last_end WHERE NOT is_end AND ended.keen_id <> keen_id
)
SELECT hours AS starts_moved_by_hours, count_if(seconds <= 60) AS within_1_min, count_if(seconds <= 600) AS within_10_min
FROM gaps GROUP BY hours ORDER BY hours
""").show()
spark.sql("""
WITH clock AS (
  SELECT keen_id, max(CAST(clicked_at AS DOUBLE)) - first(CAST(keen_timestamp AS DOUBLE)) AS fast_by
  FROM options JOIN attempts USING (keen_id) WHERE clicked_at IS NOT NULL GROUP BY keen_id
), pair AS (
  SELECT a.keen_id, a.fast_by, b.fast_by AS before FROM attempt_order o JOIN clock a ON a.keen_id = o.keen_id
  JOIN clock b ON b.keen_id = o.previous_keen_id WHERE o.is_retake AND b.fast_by > 5
), chance AS (
  SELECT pair.keen_id, avg(CAST(abs(clock.fast_by - before) < 5 AS INT)) AS share FROM pair CROSS JOIN clock GROUP BY pair.keen_id
)
SELECT count(*) AS pairs, count_if(abs(fast_by - before) < 5) AS same_clock, round(sum(share), 1) AS expected_by_chance
FROM pair JOIN chance USING (keen_id)
""").show()
spark.sql("""
SELECT count(*) AS overlapping_pairs FROM attempts a JOIN attempts b ON b.base_exam_id = a.base_exam_id AND b.keen_id > a.keen_id
WHERE a.started_at < b.keen_timestamp AND b.started_at < a.keen_timestamp
""").show()
spark.sql("""
WITH kinds AS (
  SELECT a.*, o.is_retake, o.is_retaken, p.is_retake AS is_third_or_later FROM attempts a JOIN attempt_order o USING (keen_id)
  LEFT JOIN attempt_order p ON o.is_retake AND p.keen_id = o.previous_keen_id
), shown AS (
  SELECT *, explode(filter(array(
           IF(NOT is_retake, '1 first attempts', NULL),
           IF(NOT is_retake AND NOT is_retaken, '2 .. taken once', NULL),
           IF(NOT is_retake AND is_retaken, '3 .. retaken', NULL),
           IF(is_retake AND NOT is_third_or_later, '4 second attempts', NULL),
           IF(is_retake AND is_third_or_later, '5 third and later', NULL),
           IF(is_retake AND NOT is_retaken, '6 last attempts of a chain', NULL)), kind -> kind IS NOT NULL)) AS kind
  FROM kinds
)
SELECT kind, count(*) AS attempts, round(100 * avg(correct / total), 1) AS mean_score,
       count_if(correct = total) AS all_right, count_if(is_retaken) AS retaken,
       round(100 * avg(CAST(is_retaken AS INT)), 1) AS percent_retaken,
       CAST(round(median(CAST(keen_timestamp AS DOUBLE) - CAST(started_at AS DOUBLE))) AS BIGINT) AS median_seconds
FROM shown
GROUP BY kind
ORDER BY kind
""").show(40, truncate=False)
spark.sql("""
WITH scored AS (
  SELECT keen_id, previous_keen_id, is_retake, is_retaken, 100 * correct / total AS score
  FROM attempts JOIN attempt_order USING (keen_id) WHERE total > 0
), attempt AS (
  SELECT b.keen_id, b.is_retaken, b.score, a.score - b.score AS gain,
         CASE WHEN b.score = 0 THEN '1 none right' WHEN b.score < 50 THEN '2 less than half'
              WHEN b.score < 100 THEN '3 half or more, not all' ELSE '4 all right' END AS score_before
  FROM scored b LEFT JOIN scored a ON a.is_retake AND a.previous_keen_id = b.keen_id
)
SELECT coalesce(score_before, 'all') AS score_before, count(DISTINCT keen_id) AS attempts, count(gain) AS pairs,
       round(100 * count(DISTINCT keen_id) FILTER (WHERE is_retaken) / count(DISTINCT keen_id), 1) AS percent_retaken,
       round(avg(score) FILTER (WHERE gain IS NOT NULL), 1) AS mean_before,
       round(avg(score + gain), 1) AS mean_after, round(avg(gain), 1) AS mean_gain,
       round(1.96 * stddev(gain) / sqrt(count(gain)), 1) AS margin,
       round(100 * avg(CAST(gain > 1e-9 AS INT)), 1) AS percent_better,
       round(100 * avg(CAST(abs(gain) <= 1e-9 AS INT)), 1) AS percent_equal,
       round(100 * avg(CAST(gain < -1e-9 AS INT)), 1) AS percent_worse
FROM attempt
GROUP BY GROUPING SETS ((score_before), ())
ORDER BY score_before
""").show(40, truncate=False)
spark.sql("""
WITH scored AS (SELECT keen_id, previous_keen_id, seconds_between, 100 * correct / total AS score FROM attempts JOIN attempt_order USING (keen_id))
SELECT seconds AS retake_within_seconds, count_if(a.seconds_between <= seconds) AS retakes,
       round(avg(a.score) FILTER (WHERE NOT coalesce(a.seconds_between <= seconds, false)), 1) AS mean_first,
       round(avg(a.score - b.score) FILTER (WHERE a.seconds_between <= seconds), 1) AS mean_gain
FROM scored a LEFT JOIN scored b ON b.keen_id = a.previous_keen_id CROSS JOIN (SELECT explode(array(30, 60, 120, 600)) AS seconds)
GROUP BY seconds ORDER BY seconds
""").show()
spark.sql("""
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
""").show(40, truncate=False)
from math import comb
wrong, right, options = 34, 11, 201
p = sum(comb(wrong + right, k) for k in range(wrong, wrong + right + 1)) / 2 ** (wrong + right)
print(f"{p:.4f}, {p * options:.2f}")
spark.sql("""
WITH answer AS (
  SELECT q.exam_name, a.sequences_id, q.keen_id, q.question_id, CAST(q.user_result = 'correct' AS INT) AS is_right
  FROM questions q JOIN attempts a ON a.keen_id = q.keen_id JOIN attempt_order o ON o.keen_id = q.keen_id AND NOT o.is_retake
  WHERE q.user_result IS NOT NULL
), attempt AS (
  SELECT exam_name, sequences_id, keen_id, sum(is_right) AS score, count(*) AS k FROM answer GROUP BY exam_name, sequences_id, keen_id
), question AS (
  SELECT exam_name, sequences_id, question_id, var_samp(is_right) AS variance FROM answer GROUP BY exam_name, sequences_id, question_id
), version AS (
  SELECT exam_name, sequences_id, count(*) AS first_attempts, max(k) AS k, avg(score) AS mean, var_samp(score) AS variance
  FROM attempt GROUP BY exam_name, sequences_id HAVING count(*) >= 50 AND min(k) = max(k) AND max(k) > 1
), agreement AS (
  SELECT exam_name, first_attempts, k, mean, v.variance, k / (k - 1) * (1 - try_divide(sum(q.variance), v.variance)) AS kr20
  FROM version v JOIN question q USING (exam_name, sequences_id)
  GROUP BY exam_name, sequences_id, first_attempts, k, mean, v.variance
  HAVING count(*) = k
)
SELECT exam_name, first_attempts, k AS questions, round(100 * mean / k, 1) AS mean_score, round(kr20, 2) AS kr20,
       round(1 - (1 - kr20) * exp(1.96 * sqrt(2 * k / ((k - 1) * (first_attempts - 2)))), 2) AS low,
       round(1 - (1 - kr20) * exp(-1.96 * sqrt(2 * k / ((k - 1) * (first_attempts - 2)))), 2) AS high,
       CAST(round(100 * 1.96 * sqrt(variance * (1 - kr20)) / k) AS BIGINT) AS margin_points
FROM agreement
ORDER BY kr20 DESC, exam_name
""").show(40, truncate=False)
spark.sql("""
SELECT count_if(fast) AS fast, count(*) AS first_attempts, round(avg(score) FILTER (WHERE fast), 1) AS their_score,
       round(avg(score), 1) AS mean_score, round(avg(score) FILTER (WHERE NOT fast), 1) AS mean_without_them
FROM (SELECT 100 * correct / total AS score, CAST(keen_timestamp AS DOUBLE) - CAST(started_at AS DOUBLE) < 2 * question_count AS fast
      FROM attempts JOIN attempt_order USING (keen_id) WHERE NOT is_retake)
""").show()
spark.sql("""
WITH place AS (
  SELECT question_count, question_position, count(*) AS results, 100 * avg(is_right) AS percent, 196 * stddev(is_right) / sqrt(count(*)) AS margin
  FROM (SELECT *, CAST(user_result = 'correct' AS INT) AS is_right FROM questions JOIN attempts USING (keen_id) JOIN attempt_order USING (keen_id)
        WHERE NOT is_retake AND user_result IS NOT NULL)
  GROUP BY question_count, question_position HAVING count(*) >= 100
)
SELECT question_count AS questions, min(results) AS first_attempts,
       array_join(transform(array_sort(collect_list(struct(question_position, percent))), each -> format_number(each.percent, 1)), '  ') AS percent_right_by_place,
       round(max_by(percent, question_position), 1) AS last_place, round(max(margin), 1) AS margin
FROM place GROUP BY question_count ORDER BY question_count
""").show(truncate=False)
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
SELECT seconds AS retake_within_seconds, count(*) AS attempts, count_if(seconds_between <= seconds) AS retakes,
       count(*) - count_if(seconds_between <= seconds) AS first_attempts,
       (SELECT count(*) FROM messages JOIN attempts USING (keen_id)
        WHERE status <> 'rejected' AND exam_name = 'Learning Git') AS deliveries
FROM attempts JOIN attempt_order USING (keen_id) CROSS JOIN (SELECT explode(array(30, 60, 120, 600)) AS seconds)
WHERE exam_name = 'Learning Git'
GROUP BY seconds
ORDER BY seconds
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
WITH delivered AS (
  SELECT exam_name, count(*) AS deliveries FROM messages JOIN attempts USING (keen_id) WHERE status <> 'rejected' GROUP BY exam_name
), of_id AS (
  SELECT exam_name, base_exam_id, count(*) AS attempts, count_if(NOT is_retake) AS first_attempts
  FROM attempts JOIN attempt_order USING (keen_id) GROUP BY exam_name, base_exam_id
), of_name AS (
  SELECT exam_name, sum(attempts) AS attempts, sum(first_attempts) AS first_attempts, count(*) AS base_exam_ids, max(attempts) AS of_largest_id
  FROM of_id GROUP BY exam_name
)
SELECT rank() OVER (ORDER BY attempts DESC) AS rank, exam_name, attempts, first_attempts, deliveries, base_exam_ids, of_largest_id
FROM of_name JOIN delivered USING (exam_name)
QUALIFY rank <= 10
ORDER BY rank, exam_name
""").show(40, truncate=False)
def answer(name):
    sql = open(f"queries/{name}.sql").read()
    return spark.sql("\n".join(line for line in sql.splitlines() if not line.startswith("--")))
answer("15_scores").show(truncate=False)
answer("10_hardest_questions").show(1, truncate=False)
answer("11_wrong_options").show(1, truncate=False)
answer("12_discrimination").show(1, truncate=False)
single = answer("13_changes_of_mind").where("right_options = 'one' AND changed_mind")
single.selectExpr("attempts", "questions", "correct AS to_right", "took_back_a_right_one AS from_right").show()
answer("14_time_taken").show(1, truncate=False)
exit()
