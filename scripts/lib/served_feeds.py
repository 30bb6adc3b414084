"""The feeds that the server of `make serve` shows: which are landed, and their databases."""

import time

from pyspark.sql import SparkSession

import config
import errors
import lake
import message
import spark_session

CHECKED_AT_ONCE = 50  # so many feeds are looked at each time: each is four questions to HDFS


def folders_of_feeds() -> set[str]:
    """The names of the feeds that have a folder.

    On a cluster this account may not list them (make customer): the feed is TOPIC then.
    """
    try:
        found = lake.hdfs().list_status(config.WAREHOUSE)
    except RuntimeError as error:
        if not errors.is_no_right(error):
            raise
        return {config.TOPIC}
    return {file.path.rsplit("/", 1)[-1] for file in found}


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
    """Holds the databases of the catalogue to the feeds that are landed.

    Registering a feed takes half a second, so with hundreds of feeds it goes on beside the queries.
    """

    def __init__(self, spark: SparkSession):
        self.spark = spark
        self.known: list[str] = []  # the one that was checked longest ago is first

    def update(self, for_s: float) -> None:
        """Registers new feeds, for about so long, and drops those that are no longer there."""
        limit, there = time.monotonic() + for_s, folders_of_feeds()
        checked, others = self.known[:CHECKED_AT_ONCE], self.known[CHECKED_AT_ONCE:]
        landed = [feed for feed in checked if feed in there and is_landed(feed)]
        for feed in checked:
            if feed not in landed:
                self.spark.sql(f"DROP DATABASE {feed} CASCADE")  # of the catalogue, not of HDFS
                self.spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
        self.known = others + landed
        for feed in sorted(there.difference(self.known), key=lambda feed: feed != config.TOPIC):
            if time.monotonic() > limit:
                break
            if is_landed(feed):
                for statement in spark_session.registration(feed, "VIEW"):
                    self.spark.sql(statement)
                self.known.append(feed)
