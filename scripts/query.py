"""Answer every question in queries/: the question, its assumption, and the rows.

Run by: make query
    scripts/env.sh python scripts/query.py [FILE.sql …]

A file holds one statement; the comment at its head is the question in words and the assumption behind it.
"""
import glob
import sys

import feed
import tables

MOST_ROWS = 40


def main(files=()):
    tables.registration()  # says so at once when nothing was landed yet
    spark = tables.session("query", sum(feed.landed_offsets().values()))
    tables.register(spark)
    mark = "   [SYNTHETIC data: invented, no real user did this]" if feed.TOPIC.startswith("synthetic") else ""
    for path in files or sorted(glob.glob("queries/*.sql")):
        with open(path) as file:
            text = file.read()
        comment = [line.removeprefix("--").strip() for line in text.splitlines() if line.startswith("--")]
        print(f"\n== {path.split('/')[-1].removesuffix('.sql')}, feed {feed.TOPIC}{mark}")
        for line in comment:
            print(f"   {line}")
        answer = spark.sql(text.rstrip().rstrip(";"))
        answer.show(MOST_ROWS, truncate=False)
        sys.stdout.flush()


if __name__ == "__main__":
    with feed.report_failures():
        main(sys.argv[1:])
