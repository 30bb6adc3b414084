"""The feeds that the server of `make serve` shows: which are landed, and their databases."""

import time

from deltalake.exceptions import DeltaError
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from pipeline import errors
from pipeline.message.declaration import TABLES
from pipeline.settings import Feed, Settings
from pipeline.spark import views
from pipeline.tables import delta, hdfs

CHECKED_AT_ONCE = 50  # feeds per update: checking one takes four requests to HDFS
TRY_AGAIN_S = 5  # a feed may be half landed, or its tables broken
UNREADABLE = (DeltaError, OSError, PySparkException, Py4JJavaError)


def feeds_with_a_folder(settings: Settings) -> set[Feed]:
    """The feeds that have a folder in the warehouse.

    On a cluster this account may not list them (make customer): the feed is TOPIC then.
    """
    try:
        paths = [file.path for file in hdfs.client(settings.hdfs).list_status(settings.warehouse)]
    except RuntimeError as error:
        if errors.kind_of(error) is not errors.NoRight:
            raise
        return {settings.feed()}
    return {settings.feed(path.rsplit("/", 1)[-1]) for path in paths}


def is_landed(feed: Feed) -> bool:
    """Whether the feed's four tables are there, and this account may read them."""
    try:
        return all(hdfs.exists(feed.hdfs, feed.folder(f"{table}/_delta_log")) for table in TABLES)
    except RuntimeError as error:
        if errors.kind_of(error) is not errors.NoRight:
            raise
        return False


class Feeds:
    """Keeps the databases of the catalogue equal to the landed feeds.

    Registering a feed takes about a second, so one update may not reach all new feeds.
    """

    def __init__(self, spark: SparkSession, settings: Settings):
        self.spark, self.settings = spark, settings
        self.known: list[Feed] = []  # least recently checked first
        self.at_start = feeds_with_a_folder(settings)
        self.try_again: dict[Feed, float] = {}  # when, by feed that could not be registered

    def update(self, seconds: float) -> None:
        """Drops feeds that are gone, and registers new ones.

        TOPIC goes first, then those that came after the start, then the others.

        Starts no registration after this many seconds; the next update goes on.
        """
        limit, there = time.monotonic() + seconds, feeds_with_a_folder(self.settings)
        checked, others = self.known[:CHECKED_AT_ONCE], self.known[CHECKED_AT_ONCE:]
        landed = [feed for feed in checked if feed in there and is_landed(feed)]
        for feed in checked:
            if feed not in landed:
                # Of the catalogue: nothing in HDFS is touched.
                self.spark.sql(f"DROP DATABASE IF EXISTS {feed.topic} CASCADE")
                self.spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]
        self.known = others + landed
        first, new = self.settings.feed(), there.difference(self.known)
        for feed in sorted(new, key=lambda feed: (feed != first, feed in self.at_start)):
            if time.monotonic() > limit:
                break
            waits = time.monotonic() < self.try_again.get(feed, 0)
            if not waits and is_landed(feed) and self.registers(feed):
                self.known.append(feed)

    def registers(self, feed: Feed) -> bool:
        """Registers a feed. False when its tables cannot be opened: the log says why, once."""
        try:
            delta.open_tables(feed)  # a broken one is found before clients see the database
            for statement in views.registration(feed, "VIEW"):
                self.spark.sql(statement)
        except UNREADABLE as error:
            if feed not in self.try_again:
                print(f"feed {feed.topic} is not shown: {errors.cause(error)}", flush=True)
            self.try_again[feed] = time.monotonic() + TRY_AGAIN_S
            return False
        self.try_again.pop(feed, None)
        return True
