import json, os
raw = (spark.read.format("kafka").option("kafka.bootstrap.servers", os.environ["KAFKA"])
       .option("subscribe", os.environ["TOPIC"])
       .option("startingOffsets", "earliest").option("endingOffsets", "latest").load())
raw = raw.cache()  # keep the messages in memory, so that the topic is read once
raw.printSchema()
raw.show(1)
messages = raw.select(raw.value.cast("string"))
messages.printSchema()
messages.show(1, truncate=80)
messages.count()
first = json.loads(messages.first().value)
list(first)
print(json.dumps(first["sequences"]["counts"]))
from collections import Counter
def leaves(value, path=""):
    if isinstance(value, dict):
        return [leaf for name in value for leaf in leaves(value[name], f"{path}.{name}".lstrip("."))]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item, path + "[]")]
    return [] if value is None else [path]
parsed = messages.rdd.map(lambda message: json.loads(message.value))
texts = "keen_timestamp started_at base_exam_id user_exam_id keen_created_at certification max_attempts keen_id exam_name"
inferred = ", ".join(f"{name} string" for name in texts.split()) + ", sequences map<string,array<map<string,boolean>>>"
extracted = spark.createDataFrame(parsed, inferred, verifySchema=False)
before = Counter(parsed.flatMap(leaves).collect())
after = Counter(extracted.rdd.flatMap(lambda row: leaves(row.asDict(recursive=True))).collect())
paths = ("keen_id", "sequences.counts.total", "sequences.questions[].user_result", "sequences.questions[].options[].checked")
counts = [(path, before[path], after[path]) for path in paths] + [("all values", before.total(), after.total())]
spark.createDataFrame([(*row, round(100 * row[2] / row[1])) for row in counts], ["what", "before", "after", "percent"]).show(truncate=False)
from pyspark.sql import functions as F
option = "struct<id string, checked boolean, at string, submitted bigint, correct boolean>"
question = ("struct<id string, user_result string, user_correct boolean, user_incomplete boolean,"
            f" user_submitted boolean, options array<{option}>>")
counts = ("struct<total bigint, correct bigint, incorrect bigint, incomplete bigint, unanswered bigint,"
          " submitted bigint, all_correct boolean>")
sequences = f"struct<id string, attempt bigint, counts {counts}, questions array<{question}>>"
declared = ", ".join(f"{name} string" for name in texts.split()) + f", sequences {sequences}"
extracted = messages.select(F.from_json("value", declared).alias("message")).select("message.*")
left = Counter(extracted.rdd.flatMap(lambda row: leaves(row.asDict(recursive=True))).collect())
print(left.total(), "of", before.total(), "values")
def options_of(extracted):
    questions = extracted.select("keen_id", F.explode("sequences.questions").alias("question"))
    options = questions.select("keen_id", "question", F.explode("question.options").alias("option"))
    return options.selectExpr("keen_id", "question.id AS question", "question.user_result", "option.id AS option", "option.checked", "option.correct")
options_of(extracted.where(f"keen_id = '{first['keen_id']}'")).write.mode("overwrite").parquet("/tmp/options_of_one")
taken_apart = spark.read.parquet("/tmp/options_of_one")
taken_apart.show(4, truncate=13)
taken_apart.count()
extracted.createOrReplaceTempView("deliveries")
spark.sql("""
WITH q AS (SELECT sequences.counts.total, explode(sequences.questions) AS question FROM deliveries),
     o AS (SELECT total, explode(question.options) AS option FROM q)
SELECT 'a message' AS a_row_is, count(*) AS rows, sum(sequences.counts.total) AS sum_of_total FROM deliveries
UNION ALL SELECT 'a question', count(*), sum(total) FROM q
UNION ALL SELECT 'an option', count(*), sum(total) FROM o
""").show(truncate=False)
raw.write.mode("overwrite").parquet("/tmp/assessments")
some_assessment_info = spark.sql("SELECT keen_id, exam_name, started_at FROM deliveries")
some_assessment_info.write.mode("overwrite").parquet("/tmp/some_assessment_info")
def answer(name):
    sql = open(f"queries/{name}.sql").read()
    return spark.sql("\n".join(line for line in sql.splitlines() if not line.startswith("--")))
spark.sql("""
SELECT * FROM (
  SELECT date(min(started_at)) AS first_day, date(max(keen_timestamp)) AS last_day, count(*) AS attempts, count(DISTINCT exam_name) AS exams,
         median(question_count) AS questions_each FROM attempts
) CROSS JOIN (
  SELECT count_if(user_result = 'correct') AS correct, count_if(user_result = 'missed_some') AS missed_some,
         count_if(user_result = 'incorrect') AS incorrect, count_if(user_result = 'unanswered') AS unanswered FROM questions)
""").show()
spark.sql("""
SELECT 'different user_exam_ids' AS what, count(DISTINCT user_exam_id) AS found, count(*) AS of FROM attempts
UNION ALL SELECT 'names of exams with two base_exam_ids', count_if(ids = 2), count(*)
          FROM (SELECT count(DISTINCT base_exam_id) AS ids FROM attempts GROUP BY exam_name)
UNION ALL SELECT 'attempts that ended before the one above them', count_if(keen_timestamp < above), count(*)
          FROM (SELECT keen_timestamp, lag(keen_timestamp) OVER (ORDER BY kafka_offset) AS above FROM attempts)
""").show(truncate=False)
files = [file[:-4] for file in sorted(os.listdir("queries/data"))]
counts = [(file[:2], *row) for file in files for row in answer(f"data/{file}").collect()]
spark.createDataFrame(counts, "file string, what string, found string, of string").show(40, truncate=False)
files = [file[:-4] for file in sorted(os.listdir("queries/checks"))][:5]
counts = [row for file in files for row in answer(f"checks/{file}").collect()]
spark.createDataFrame(counts).show(truncate=False)
answer("06_retakes").show(truncate=False)
answer("07_gain_by_retake").show(truncate=False)
answer("12_answers_on_retake").show(40, truncate=False)
answer("16_who_retakes").show(truncate=False)
answer("08_questions_to_review").show(40, truncate=False)
answer("checks/6_with_retakes").show()
spark.sql("""
WITH answer AS (
  SELECT q.exam_name, q.question_id, q.user_result, count_if(o.correct) AS right_options, count_if(o.checked) AS checked
  FROM questions q JOIN options o ON o.keen_id = q.keen_id AND o.question_position = q.question_position
    JOIN attempt_order a ON a.keen_id = q.keen_id AND NOT a.is_retake
  WHERE q.user_result IS NOT NULL
  GROUP BY q.keen_id, q.question_position, q.exam_name, q.question_id, q.user_result
), shown AS (
  SELECT *, explode(CASE right_options WHEN 1 THEN array('1 one') WHEN 2 THEN array('2 two', '5 several')
                    WHEN 3 THEN array('3 three', '5 several') ELSE array('4 four or more', '5 several') END) AS format
  FROM answer WHERE right_options > 0
)
SELECT substr(format, 3) AS right_options, count(DISTINCT exam_name, question_id) AS questions, count(*) AS results,
       count_if(user_result = 'correct') AS correct,
       round(100 * avg(CAST(user_result = 'correct' AS INT)), 1)     AS percent_right,
       round(100 * avg(CAST(user_result = 'missed_some' AS INT)), 1) AS percent_partly,
       round(100 * avg(CAST(user_result = 'incorrect' AS INT)), 1)   AS percent_wrong,
       round(100 * avg(CAST(user_result = 'unanswered' AS INT)), 1)  AS percent_unanswered,
       round(100 * count_if(checked < right_options AND user_result <> 'unanswered') / count_if(user_result <> 'unanswered'), 1) AS percent_fewer
FROM shown
GROUP BY format
ORDER BY format
""").show(40, truncate=False)
answer("checks/7_partial_credit").show()
answer("09_reliability").show(truncate=False)
answer("01_how_many_assessments").show()
answer("02_kafka_topic").show()
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
answer("04_least_common_course").where("reading = 'by name'").show(truncate=False)
answer("05_most_common_course").show(5, truncate=False)
answer("15_scores").show(truncate=False)
exit()
