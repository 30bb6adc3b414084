"""The feeds that the server of `make serve` shows: which are landed, and their databases."""

import time

from deltalake.exceptions import DeltaError
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

import config
import errors
import lake
import message
import spark_session

CHECKED_AT_ONCE = 50  # feeds per update: checking one takes four requests to HDFS
TRY_AGAIN_S = 5  # a feed may be half landed, or its tables broken
UNREADABLE = (DeltaError, OSError, PySparkException, Py4JJavaError)


def folders_of_feeds() -> set[str]:
    """The names of the feeds that have a folder.

    On a cluster this account may not list them (make customer): the feed is TOPIC then.
    """
    try:
        paths = [file.path for file in lake.hdfs().list_status(config.WAREHOUSE)]
    except RuntimeError as error:
        if not errors.is_no_right(error):
            raise
        return {config.TOPIC}
    return {path.rsplit("/", 1)[-1] for path in paths}


def is_landed(feed: str) -> bool:
    """Whether the feed's four tables are there, and this account may read them."""
    try:
        return all(
            lake.exists(f"{config.WAREHOUSE}/{feed}/{table}/_delta_log") for table in message.TABLES
        )
    except RuntimeError as error:
        if not errors.is_no_right(error):
            raise
        return False


class Feeds:
    """Keeps the databases of the catalogue equal to the landed feeds.

    Registering a feed takes about a second, so one update may not reach all new feeds.
    """

    def __init__(self, spark: SparkSession):
        self.spark = spark
        self.known: list[str] = []  # least recently checked first
        self.at_start = folders_of_feeds()
        self.try_again: dict[str, float] = {}  # when, by feed that could not be registered

    def update(self, seconds: float) -> None:
        """Drops feeds that are gone, and registers new ones.

        TOPIC goes first, then those that came after the start, then the others.

        Starts no registration after this many seconds; the next update goes on.
        """
        limit, there = time.monotonic() + seconds, folders_of_feeds()
        checked, others = self.known[:CHECKED_AT_ONCE], self.known[CHECKED_AT_ONCE:]
        landed = [feed for feed in checked if feed in there and is_landed(feed)]
        for feed in checked:
            if feed not in landed:
                # Of the catalogue: nothing in HDFS is touched.
                self.spark.sql(f"DROP DATABASE IF EXISTS {feed} CASCADE")
                self.spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
        self.known = others + landed
        new = there.difference(self.known)
        for feed in sorted(new, key=lambda feed: (feed != config.TOPIC, feed in self.at_start)):
            if time.monotonic() > limit:
                break
            waits = time.monotonic() < self.try_again.get(feed, 0)
            if not waits and is_landed(feed) and self.registers(feed):
                self.known.append(feed)

    def registers(self, feed: str) -> bool:
        """Registers a feed. False when its tables cannot be opened: the log says why, once."""
        try:
            lake.open_tables(feed)  # a broken one is found before clients see the database
            for statement in spark_session.registration(feed, "VIEW"):
                self.spark.sql(statement)
        except UNREADABLE as error:
            if feed not in self.try_again:
                print(f"feed {feed} is not shown: {errors.cause(error)}", flush=True)
            self.try_again[feed] = time.monotonic() + TRY_AGAIN_S
            return False
        self.try_again.pop(feed, None)
        return True
