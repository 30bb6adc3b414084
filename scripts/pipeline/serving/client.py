"""Spark sessions for readers of a feed: on the server of make serve while it runs, else local."""

import time

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from pipeline import errors
from pipeline.errors import Failure
from pipeline.serving import service
from pipeline.settings import Feed
from pipeline.spark import session, views

FEED_APPEARS_WITHIN_S = 10  # on the server, after its first landing


def use_feed(spark: SparkSession, feed: Feed) -> None:
    """Makes the feed the session's current database. Failure when the server does not know it."""
    limit = time.monotonic() + FEED_APPEARS_WITHIN_S
    while True:
        try:
            spark.sql(f"USE {feed.topic}")
            return
        except PySparkException as error:
            if "SCHEMA_NOT_FOUND" not in str(error) or time.monotonic() > limit:
                log = service.query_server(feed.settings).log
                raise Failure(
                    f"the server of make serve does not answer about feed {feed.topic}",
                    f"{errors.cause(error)}; its log: {log}",
                    f"start it again, with this feed first: {feed.settings.make('down')}; then: "
                    f"{feed.make('serve')}",
                ) from None
            time.sleep(0.2)  # between two questions


def for_reading(feed: Feed, name: str, messages: int) -> SparkSession:
    """A session with the feed's tables and the view attempt_order in its current database.

    messages: those of views.messages_landed(). The session is one on the server of make serve when
    that runs, and this process has no Spark yet.
    """
    if service.query_server(feed.settings).process() and not session.is_started():
        spark = service.session(feed.settings)
        is_quick = messages <= session.MESSAGES_FOR_A_QUICK_SESSION
        for name, value in session.QUICK_SQL.items() if is_quick else ():
            spark.conf.set(name, value)
        use_feed(spark, feed)
    else:
        spark = session.get(feed.settings, name, messages)
        spark.sql(f"CREATE DATABASE IF NOT EXISTS {feed.topic}")
        spark.sql(f"USE {feed.topic}")
    views.create_views(spark, feed)
    return spark
