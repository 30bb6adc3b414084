"""The whole pipeline in order, with the seconds of each step; leaves the stack up.

Run by: make all
    scripts/env.sh python scripts/all.py

Each step is what its own Make target runs. Here land and query share one Spark session, which
starts in the background while the file is published.
"""

import contextlib
import dataclasses
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import land
import publish
import query
import verify
from pipeline import environment, script
from pipeline.kafka import topics
from pipeline.landing.batch import session_for_landing
from pipeline.settings import Settings
from pipeline.tables.position import landed_offsets

BYTES_A_MESSAGE = 2_700  # average of the assignment's file
seconds: dict[str, float] = {}  # by step


@contextlib.contextmanager
def step(name: str, command: str) -> Iterator[None]:
    """Prints the step's headline, and measures the block's seconds."""
    print(f"\n--- {name}: {command}", flush=True)
    begin = time.monotonic()
    yield
    sys.stdout.flush()
    seconds[name] = time.monotonic() - begin


def run(settings: Settings, name: str, *command: str) -> None:
    """A step that is a program. When it fails, it has printed its own message."""
    with step(name, " ".join(command)):
        code = subprocess.run(command, env=os.environ | environment.exported(settings)).returncode
    if code:
        sys.exit(code if code > 0 else 1)


def main(settings: Settings) -> None:
    run(settings, "up", "python", "scripts/up.py")
    run(settings, "data", "scripts/data.sh")
    # Without the real file (data.sh has said so), the synthetic one is landed, in its own feed.
    if not os.path.exists(settings.data):
        settings = dataclasses.replace(settings, data="data/synthetic.json")
    if os.path.exists(settings.data + ".truth.json") and not settings.feed().is_synthetic:
        settings = dataclasses.replace(settings, topic="synthetic")
    feed = settings.feed()
    session = [settings, "all", os.path.getsize(settings.data) // BYTES_A_MESSAGE]
    threading.Thread(target=session_for_landing, args=session, daemon=True).start()
    run(settings, "topic", "scripts/topic.sh")
    before = topics.end_offsets(feed), landed_offsets(feed)
    for name, part in {"publish": publish, "land": land, "verify": verify}.items():
        with step(name, f"python scripts/{name}.py"):
            part.main(settings)
    nothing_new = before == (topics.end_offsets(feed), landed_offsets(feed))
    run(settings, "list", "scripts/list.sh")
    with step("query", "python scripts/query.py"):
        query.ask(feed, [])
    print("\n--- seconds")
    for name, value in [*seconds.items(), ("together", sum(seconds.values()))]:
        print(f"  {name:<9} {value:6.1f}")
    if nothing_new:
        print(
            "\nNothing was new: the file was published and landed before, and nothing was changed."
        )
    print(f"""
The stack runs on. To go on:
  {feed.make("sql")}        SELECT * FROM {feed.topic}.attempts LIMIT 5;
  {feed.make("pyspark")}    spark.table("{feed.topic}.questions").show()
  {feed.make("shell")}      kafka-topics, kcat, hadoop fs, …
  {settings.make("status")}     what runs, and what is landed
  {settings.make("down")}       stop it; the data stay""")


if __name__ == "__main__":
    script.run(main)
