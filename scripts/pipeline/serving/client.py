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


def session_of_feed(feed: Feed, sql_settings: dict[str, str]) -> SparkSession | None:
    """A session whose current database is the feed; None when the server does not run.

    sql_settings: those of Spark SQL for this session. Failure when the server does not know the
    feed.
    """
    server = service.query_server(feed.settings)
    if server.process() is None:
        return None
    spark = service.session(feed.settings)
    for name, value in sql_settings.items():
        spark.conf.set(name, value)
    limit = time.monotonic() + FEED_APPEARS_WITHIN_S
    while True:
        try:
            spark.sql(f"USE {feed.topic}")
            return spark
        except PySparkException as error:
            if "SCHEMA_NOT_FOUND" not in str(error) or time.monotonic() > limit:
                raise Failure(
                    f"the server of make serve does not answer about feed {feed.topic}",
                    f"{errors.cause(error)}; its log: {server.log}",
                    f"start it again, with this feed first: {feed.settings.make('down')}; then: "
                    f"{feed.make('serve')}",
                ) from None
            time.sleep(0.2)  # between two questions


def for_reading(feed: Feed, name: str, messages: int) -> SparkSession:
    """A session with the feed's tables and the view attempt_order in its current database.

    messages: those of views.messages_landed(). The session is one on the server of make serve when
    that runs, and this process has no Spark yet.
    """
    spark = None
    if not session.is_started():
        is_quick = messages <= session.MESSAGES_FOR_A_QUICK_SESSION
        spark = session_of_feed(feed, session.QUICK_SQL if is_quick else {})
    if spark is None:
        spark = session.get(feed.settings, name, messages)
        spark.sql(f"CREATE DATABASE IF NOT EXISTS {feed.topic}")
        spark.sql(f"USE {feed.topic}")
    views.create_views(spark, feed)
    return spark
