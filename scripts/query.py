"""Answer every question in queries/: the question, its assumption, and the rows.

Run by: make query
    scripts/env.sh python scripts/query.py [FILE.sql …]

A file holds one statement; the comment at its head is the question in words and the assumption behind it.
"""
import contextlib
import glob
import io
import sys

from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import functions as F

import feed
import tables
from printable import printable

MOST_ROWS, MOST_COLUMNS, MOST_CHARACTERS = 40, 40, 200
CATALYST = "org.apache.spark.sql.catalyst.plans.logical."


def shortened(answer):
    """The answer with long texts cut: a name may be of any length, and every row would be padded to it. Columns are counted,
    not named: several may have one name."""
    numbered = answer.toDF(*map(str, range(len(answer.columns))))
    columns = []
    for number, (name, kind) in list(enumerate(answer.dtypes))[:MOST_COLUMNS]:
        column = F.col(f"`{number}`")
        if kind == "string":
            column = F.when(F.length(column) > MOST_CHARACTERS, F.concat(F.substring(column, 1, MOST_CHARACTERS), F.lit("…"))).otherwise(column)
        columns.append(column.alias(name))
    return numbered.select(columns)


def changes_something(spark, plan):
    """Whether a parsed statement is, or holds, anything but a question."""
    is_a = spark._jvm.org.apache.spark.util.Utils.classForName
    kinds = [is_a(CATALYST + name, True, False) for name in ("Command", "ParsedStatement")]
    children = plan.children()
    return any(kind.isInstance(plan) for kind in kinds) or any(changes_something(spark, children.apply(number)) for number in range(children.size()))


def answer(spark, text):
    """Prints the rows that one SELECT gives."""
    text = text.rstrip().rstrip(";")
    if changes_something(spark, spark._jsparkSession.sessionState().sqlParser().parsePlan(text)):
        raise ValueError("it is no question: a file in queries/ holds one SELECT (statements that change something: make sql)")
    if f"{feed.TOPIC}." in text:  # it names the tables with their database
        tables.register(spark)
    rows = spark.sql(text)
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        shortened(rows).show(MOST_ROWS, truncate=False)
    print(printable(shown.getvalue(), keep="\n"), end="", flush=True)  # names are whatever somebody published
    if sum(line.startswith("|") for line in shown.getvalue().splitlines()) == 1:
        print("no row")
    if len(rows.columns) > MOST_COLUMNS:
        print(f"the first {MOST_COLUMNS} of {len(rows.columns):,} columns")


def main(files=()):
    tables.registration()  # says so at once when nothing was landed yet
    spark = tables.session("query", sum(feed.landed_offsets().values()))
    tables.view(spark)
    mark = "   [SYNTHETIC data: invented, no real user did this]" if feed.TOPIC.startswith("synthetic") else ""
    failed = {}  # {file: what mends it}
    for path in files or sorted(glob.glob("queries/*.sql")):
        name = path.split("/")[-1].removesuffix(".sql")
        print(f"\n== {name}, feed {feed.TOPIC}{mark}")
        try:
            with open(path, encoding="utf-8-sig") as file:
                text = file.read()
            for line in text.splitlines():
                if line.startswith("--"):
                    print(f"   {line.removeprefix('--').strip()}")
            answer(spark, text)
        except (PySparkException, ValueError, OSError) as error:
            of_the_stack = None if isinstance(error, AnalysisException) or not isinstance(error, PySparkException) else feed.mend(error, feed.cause(error))
            failed[path] = of_the_stack or f"mend the file; to try it alone: make shell, then: python scripts/query.py {path}"
            message = str(error).split("\n\nJVM stacktrace")[0].split("\n;\n")[0].strip()
            print(f"error in {path}: {printable(message, keep=chr(10))}", flush=True)
    if failed:
        raise feed.Failure(f"{len(failed)} of the questions could not be answered", f"{', '.join(failed)}: the reason of each is above", "\n       ".join(dict.fromkeys(failed.values())))


if __name__ == "__main__":
    with feed.report_failures():
        main(sys.argv[1:])
