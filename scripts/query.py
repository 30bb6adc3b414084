"""Answers every question in queries/: prints the question, its assumption, and the rows.

Run by: make query
    scripts/lib/env.sh python scripts/query.py [FILE.sql …]

A file has one statement. The comment at its start is the question in words, and the assumption
behind it.
"""

import concurrent.futures
import glob
import sys
import threading

from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import functions as F
from pyspark.sql.utils import is_remote

import config
import errors
import knobs
import questions
import spark_session
from printable import printable

MOST_ROWS, MOST_COLUMNS, MOST_CHARACTERS = 40, 40, 200
CATALYST = "org.apache.spark.sql.catalyst.plans.logical."
_registering = threading.Lock()


def shortened(answer):
    """The answer with long texts truncated, because every row is padded to the longest one.

    Columns are addressed by number, because several may have the same name.
    """
    numbered = answer.toDF(*map(str, range(len(answer.columns))))
    columns = []
    for number, (name, kind) in list(enumerate(answer.dtypes))[:MOST_COLUMNS]:
        column = F.col(f"`{number}`")
        if kind == "string":
            column = F.when(
                F.length(column) > MOST_CHARACTERS,
                F.concat(F.substring(column, 1, MOST_CHARACTERS), F.lit("…")),
            ).otherwise(column)
        columns.append(column.alias(name))
    return numbered.select(columns)


def changes_something(spark, plan):
    """Whether a parsed statement is, or contains, anything other than a query."""
    is_a = spark._jvm.org.apache.spark.util.Utils.classForName
    kinds = [is_a(CATALYST + name, True, False) for name in ("Command", "ParsedStatement")]
    children = plan.children()
    return any(kind.isInstance(plan) for kind in kinds) or any(
        changes_something(spark, children.apply(number)) for number in range(children.size())
    )


def answer(spark, text):
    """The rows of one SELECT, as text. Raises ValueError for any other statement."""
    text = text.rstrip().rstrip(";")
    if not is_remote() and changes_something(
        spark, spark._jsparkSession.sessionState().sqlParser().parsePlan(text)
    ):  # the server of make serve refuses such statements itself
        raise ValueError(
            "it is not a question: a file in queries/ holds one SELECT "
            f"(other statements: make sql{knobs.of_feed()})"
        )
    if not is_remote() and f"{config.TOPIC}." in text:  # it names the tables with their database
        with _registering:
            spark_session.register(spark)
    rows = spark.sql(text)
    # What show() prints: it would print to a screen that the threads share.
    shown = shortened(rows)._show_string(MOST_ROWS, truncate=False)
    said = [shown.rstrip("\n")]
    if sum(line.startswith("|") for line in shown.splitlines()) == 1:
        said.append("no row")
    if len(rows.columns) > MOST_COLUMNS:
        said.append(f"the first {MOST_COLUMNS} of {len(rows.columns):,} columns")
    # Names are published texts.
    return printable("\n".join(said), keep="\n")


def read(path):
    with open(path, encoding="utf-8-sig") as file:
        return file.read()


def main(files=()):
    messages = spark_session.messages_landed()
    spark = spark_session.for_reading("query", messages)
    mark = ""
    if config.TOPIC.startswith("synthetic"):
        mark = "   [SYNTHETIC data: invented, no real user did this]"
    failed = {}  # {file: what to do}
    # Spark plans one question while it computes another. On large feeds one takes all its memory.
    at_once = 2 if messages <= spark_session.MESSAGES_FOR_A_QUICK_SESSION else 1
    pool = concurrent.futures.ThreadPoolExecutor(at_once)
    asked = []
    for path in files or sorted(glob.glob("queries/*.sql")):
        text = pool.submit(read, path)
        rows = pool.submit(lambda text: answer(spark, text.result()), text)
        asked.append((path, text, rows))
    for path, text, rows in asked:
        name = path.split("/")[-1].removesuffix(".sql")
        print(f"\n== {name}, feed {config.TOPIC}{mark}")
        try:
            for line in questions.head(text.result()):
                print(f"   {line}", flush=True)
            print(rows.result(), flush=True)
        except (PySparkException, ValueError, OSError) as error:
            of_spark = isinstance(error, PySparkException)
            of_the_stack = None
            if of_spark and not isinstance(error, AnalysisException):
                of_the_stack = errors.mend(error, errors.cause(error))
            failed[path] = of_the_stack or (
                "mend the file; to try one alone: "
                f"make shell{knobs.of_feed()}, then: python scripts/query.py FILE"
            )
            message = str(error).split("\n\nJVM stacktrace")[0].split("\n;\n")[0].strip()
            print(f"error in {path}: {printable(message, keep=chr(10))}", flush=True)
    if failed:
        raise errors.Failure(
            f"{len(failed)} of the questions could not be answered",
            f"{', '.join(failed)}: the reason of each is above",
            "\n       ".join(dict.fromkeys(failed.values())),
        )
    if is_remote():  # otherwise the server keeps the session for an hour
        spark.stop()


if __name__ == "__main__":
    errors.run(main, sys.argv[1:])
