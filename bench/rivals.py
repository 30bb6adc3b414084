"""The rivals that use Spark, each a whole process: no ledger and no checks.

Run by: make bench
    TOPIC=assessments scripts/env.sh python bench/rivals.py best|usual|count

best: whole messages as one nested table. Spark reads the topic twice: to infer the type, to write.
usual: json.loads for each record, three columns; questions and options are lost. The course let
Spark infer the columns from the first record. Spark 4 rejects that, so they are declared.
count: only counts the records. The cost of a session like landing's, and of one read.
"""

import json
import sys

from pyspark.sql import SparkSession

from pipeline import settings
from pipeline.spark import session

way, knobs = sys.argv[1], settings.load()
if way == "count":
    spark = session.get(knobs, way, 0)
else:
    spark = SparkSession.builder.appName(f"course, {way} way").getOrCreate()
raw = (
    spark.read.format("kafka")
    .option("kafka.bootstrap.servers", knobs.kafka)
    .option("subscribe", knobs.topic)
    .option("startingOffsets", "earliest")
    .option("endingOffsets", "latest")
    .load()
)
target = f"{knobs.hdfs}/tmp/bench/{knobs.topic}/{way}"
if way == "count":
    print(f"{raw.count():,} records")
elif way == "best":
    texts = raw.select(raw.value.cast("string")).rdd.map(lambda row: row.value)
    spark.read.json(texts).write.mode("overwrite").parquet(target)
else:
    columns = "keen_id string, exam_name string, started_at string"
    extracted = raw.rdd.map(lambda row: json.loads(row.value)).toDF(columns)
    extracted.write.mode("overwrite").parquet(target)
