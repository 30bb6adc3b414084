"""The course's ways of landing: one Parquet table in HDFS, without a ledger and without checks.

Run by: make bench
    TOPIC=assessments scripts/env.sh python bench/course.py best|usual

best: whole messages as one nested table. Spark reads the topic twice: to infer the type, to write.
usual: json.loads for each record, three columns; questions and options are lost. The course let
Spark infer the columns from the first record. Spark 4 rejects that, so they are declared.
"""

import json
import sys

from pyspark.sql import SparkSession

from pipeline import settings

way, feed = sys.argv[1], settings.load().feed()
spark = SparkSession.builder.appName(f"course, {way} way").getOrCreate()
raw = (
    spark.read.format("kafka")
    .option("kafka.bootstrap.servers", feed.settings.kafka)
    .option("subscribe", feed.topic)
    .option("startingOffsets", "earliest")
    .option("endingOffsets", "latest")
    .load()
)
if way == "best":
    texts = raw.select(raw.value.cast("string")).rdd.map(lambda row: row.value)
    table = spark.read.json(texts)
else:
    columns = "keen_id string, exam_name string, started_at string"
    extracted = raw.rdd.map(lambda row: json.loads(row.value)).toDF(columns)
    extracted.createOrReplaceTempView("assessments")
    table = spark.sql("select keen_id, exam_name, started_at from assessments")
table.write.mode("overwrite").parquet(f"{feed.hdfs}/tmp/bench/{feed.topic}/course_{way}")
