"""The feed's tables in a Spark session.

As a module it prints the SQL that registers them (make sql runs that first):
    scripts/env.sh python -m pipeline.spark.views
"""

import json
import pathlib

from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

from pipeline import script
from pipeline.errors import Failure
from pipeline.message.declaration import TABLES
from pipeline.settings import Feed, Settings
from pipeline.spark import questions
from pipeline.tables import delta, position


def check_landed(feed: Feed) -> None:
    """Failure when the feed has no tables."""
    if delta.open_table(feed, "messages") is None:
        raise Failure(
            f"there are no tables of feed {feed.topic} yet",
            f"looked in {feed.path()}",
            f"land the feed first: {feed.make('land')}; or everything: {feed.make('all', 'DATA')}",
        )


def messages_landed(feed: Feed) -> int:
    """About how many messages of the feed are landed. Failure when the feed has no tables."""
    landed = position.landed_offsets(feed)
    if landed is None:
        check_landed(feed)
    return sum((landed or {}).values())


def registration(feed: Feed, view: str = "TEMPORARY VIEW") -> list[str]:
    """SQL statements that register a feed's tables in a database of its name.

    The last but one makes that the current one, the last creates the view attempt_order.
    """
    topic = feed.topic
    return [
        f"CREATE DATABASE IF NOT EXISTS {topic}",
        *(
            f"CREATE TABLE IF NOT EXISTS {topic}.{table} USING delta LOCATION '{feed.path(table)}'"
            for table in sorted(TABLES)
        ),
        f"USE {topic}",
        f"CREATE OR REPLACE {view} attempt_order AS\n{attempt_order()}",
    ]


def attempt_order() -> str:
    """The SELECT of the view attempt_order."""
    path = pathlib.Path(__file__).with_name("attempt_order.sql")
    return questions.statement(path.read_text())


def register(spark: SparkSession, feed: Feed) -> None:
    """Runs the registration. Failure when the feed has no tables."""
    check_landed(feed)
    for statement in registration(feed):
        spark.sql(statement)


def create_views(spark: SparkSession, feed: Feed) -> None:
    """Registers the current versions of a feed's tables as temporary views of the same names.

    Spark reads their Parquet files directly: Delta takes ten times as long as delta-rs to find them
    in a new session. It is used when a table needs it (deletion vectors, column mapping).
    """
    opened = {name: delta.existing_table(feed, name) for name in delta.READING_ORDER}
    if any(table.protocol().min_reader_version > 1 for table in opened.values()):
        if not spark.catalog.tableExists(f"{feed.topic}.attempts"):  # on the server it does exist
            register(spark, feed)
        return
    for name, table in opened.items():
        schema, files = StructType.fromJson(json.loads(table.schema().to_json())), table.file_uris()
        read = spark.read.schema(schema)
        frame = read.parquet(*files) if files else spark.createDataFrame([], schema)
        frame.createOrReplaceTempView(name)
    # As a DataFrame: each question that uses it would parse and analyse a view's text again.
    order = spark.sql(attempt_order())
    order.cache()  # most questions use it
    order.createOrReplaceTempView("attempt_order")


def main(settings: Settings) -> None:
    check_landed(settings.feed())
    print(";\n".join(registration(settings.feed())) + ";")


if __name__ == "__main__":
    script.run(main)
