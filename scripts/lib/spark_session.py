"""The Spark session of a process, and the feed's tables registered in it.

As a script it prints the SQL that registers the feed's tables (make sql runs that first):
    scripts/lib/env.sh python scripts/lib/spark_session.py

All timestamps are UTC. A column that is not nullable is enforced by Delta at every write.
"""

import contextlib
import functools
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import deltalake
from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.java_gateway import launch_gateway
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

import config
import connect
import errors
import knobs
import lake
import message
import questions
import rows
import servers
import table_files
import verdict

# This logger would print the whole Java trace of a failed query above the exception, which says it.
PySparkLogger.getLogger("SQLQueryContextLogger").setLevel("CRITICAL")

# Small sessions spend most of their time on the JVM's warm-up. For them plans without shuffles or
# adaptive execution are faster than Spark's defaults. In a process of its own each plan runs once:
# there the C1 compiler, the serial collector and interpreted plans are faster, too.
# Without -Xms the heap starts at 1/64 of the memory; landing needs about 200 MB.
MESSAGES_FOR_A_QUICK_SESSION = 50_000
QUICK_SQL = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "1",
}
QUICK = QUICK_SQL | {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.driver.defaultJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xms256m",
}
_launching = threading.Lock()
CLUSTER_STARTS_WITHIN_S = 40  # longer than most starts
FEED_APPEARS_WITHIN_S = 10  # on the server, after its first landing


def get(name: str, messages: int) -> SparkSession:
    """The session of this process, configured by the rendered spark-defaults.conf.

    messages: about how many it will process. The JVM's output goes to Spark's log. Thread-safe: a
    session takes seconds to start, so callers start it in the background.
    """
    with _launching:
        if SparkContext._gateway is None:
            quick = QUICK if messages <= MESSAGES_FOR_A_QUICK_SESSION else {}
            settings = SparkConf(loadDefaults=False).setAll(list(quick.items()))
            path = os.path.join(config.RUN_DIR, "logs", "spark.log")
            with open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600)) as log:
                SparkContext._ensure_initialized(gateway=launch_gateway(settings, {"stderr": log}))
            # Py4J's threads print traces when the JVM ends. errors.report_failures names the cause.
            sys.stderr = open(path, "a", buffering=1)
        with _naming_a_full_cluster():
            return SparkSession.builder.appName(name).getOrCreate()


@contextlib.contextmanager
def _naming_a_full_cluster() -> Iterator[None]:
    """Prints that the cluster lets this application wait, if it does: nothing else would say so."""
    if config.SPARK_MASTER.startswith("local"):
        yield
        return
    text = (
        f"{config.SPARK_MASTER} has not started this application within {CLUSTER_STARTS_WITHIN_S} "
        "s: waiting. Is its queue full? With YARN, yarn application -list shows who runs, and "
        "spark.yarn.queue in spark-defaults.conf of CLIENT_CONF chooses another queue."
    )
    notice = threading.Timer(CLUSTER_STARTS_WITHIN_S, print, [text], {"flush": True})
    notice.daemon = True
    notice.start()
    try:
        yield
    finally:
        notice.cancel()


def session_of_feed(settings: dict[str, str]) -> SparkSession | None:
    """A session whose current database is the feed; None when the server does not run.

    settings: those of Spark SQL for this session. Failure when the server does not know the feed.
    """
    if servers.spark_server().process() is None:
        return None
    spark = connect.session()
    for name, value in settings.items():
        spark.conf.set(name, value)
    limit = time.monotonic() + FEED_APPEARS_WITHIN_S
    while True:
        try:
            spark.sql(f"USE {config.TOPIC}")
            return spark
        except PySparkException as error:
            if "SCHEMA_NOT_FOUND" not in str(error) or time.monotonic() > limit:
                raise errors.Failure(
                    f"the server of make serve does not answer about feed {config.TOPIC}",
                    f"{errors.cause(error)}; its log: {servers.spark_server().log}",
                    f"start it again, with this feed first: make down{knobs.of_stack()}; then: "
                    f"make serve{knobs.of_feed()}",
                ) from None
            time.sleep(0.2)  # between two questions


def messages_landed() -> int:
    """About how many messages of the feed are landed. Failure when the feed has no tables."""
    check_landed()
    return sum(lake.landed_offsets().values())


def for_reading(name: str, messages: int) -> SparkSession:
    """A session with the feed's tables and the view attempt_order in its current database.

    messages: those of messages_landed(). The session is one on the server of make serve when that
    runs, and this process has no Spark yet.
    """
    spark = None
    if SparkContext._gateway is None:
        spark = session_of_feed(QUICK_SQL if messages <= MESSAGES_FOR_A_QUICK_SESSION else {})
    if spark is None:
        spark = get(name, messages)
        spark.sql(f"CREATE DATABASE IF NOT EXISTS {config.TOPIC}")
        spark.sql(f"USE {config.TOPIC}")
    create_views(spark)
    return spark


def for_landing(name: str, messages: int = 0) -> SparkSession:
    """get(), prepared for batch.write_files.

    messages: 0 when the JVM only passes records on to Python, however many there are.
    """
    spark = get(name, messages)
    _prepare_workers(spark)
    return spark


@functools.cache  # make all calls it before land does
def _prepare_workers(spark: SparkSession) -> None:
    """Sends Spark's workers their modules, and starts the first worker in the background.

    The start of a worker takes as long as a few thousand messages.
    """
    for module in (message, verdict, rows, table_files):
        spark.sparkContext.addPyFile(module.__file__)
    start = spark.range(0, 1, 1, 1).mapInArrow(table_files.nothing, table_files.RESULT)
    threading.Thread(target=start.collect, daemon=True).start()


def cause(error: BaseException) -> str:
    """The root cause in one line: that the JVM has ended, or else errors.cause."""
    process = getattr(SparkContext._gateway, "proc", None)
    with contextlib.suppress(subprocess.TimeoutExpired):
        if process and isinstance(error, (Py4JError, OSError)):
            return f"Spark's JVM ended with {process.wait(1)}: killed, or out of memory"
    return errors.cause(error)


def check_landed() -> None:
    """Failure when the feed has no tables."""
    if lake.open_table("messages") is None:
        raise errors.Failure(
            f"there are no tables of feed {config.TOPIC} yet",
            f"looked in {lake.table_path('')}",
            f"land the feed first: make land{knobs.of_feed()}; or everything: "
            f"make all{knobs.of_file()}",
        )


def registration(feed: str, view: str = "TEMPORARY VIEW") -> list[str]:
    """SQL statements that register a feed's tables in a database of its name.

    The first creates the database, the last but one makes it the current one, the last creates the
    view attempt_order.
    """
    tables = [
        f"CREATE TABLE IF NOT EXISTS {feed}.{table} "
        f"USING delta LOCATION '{lake.table_path(table, feed)}'"
        for table in sorted(message.TABLES)
    ]
    create = questions.statement(pathlib.Path(__file__).with_name("attempt_order.sql").read_text())
    return [
        f"CREATE DATABASE IF NOT EXISTS {feed}",
        *tables,
        f"USE {feed}",
        create.replace("TEMPORARY VIEW", view),
    ]


def register(spark: SparkSession) -> None:
    """Registers the feed's tables and the view attempt_order; their database is the current one.

    Failure when the feed has no tables.
    """
    check_landed()
    for statement in registration(config.TOPIC):
        spark.sql(statement)


def create_views(spark: SparkSession, feed: str | None = None) -> None:
    """Registers the current versions of a feed's tables as temporary views of the same names.

    feed: None for TOPIC.

    Spark reads their Parquet files directly: Delta takes ten times as long as delta-rs to find them
    in a new session, and runs a job for each table of each query in a warm one. Delta is used
    instead when a table needs a newer reader (deletion vectors, column mapping). `attempts` is
    opened before its children.
    """
    feed = feed or config.TOPIC
    opened = {
        name: deltalake.DeltaTable(lake.table_path(name, feed))
        for name in ("attempts", "questions", "options", "messages")
    }
    if any(delta.protocol().min_reader_version > 1 for delta in opened.values()):
        if not spark.catalog.tableExists(f"{feed}.attempts"):  # on the server it does exist
            register(spark)
        return
    for name, delta in opened.items():
        schema, files = StructType.fromJson(json.loads(delta.schema().to_json())), delta.file_uris()
        frame = (
            spark.read.schema(schema).parquet(*files)
            if files
            else spark.createDataFrame([], schema)
        )
        frame.createOrReplaceTempView(name)
    spark.sql(registration(feed)[-1])
    spark.table("attempt_order").cache()  # most questions use it


if __name__ == "__main__":
    with errors.report_failures():
        check_landed()
        print(";\n".join(registration(config.TOPIC)) + ";")
