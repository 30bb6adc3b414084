"""The whole pipeline in order, with the seconds of each step; leaves the stack up.

Run by: make all
    scripts/lib/env.sh python scripts/all.py

Each step is what its own Make target runs. Here land and query share one Spark session, which
starts in the background while the file is published.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time

import config
import errors
import knobs
import lake
import land
import query
import spark_session
import topics
import verify

BYTES_A_MESSAGE = 2_700  # average of the assignment's file
seconds = {}


@contextlib.contextmanager
def step(name, command):
    """Prints the step's headline, and measures the block's seconds."""
    print(f"\n--- {name}: {command}", flush=True)
    begin = time.monotonic()
    yield
    sys.stdout.flush()
    seconds[name] = time.monotonic() - begin


def run(name, *command):
    """A step that is a program. When it fails, it has printed its own message."""
    with step(name, " ".join(command)):
        code = subprocess.run(command).returncode
    if code:
        sys.exit(code if code > 0 else 1)


def choose_feed():
    """Without the real file (data.sh has said so), uses the synthetic one, in a feed of its own."""
    if not os.path.exists(os.environ["DATA"]):
        os.environ["DATA"] = "data/synthetic.json"
    is_synthetic = os.path.exists(os.environ["DATA"] + ".truth.json")
    if is_synthetic and not os.environ["TOPIC"].startswith("synthetic"):
        os.environ["TOPIC"] = "synthetic"


def main():
    run("up", "python", "scripts/up.py")
    run("data", "scripts/data.sh")
    choose_feed()
    session = ["all", os.path.getsize(os.environ["DATA"]) // BYTES_A_MESSAGE]
    threading.Thread(target=spark_session.for_landing, args=session, daemon=True).start()
    run("topic", "scripts/topic.sh")
    before = topics.end_offsets(), lake.landed_offsets()
    run("publish", "scripts/publish.sh")
    with step("land", "python scripts/land.py"):
        land.main()
    nothing_new = before == (topics.end_offsets(), lake.landed_offsets())
    with step("verify", "python scripts/verify.py"):
        verify.main()
    run("list", "scripts/list.sh")
    with step("query", "python scripts/query.py"):
        query.main()

    print("\n--- seconds")
    for name, value in [*seconds.items(), ("together", sum(seconds.values()))]:
        print(f"  {name:<9} {value:6.1f}")
    if nothing_new:
        print(
            "\nNothing was new: the file was published and landed before, and nothing was changed."
        )
    stack, knob = knobs.of_stack(), knobs.of_feed()
    print(f"""
The stack runs on. To go on:
  make sql{knob}        SELECT * FROM {config.TOPIC}.attempts LIMIT 5;
  make pyspark{knob}    spark.table("{config.TOPIC}.questions").show()
  make shell{knob}      kafka-topics, kcat, hadoop fs, …
  make status{stack}     what runs, and what is landed
  make down{stack}       stop it; the data stay""")


if __name__ == "__main__":
    errors.run(main)
