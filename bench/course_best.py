"""The course's best way: whole messages, their type inferred by Spark, as one nested table in HDFS.

Run by: make bench
    TOPIC=assessments scripts/lib/env.sh python bench/course_best.py

Reads the topic twice: once to infer the type, once to write Parquet. Keeps no ledger, checks
nothing, and lands the whole topic again at each run.
"""

import os

from pyspark.sql import SparkSession

spark = SparkSession.builder.appName("course, best way").getOrCreate()
raw = (
    spark.read.format("kafka")
    .option("kafka.bootstrap.servers", os.environ["KAFKA"])
    .option("subscribe", os.environ["TOPIC"])
    .option("startingOffsets", "earliest")
    .option("endingOffsets", "latest")
    .load()
)
texts = raw.select(raw.value.cast("string")).rdd.map(lambda row: row.value)
assessments = spark.read.json(texts)
assessments.write.mode("overwrite").parquet(
    f"{os.environ['HDFS']}/tmp/bench/{os.environ['TOPIC']}/course_best"
)
