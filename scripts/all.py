"""The whole pipeline in order, with the seconds of each step; leaves the stack up.

Run by: make all
    scripts/env.sh python scripts/all.py

Each step is what its own Make target runs. land and query share one Spark session here, which starts while the topic is
made and the file is published.
"""
import contextlib
import os
import subprocess
import sys
import threading
import time

BYTES_A_MESSAGE = 2_700  # about
seconds = {}


@contextlib.contextmanager
def step(name, command):
    print(f"\n--- {name}: {command}", flush=True)
    begin = time.monotonic()
    yield
    sys.stdout.flush()
    seconds[name] = time.monotonic() - begin


def run(name, *command):
    """A step that is a program; its message was printed by itself when it fails."""
    with step(name, " ".join(command)):
        code = subprocess.run(command).returncode
    if code:
        sys.exit(code if code > 0 else 1)


def choose_feed():
    """When the real file could not be had (data.sh has said so), the invented data go into a feed of their own."""
    if not os.path.exists(os.environ["DATA"]):
        os.environ["DATA"] = "data/synthetic.json"
    if os.path.exists(os.environ["DATA"] + ".truth.json") and not os.environ["TOPIC"].startswith("synthetic"):
        os.environ["TOPIC"] = "synthetic"


def main():
    run("up", "python", "scripts/stack.py", "up")
    run("data", "scripts/data.sh")
    choose_feed()
    # The feed's name is read when these are imported.
    import feed
    import land
    import query
    import verify
    with feed.report_failures():
        threading.Thread(target=land.session, args=["all", os.path.getsize(os.environ["DATA"]) // BYTES_A_MESSAGE], daemon=True).start()
        run("topic", "scripts/topic.sh")
        before = feed.end_offsets(), feed.landed_offsets()
        run("publish", "scripts/publish.sh")
        with step("land", "python scripts/land.py"):
            land.main()
        nothing_new = before == (feed.end_offsets(), feed.landed_offsets())
        with step("verify", "python scripts/verify.py"):
            verify.main()
        run("list", "scripts/list.sh")
        with step("query", "python scripts/query.py"):
            query.main()

    print("\n--- seconds")
    for name, value in [*seconds.items(), ("together", sum(seconds.values()))]:
        print(f"  {name:<9} {value:6.1f}")
    if nothing_new:
        print("\nNothing was new: the file was published and landed before, and nothing was changed.")
    stack = os.environ["STACK_KNOBS"]
    knob = stack + ("" if feed.TOPIC == "assessments" else f" TOPIC={feed.TOPIC}")
    print(f"""
The stack runs on. To go on:
  make sql{knob}        SELECT * FROM {feed.TOPIC}.attempts LIMIT 5;
  make pyspark{knob}    spark.table("{feed.TOPIC}.questions").show()
  make shell{knob}      kafka-topics, kcat, hadoop fs, …
  make status{stack}     what runs, and what is landed
  make down{stack}       stop it; the data stay""")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
