"""Answer every question in queries/: the question, its assumption, and the rows.

Run by: make query
    scripts/env.sh python scripts/query.py [FILE.sql …]

A file holds one statement; the comment at its head is the question in words and the assumption behind it.
"""
import contextlib
import glob
import io
import sys

from pyspark.sql import functions as F

import feed
import tables
from printable import printable

MOST_ROWS, MOST_CHARACTERS = 40, 200


def shortened(answer):
    """The answer with long texts cut: a name may be of any length, and every row would be padded to it."""
    return answer.select([F.when(F.length(column) > MOST_CHARACTERS, F.concat(F.substring(column, 1, MOST_CHARACTERS), F.lit("…"))).otherwise(column).alias(name)
                          if kind == "string" else column for name, kind in answer.dtypes for column in [F.col(f"`{name}`")]])


def main(files=()):
    tables.registration()  # says so at once when nothing was landed yet
    spark = tables.session("query", sum(feed.landed_offsets().values()))
    tables.view(spark)
    mark = "   [SYNTHETIC data: invented, no real user did this]" if feed.TOPIC.startswith("synthetic") else ""
    for path in files or sorted(glob.glob("queries/*.sql")):
        with open(path) as file:
            text = file.read()
        comment = [line.removeprefix("--").strip() for line in text.splitlines() if line.startswith("--")]
        print(f"\n== {path.split('/')[-1].removesuffix('.sql')}, feed {feed.TOPIC}{mark}")
        for line in comment:
            print(f"   {line}")
        if f"{feed.TOPIC}." in text:  # it names the tables with their database
            tables.register(spark)
        answer = spark.sql(text.rstrip().rstrip(";"))
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            shortened(answer).show(MOST_ROWS, truncate=False)
        print(printable(shown.getvalue(), keep="\n"), end="", flush=True)  # names are whatever somebody published


if __name__ == "__main__":
    with feed.report_failures():
        main(sys.argv[1:])
