"""Spark reads the topic and keeps nothing but the number of records: what a session and one reading cost.

Run by: make bench
    TOPIC=assessments scripts/env.sh python bench/count.py

The session has the options that landing has.
"""
import os
import sys

sys.path.append(os.path.join(os.environ["ROOT"], "scripts"))
import feed
import tables

spark = tables.session("count", 0)  # as landing does
records = (
    spark.read.format("kafka")
    .option("kafka.bootstrap.servers", feed.KAFKA)
    .option("subscribe", feed.TOPIC)
    .option("startingOffsets", "earliest")
    .option("endingOffsets", "latest")
    .load()
)
print(f"{records.count():,} records")
