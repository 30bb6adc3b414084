"""Spark sessions, and the feed's tables registered in them.

Other scripts import this. As a script it prints the SQL that registers the feed's tables (make sql runs that first):
    scripts/env.sh python scripts/tables.py

All timestamps are UTC. A column that is not nullable is enforced by Delta at every write.
"""
import contextlib
import json
import os
import subprocess
import sys
import threading

import deltalake
from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

import feed
import message

# It would put the whole Java trace of every query that fails on the screen, on top of the exception that says the same.
PySparkLogger.getLogger("SQLQueryContextLogger").setLevel("CRITICAL")


def delta_schema(name):
    """The declared columns of a table, as Delta's own schema."""
    return deltalake.Schema.from_json(json.dumps({"type": "struct", "fields": message.delta_fields(name)}))


def add_columns():
    """Adds to the tables the declared columns that they lack: older scripts have made them. A Failure, and nothing is
    touched, when a table has columns that are not declared here (newer scripts have made it), or of another type."""
    missing = {}
    for name in message.TABLES:
        delta = feed.open_table(name)
        if delta is None:
            continue
        declared = {field.name: field for field in delta_schema(name).fields}
        there = {field.name: field for field in delta.schema().fields}
        unknown = [column for column in there if column not in declared or there[column].type != declared[column].type]
        if unknown:
            raise feed.Failure(f"table {name} of feed {feed.TOPIC} has a column that these scripts do not know: {', '.join(unknown)}",
                               f"looked in {feed.table_path(name)}; newer scripts have landed this feed, or somebody has changed the table; nothing was touched",
                               f"use the scripts that made the column (git pull), or land the topic into another feed")
        lacking = [field for column, field in declared.items() if column not in there]
        required = [field.name for field in lacking if not field.nullable]
        if required:
            raise feed.Failure(f"table {name} of feed {feed.TOPIC} lacks the required column {', '.join(required)}", f"looked in {feed.table_path(name)}; what is landed already cannot have it; nothing was touched",
                               "declare the field as optional in scripts/message.py (required=False)")
        if lacking:
            missing[name] = delta, lacking
    for name, (delta, lacking) in missing.items():
        delta.alter.add_columns(lacking)
        print(f"  table {name}: new column {', '.join(field.name for field in lacking)}; null in what was landed before, until make reprocess TOPIC={feed.TOPIC}", flush=True)


# Up to here a session's time is mostly the JVM warming up: the quick compiler, the simple collector and plans that are
# interpreted, not shared out and not revised on the way then win; with more to do, the thorough ones.
MESSAGES_FOR_A_QUICK_SESSION = 50_000
QUICK = {"spark.driver.defaultJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC", "spark.sql.adaptive.enabled": "false",
         "spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN", "spark.sql.shuffle.partitions": "1"}
_launching = threading.Lock()


def session(name, messages):
    """The Spark session of this process, by the rendered spark-defaults.conf, for about so many messages. What the JVM says
    goes to Spark's log. Any thread may call it: a session takes seconds to start, and there is other work meanwhile."""
    with _launching:
        if SparkContext._gateway is None:
            quick = QUICK if messages <= MESSAGES_FOR_A_QUICK_SESSION else {}
            path = os.path.join(feed.RUN_DIR, "logs", "spark.log")
            with open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600)) as log:
                SparkContext._ensure_initialized(gateway=launch_gateway(SparkConf(loadDefaults=False).setAll(quick.items()), {"stderr": log}))
            # Py4J's threads print traces of their own when the JVM goes away; feed.report_failures says it in words.
            sys.stderr = open(path, "a", buffering=1)
        return SparkSession.builder.appName(name).getOrCreate()


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
    there = {name: table for name in message.TABLES if (table := feed.open_table(name))}
    gone = " and ".join(name for name in message.TABLES if name not in there)
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
            *(f"CREATE TABLE IF NOT EXISTS {feed.TOPIC}.{table} USING delta LOCATION '{feed.table_path(table)}'" for table in sorted(message.TABLES)),
            f"USE {feed.TOPIC}"]


def register(spark):
    for statement in registration():
        spark.sql(statement)


def view(spark):
    """Makes the feed's tables known as temporary views of their names, each as it is now, attempts opened first. Spark reads
    their Parquet files directly: which files belong to a table is told by delta-rs, in a tenth of the time that Delta's
    own start in a new session takes. Where a table needs more than the plain reader, register() does it."""
    create, *_, use = registration()
    opened = {name: feed.open_table(name) for name in reversed(message.TABLES)}
    if any(delta.protocol().min_reader_version > 1 for delta in opened.values()):
        return register(spark)
    spark.sql(create)
    spark.sql(use)
    for name, delta in opened.items():
        schema, files = StructType.fromJson(json.loads(delta.schema().to_json())), delta.file_uris()
        (spark.read.schema(schema).parquet(*files) if files else spark.createDataFrame([], schema)).createOrReplaceTempView(name)


if __name__ == "__main__":
    with feed.report_failures():
        print(";\n".join(registration()) + ";")
