"""Spark counts the records of the topic: the cost of a session and of one read.

Run by: make bench
    TOPIC=assessments scripts/lib/env.sh python bench/count.py

The session has the same options as landing.
"""

import config
import spark_session

spark = spark_session.get("count", 0)
records = (
    spark.read.format("kafka")
    .option("kafka.bootstrap.servers", config.KAFKA)
    .option("subscribe", config.TOPIC)
    .option("startingOffsets", "earliest")
    .option("endingOffsets", "latest")
    .load()
)
print(f"{records.count():,} records")
