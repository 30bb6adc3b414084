"""What the server of make serve costs, and what it saves."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

from measured import Results
from stack import LAND, Side, memory, processes_of

# All answers of all attempts at one exam, compared with each other.
HEAVY = """
import itertools, sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.remote(sys.argv[1]).create()
spark.sql(f"USE {sys.argv[2]}")
for _ in itertools.count():
    spark.sql("SELECT count(*), avg(a.question_position) FROM options a JOIN options b "
              "USING (base_exam_id) WHERE a.option_id < b.option_id").collect()
    print(flush=True)
"""


def measure(side: Side, results: Results, topic: str, other: str, runs: int) -> None:
    """Measures `runs` times each, on a landed feed; `other` is a topic with as many messages.

    The first answers without and with the server, its memory, and a landing beside clients.
    """
    note, count = results.note, results.real
    print(f"\nmake serve: {runs} times each query, then {results.clients} clients", flush=True)
    first = ["spark-sql", "-e", "SELECT count(*) FROM attempts"]
    for _ in range(runs):
        note("make sql: first answer, without a server", count, side.script(first, TOPIC=topic))
    started = side.make("serve", TOPIC=topic)
    server = int((side.run_dir / "pids/serve").read_text().split()[0])
    for what in ["first"] * runs + ["again"] * runs:
        note(f"make query with the server, {what}", count, side.make("query", TOPIC=topic))
    for _ in range(runs):
        note("make sql: first answer, with the server", count, side.script(first, TOPIC=topic))
    time.sleep(results.rest_seconds)
    rested = started._replace(peak=memory(processes_of(server)))
    rest = f"its memory after {results.rest_seconds} s of rest"
    note(f"make serve until it answers; {rest}", 0, rested)
    with clients(side, topic, results.clients):
        for _ in range(runs):
            side.remove_feed(other)
            what = f"make land beside {results.clients} busy clients"
            note(what, count, side.script(LAND, TOPIC=other))
    side.make("down")  # the server too
    side.make("up")


@contextlib.contextmanager
def clients(side: Side, topic: str, count: int) -> Iterator[None]:
    """Keeps this many clients asking for as long as the block runs; none of them may fail."""
    token = (side.run_dir / "connect.token").read_text().strip()
    environment = side.environment() | {"SPARK_CONNECT_AUTHENTICATE_TOKEN": token}
    ask = [sys.executable, "-c", HEAVY, f"sc://localhost:{side.settings.ports.connect}", topic]
    asking = [subprocess.Popen(ask, env=environment, stdout=subprocess.PIPE) for _ in range(count)]
    try:
        for client in asking:
            assert client.stdout and client.stdout.readline(), "a client ended without an answer"
        yield
        assert all(client.poll() is None for client in asking), "a client ended with an error"
    finally:
        for client in asking:
            client.terminate()
            client.wait()
