"""Spark counts the records of the topic: the cost of a session like landing's, and of one read.

Run by: make bench
    TOPIC=assessments scripts/env.sh python bench/count.py
"""

from pipeline import settings
from pipeline.spark import session

knobs = settings.load()
records = (
    session.get(knobs, "count", 0)
    .read.format("kafka")
    .option("kafka.bootstrap.servers", knobs.kafka)
    .option("subscribe", knobs.topic)
    .option("startingOffsets", "earliest")
    .option("endingOffsets", "latest")
    .load()
)
print(f"{records.count():,} records")
