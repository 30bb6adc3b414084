"""The course's usual way: json.loads for each record, three columns, one Parquet table in HDFS.

Run by: make bench
    TOPIC=assessments scripts/lib/env.sh python bench/course_usual.py

The course let Spark infer the columns from the first record. Spark 4 rejects that, so the three are
declared. Questions and options are lost.
"""

import json
import os

from pyspark.sql import SparkSession

spark = SparkSession.builder.appName("course, usual way").getOrCreate()
raw = (
    spark.read.format("kafka")
    .option("kafka.bootstrap.servers", os.environ["KAFKA"])
    .option("subscribe", os.environ["TOPIC"])
    .option("startingOffsets", "earliest")
    .option("endingOffsets", "latest")
    .load()
)
extracted = raw.rdd.map(lambda row: json.loads(row.value)).toDF(
    "keen_id string, exam_name string, started_at string"
)
extracted.createOrReplaceTempView("assessments")
some = spark.sql("select keen_id, exam_name, started_at from assessments")
some.write.mode("overwrite").parquet(
    f"{os.environ['HDFS']}/tmp/bench/{os.environ['TOPIC']}/course_usual"
)
