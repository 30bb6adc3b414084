"""Answers every question in queries/: prints the question, its assumption, and the rows.

Run by: make query
    scripts/env.sh python scripts/query.py [FILE.sql …]

A file has one statement, after a comment: the question in words, and the assumption behind it.
"""

import concurrent.futures
import pathlib
import sys

from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql.utils import is_remote

from pipeline import script
from pipeline.errors import Failure
from pipeline.serving import client
from pipeline.settings import Feed, Settings
from pipeline.spark import answers, questions, session, views
from pipeline.text import printable


def ask(feed: Feed, names: list[str]) -> None:
    """Answers the questions in these files, by default all in queries/. Failures come last."""
    messages = views.messages_landed(feed)
    spark = client.for_reading(feed, "query", messages)
    mark = "   [SYNTHETIC data: invented, no real user did this]" if feed.is_synthetic else ""
    # Spark plans one question while it computes another. On large feeds one takes all its memory.
    at_once = 2 if messages <= session.MESSAGES_FOR_A_QUICK_SESSION else 1
    pool = concurrent.futures.ThreadPoolExecutor(at_once)
    paths = [pathlib.Path(name) for name in names] or sorted(pathlib.Path("queries").glob("*.sql"))
    asked = [pool.submit(lambda path: answers.answer(spark, feed, read(path)), at) for at in paths]
    failed = {}  # {file: what to do}
    for path, answer in zip(paths, asked, strict=True):
        print(f"\n== {path.stem}, feed {feed.topic}{mark}")
        try:
            for line in questions.head(read(path)):
                print(f"   {line}")
            print(answer.result(), flush=True)
        except (PySparkException, ValueError, OSError) as error:
            failed[str(path)] = advice(error, feed)
            said = str(error).split("\n\nJVM stacktrace")[0].split("\n;\n")[0].strip()
            print(f"error in {path}: {printable(said, keep=chr(10))}", flush=True)
    if failed:
        raise Failure(
            f"{len(failed)} of the questions could not be answered",
            f"{', '.join(failed)}: the reason of each is above",
            "\n       ".join(dict.fromkeys(failed.values())),
        )
    if is_remote():  # otherwise the server keeps the session for an hour
        spark.stop()


def read(path: pathlib.Path) -> str:
    return path.read_text(encoding="utf-8-sig")


def advice(error: Exception, feed: Feed) -> str:
    """What to type after a question failed."""
    of_spark = isinstance(error, PySparkException) and not isinstance(error, AnalysisException)
    return (script.mend(error, feed.settings) if of_spark else None) or (
        f"mend the file; to try one alone: {feed.make('shell')}, then: python scripts/query.py FILE"
    )


def main(settings: Settings) -> None:
    ask(settings.feed(), sys.argv[1:])


if __name__ == "__main__":
    script.run(main)
