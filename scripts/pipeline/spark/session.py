"""The Spark session of a process. All timestamps are UTC."""

import contextlib
import os
import subprocess
import sys
import threading

from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession

from pipeline.errors import JvmEnded
from pipeline.settings import Settings

# This logger would print the whole Java trace of a failed query above the exception, which says it.
PySparkLogger.getLogger("SQLQueryContextLogger").setLevel("CRITICAL")

# Small sessions spend most of their time on the JVM's warm-up. For them plans without shuffles or
# adaptive execution are faster than Spark's defaults. In a process of its own each plan runs once:
# there the C1 compiler, the serial collector and interpreted plans are faster, too.
# Without -Xms the heap starts at 1/64 of the memory; landing needs about 200 MB.
MESSAGES_FOR_A_QUICK_SESSION = 50_000
QUICK_SQL = {"spark.sql.adaptive.enabled": "false", "spark.sql.shuffle.partitions": "1"}
QUICK = QUICK_SQL | {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.driver.defaultJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xms256m",
}
CLUSTER_STARTS_WITHIN_S = 40  # longer than most starts
CLUSTER_IS_FULL = (  # the cluster lets this application wait, and nothing else would say so
    f"{{}} has not started this application within {CLUSTER_STARTS_WITHIN_S} s: waiting. Is its "
    "queue full? With YARN, yarn application -list shows who runs, and spark.yarn.queue in "
    "spark-defaults.conf of CLIENT_CONF chooses another queue."
)
_launching = threading.Lock()


def get(settings: Settings, name: str, messages: int) -> SparkSession:
    """The session of this process, configured by the rendered spark-defaults.conf. Thread-safe.

    messages: about how many it will process. The JVM's output goes to Spark's log.
    """
    with _launching:
        if SparkContext._gateway is None:
            quick = QUICK if messages <= MESSAGES_FOR_A_QUICK_SESSION else {}
            conf = SparkConf(loadDefaults=False).setAll(list(quick.items()))
            path = settings.in_run_dir("logs/spark.log")
            with open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600)) as log:
                SparkContext._ensure_initialized(gateway=launch_gateway(conf, {"stderr": log}))  # type: ignore[no-untyped-call]
            # Py4J's threads print traces when the JVM ends. script.run names the cause.
            sys.stderr = open(path, "a", buffering=1)
        text = CLUSTER_IS_FULL.format(settings.spark_master)
        notice = threading.Timer(CLUSTER_STARTS_WITHIN_S, print, [text], {"flush": True})
        notice.daemon = True
        if not settings.is_local_spark:
            notice.start()
        try:
            return SparkSession.builder.appName(name).getOrCreate()
        finally:
            notice.cancel()


def is_started() -> bool:
    """Whether this process has a JVM for Spark."""
    return SparkContext._gateway is not None


def has_lost_jvm() -> bool:
    """Whether the JVM of this process has ended."""
    process = getattr(SparkContext._gateway, "proc", None)
    return process is not None and process.poll() is not None


def jvm_ended(error: BaseException) -> JvmEnded | None:
    """That the JVM has ended, when that is why Py4J or a connection to it failed."""
    process = getattr(SparkContext._gateway, "proc", None)
    with contextlib.suppress(subprocess.TimeoutExpired):
        if process and isinstance(error, (Py4JError, OSError)):
            return JvmEnded(process.wait(1))
    return None
