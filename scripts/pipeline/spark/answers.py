"""Answers to the questions in queries/, as text."""

import functools
import threading
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.utils import is_remote

from pipeline.settings import Feed
from pipeline.spark import views
from pipeline.text import printable

MOST_ROWS, MOST_COLUMNS, MOST_CHARACTERS = 40, 40, 200
CATALYST = "org.apache.spark.sql.catalyst.plans.logical."
_registering = threading.Lock()


def answer(spark: SparkSession, feed: Feed, text: str) -> str:
    """The rows of one SELECT, as text. Raises ValueError for any other statement."""
    text = text.rstrip().rstrip(";")
    if not is_remote():  # the server of make serve refuses other statements itself
        parser = spark._jsparkSession.sessionState().sqlParser()
        if changes_something(spark, parser.parsePlan(text)):
            raise ValueError(
                "it is not a question: a file in queries/ holds one SELECT "
                f"(other statements: {feed.make('sql')})"
            )
        if f"{feed.topic}." in text:  # it names the tables with their database
            with _registering:
                views.register(spark, feed)
        rows = spark.sql(text)
    else:
        # spark.sql() asks the server first whether it is a command: one more analysis.
        from pyspark.sql.connect.dataframe import DataFrame as RemoteFrame
        from pyspark.sql.connect.plan import SQL

        rows = RemoteFrame(SQL(text), spark)  # type: ignore[arg-type]
    # What show() prints: it would print to a screen that the threads share.
    shown: str = rows._show_string(MOST_ROWS, truncate=False)  # type: ignore[operator]
    columns = shown.partition("\n")[0].strip("+").split("+")  # a line of - for each
    # Only such an answer is asked again, because Spark analyses each DataFrame anew.
    if len(columns) > MOST_COLUMNS or max(map(len, columns)) > MOST_CHARACTERS:
        shown = shortened(rows)._show_string(MOST_ROWS, truncate=False)  # type: ignore[operator]
    said = [shown.rstrip("\n")]
    if sum(line.startswith("|") for line in shown.splitlines()) == 1:
        said.append("no row")
    if len(columns) > MOST_COLUMNS:
        said.append(f"the first {MOST_COLUMNS} of {len(columns):,} columns")
    # Names are published texts.
    return printable("\n".join(said), keep="\n")


def changes_something(spark: SparkSession, plan: Any) -> bool:
    """Whether a parsed statement is, or contains, anything other than a query."""
    children = plan.children()
    return any(kind.isInstance(plan) for kind in statements(spark)) or any(
        changes_something(spark, children.apply(number)) for number in range(children.size())
    )


@functools.cache  # Py4J looks for each part of a class's name in all jars
def statements(spark: SparkSession) -> list[Any]:
    """Java's classes of statements that are no queries."""
    is_a = spark._jvm.org.apache.spark.util.Utils.classForName  # type: ignore[union-attr]
    return [is_a(CATALYST + name, True, False) for name in ("Command", "ParsedStatement")]


def shortened(answer: DataFrame) -> DataFrame:
    """The answer with long texts truncated, because every row is padded to the longest one."""
    # By number, because several columns may have the same name.
    numbered = answer.toDF(*map(str, range(len(answer.columns))))
    columns = []
    for number, (name, kind) in list(enumerate(answer.dtypes))[:MOST_COLUMNS]:
        column = F.col(f"`{number}`")
        if kind == "string":
            start = F.concat(F.substring(column, 1, MOST_CHARACTERS), F.lit("…"))
            column = F.when(F.length(column) > MOST_CHARACTERS, start).otherwise(column)
        columns.append(column.alias(name))
    return numbered.select(columns)
