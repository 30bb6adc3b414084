"""The four tables: their columns, what each means, and how a Spark session comes by them.

Other scripts import this. As a script it prints the SQL that registers the feed's tables (make sql runs that first):
    scripts/env.sh python scripts/tables.py

All timestamps are UTC. A column that is not nullable is enforced by Delta at every write.
"""
import contextlib
import os
import subprocess
import sys

from py4j.protocol import Py4JError
from pyspark import SparkContext
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession
from pyspark.sql.types import (BinaryType, BooleanType, IntegerType, LongType, StringType, StructField, StructType,
                               TimestampType)

import feed

# It would put the whole Java trace of every query that fails on the screen, on top of the exception that says the same.
PySparkLogger.getLogger("SQLQueryContextLogger").setLevel("CRITICAL")

TEXT, BOOL, INT, LONG, TIME, BYTES = StringType(), BooleanType(), IntegerType(), LongType(), TimestampType(), BinaryType()


def _table(*columns):
    """(name, type, meaning); a * behind the name: never null."""
    return StructType([StructField(name.rstrip("*"), kind, nullable=not name.endswith("*"), metadata={"comment": comment})
                       for name, kind, comment in columns])


_EXAM = [("keen_id*", TEXT, "the attempt it belongs to"),
         ("base_exam_id*", TEXT, "the exam"),
         ("exam_name*", TEXT, "the exam's name; not unique: some names belong to two exams"),
         ("question_position*", INT, "the place at which the question was shown, from 0; it is no identity"),
         ("question_id*", TEXT, "the question; a few ids name other questions in other exams")]

# In the order in which a batch writes them: children before their attempt, the ledger last, so that whoever finds an
# attempt finds its children, and an offset in the ledger means that all of its rows are there.
TABLES = {
    "options": _table(
        *_EXAM,
        ("option_position*", INT, "the place at which the option was shown, from 0"),
        ("option_id*", TEXT, "the option, within its question"),
        ("checked*", BOOL, "checked at the end"),
        ("clicked_at", TIME, "when it was last clicked (the source's `at`); null: never touched"),
        ("submitted*", BOOL, "sent in as part of the answer; absent in the source means false"),
        ("correct*", BOOL, "belongs to the right answer; absent in the source means false"),
    ),
    "questions": _table(
        *_EXAM,
        ("user_result", TEXT, "correct, incorrect, missed_some (right but not all), unanswered; null where the message has none"),
        ("user_correct", BOOL, "the source's flag; null where the message lacks it"),
        ("user_incomplete", BOOL, "the source's flag; null where the message lacks it"),
        ("user_submitted", BOOL, "the source's flag; null where the message lacks it"),
        ("option_count*", INT, "number of options shown"),
    ),
    "attempts": _table(
        ("keen_id*", TEXT, "key of this table: the id that the collector gave the event"),
        ("user_exam_id*", TEXT, "the source's id of this user's sitting of the exam"),
        ("base_exam_id*", TEXT, "the exam"),
        ("exam_name*", TEXT, "the exam's name; not unique: some names belong to two exams"),
        ("started_at*", TIME, "when the attempt began; agrees with the collector's clock"),
        ("keen_timestamp*", TIME, "when the attempt ended, by the collector's clock"),
        ("keen_created_at*", TIME, "when the collector stored the event"),
        ("certification", BOOL, "the source's text true or false, or null"),
        ("max_attempts*", INT, "the source's text of a number: attempts allowed"),
        ("attempt*", INT, "sequences.attempt: number of this attempt"),
        ("sequences_id*", TEXT, "sequences.id"),
        ("total", INT, "counts.total: number of questions; null, like the six below, where the message has no counts"),
        ("correct", INT, "counts.correct: questions answered right"),
        ("incorrect", INT, "counts.incorrect: questions answered wrong"),
        ("incomplete", INT, "counts.incomplete: questions answered right but not in full"),
        ("unanswered", INT, "counts.unanswered"),
        ("submitted", INT, "counts.submitted: questions answered at all"),
        ("all_correct", BOOL, "counts.all_correct"),
        ("question_count*", INT, "number of questions in the message"),
        ("kafka_partition*", INT, "partition of the accepted message"),
        ("kafka_offset*", LONG, "offset of the accepted message"),
        ("content_hash*", TEXT, "of the accepted message, as in the ledger: tells a repeat from a conflict"),
    ),
    "messages": _table(
        ("kafka_partition*", INT, "with kafka_offset the key of this table: where the record lies in the topic"),
        ("kafka_offset*", LONG, "the record's offset in its partition"),
        ("kafka_timestamp*", TIME, "the record's time"),
        ("key", BYTES, "the record's key, untouched; null where it has none"),
        ("value", BYTES, "the record's value, untouched; null where it has none"),
        ("keen_id", TEXT, "the message's keen_id, when it could be read"),
        ("status*", TEXT, "accepted, duplicate or rejected"),
        ("reason", TEXT, "null when accepted; otherwise a word, a colon and detail"),
        ("content_hash", TEXT, "SHA-256 over the declared fields as compact JSON in declared order, nulls left out; null where they could not all be read"),
    ),
}


# Up to here a session's time is mostly the JVM warming up: the quick compiler, the simple collector and plans that are
# not revised on the way then take a quarter off it (30 s against 39 s for landing the real file); with more to do, the
# thorough ones win.
MESSAGES_FOR_A_QUICK_SESSION = 50_000


def session(name, messages):
    """A Spark session by the rendered spark-defaults.conf, for about so many messages.
    The JVM's own chatter goes to Spark's log."""
    log = os.open(os.path.join(feed.RUN_DIR, "logs", "spark.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    screen = os.dup(2)
    sys.stderr.flush()
    os.dup2(log, 2)  # the JVM inherits this
    builder = SparkSession.builder.appName(name)
    if messages <= MESSAGES_FOR_A_QUICK_SESSION:
        builder = (builder.config("spark.driver.defaultJavaOptions", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
                   .config("spark.sql.adaptive.enabled", False))
    try:
        return builder.getOrCreate()
    finally:
        os.dup2(screen, 2)
        os.close(screen)
        # Py4J's threads print traces of their own when the JVM goes away; feed.report_failures says it in words.
        sys.stderr = os.fdopen(log, "a", buffering=1)


def cause(error):
    """feed.cause, and that the JVM is gone, when that is what it comes down to."""
    process = getattr(SparkContext._gateway, "proc", None)
    with contextlib.suppress(subprocess.TimeoutExpired):
        if process and isinstance(error, (Py4JError, OSError)):
            return f"Spark's JVM ended with {process.wait(1)}: killed, or out of memory"
    return feed.cause(error)


def check_none_is_gone():
    """A Failure when some of the feed's tables are there and others not. (Those that land has just made hold no rows yet: a
    landing that was killed meanwhile makes the others.)"""
    there = {name: table for name in TABLES if (table := feed.open_table(name))}
    gone = " and ".join(name for name in TABLES if name not in there)
    if gone and "messages" in there and feed.landed_offsets():
        raise feed.Failure(f"of feed {feed.TOPIC} the table {gone} is gone, the ledger is there", f"looked in {feed.table_path('')}",
                           f"make reprocess TOPIC={feed.TOPIC} makes it anew from the ledger; then: make land")
    if gone and "messages" not in there and any(table.version() > 0 for table in there.values()):
        folder = feed.table_path("")[:-1]
        raise feed.Failure(f"of feed {feed.TOPIC} the ledger (table messages) is gone, {' and '.join(there)} there", f"looked in {feed.table_path('')}",
                           f"move it aside: make shell, then: hadoop fs -mv {folder} {folder}_old; then make restore TOPIC={feed.TOPIC}, if there is a backup, or make land TOPIC={feed.TOPIC}, which lands the topic anew")


def registration():
    """SQL statements that make the feed's tables known under the database of the topic's name, and the current one."""
    if feed.open_table("messages") is None:
        raise feed.Failure(f"there are no tables of feed {feed.TOPIC} yet", f"looked in {feed.table_path('')}",
                           f"land the feed first: make land TOPIC={feed.TOPIC}; or everything: make all")
    return [f"CREATE DATABASE IF NOT EXISTS {feed.TOPIC}",
            *(f"CREATE TABLE IF NOT EXISTS {feed.TOPIC}.{table} USING delta LOCATION '{feed.table_path(table)}'" for table in sorted(TABLES)),
            f"USE {feed.TOPIC}"]


def register(spark):
    for statement in registration():
        spark.sql(statement)


if __name__ == "__main__":
    with feed.report_failures():
        print(";\n".join(registration()) + ";")
