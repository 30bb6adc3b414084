"""Measures the pipeline against the course's ways of landing, and against an older commit.

Run by: make bench [MESSAGES=100000] [RUNS=3] [BASELINE=commit]
    scripts/lib/env.sh python scripts/bench.py

The bench starts a stack of its own in .run-bench, on free ports, and removes it at the end. The
rivals take turns with the pipeline (A B C, A B C, …), each as a whole process on the same topic and
the same HDFS. The tables go to the screen and to bench/results.md, the plots to bench/*.png. Times
are not judged: the bench fails only when a run fails.
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import hdfs_native

import bench_follow
import bench_results
import bench_serve
import bench_stack
import errors
from bench_results import BEST, COUNT, FLOOR, NEW, OLD, ONE_CORE, OURS, SMALL, USUAL, new_on
from bench_stack import Side, pinned

ROOT, WORK = bench_stack.root(), bench_stack.work()
FILE = WORK / "messages.tsv"  # keen_id, tab, message; each keen_id once
RUNS, BASELINE = int(os.environ["RUNS"]), os.environ["BASELINE"]
TABLES = "options", "questions", "attempts", "messages"

results = bench_results.Results(int(os.environ["MESSAGES"]), RUNS, BASELINE)
BASE, SIZES, FOLLOW_S = results.base, results.sizes, results.follow_seconds
SMALL_LANDINGS = results.small_landings
# (topic, how the tables show it)
SMALL_FEEDS = (
    ("synthetic_small", results.after_small),
    ("synthetic_once", bench_results.AFTER_ONE),
)

# Each is a command for scripts/lib/env.sh that lands the topic TOPIC, or only reads it.
LAND = ["python", "scripts/land.py"]
CONTENDERS = {
    BEST: ["python", "bench/course_best.py"],
    USUAL: ["python", "bench/course_usual.py"],
    FLOOR: ["python", "bench/floor.py"],
    COUNT: ["python", "bench/count.py"],
    OLD: LAND,
    ONE_CORE: LAND,
    OURS: LAND,  # last, because the next measurements need its tables
}


def land(side, what, messages, topic):
    """Lands the new messages of a topic, and checks that all of the topic is in the tables."""
    note(what, messages, side.script(LAND, TOPIC=topic))
    rows = {
        table: sum(file["num_records"] for file in side.files(topic, table))
        for table in ("messages", "attempts")
    }
    if set(rows.values()) != {side.published[topic]}:
        raise errors.Failure(
            f"{what} landed {rows} of {side.published[topic]} unique messages",
            "the bench publishes valid messages only, each once",
            "look for the fault with: make test",
        )


def note(what, messages, run):
    """Keeps and prints the cost of a command that landed or read so many messages."""
    results.runs[what, messages].append(run)
    print(
        f"  {what:<46} {messages:>9,} messages   wall {run.wall:7.1f} s   CPU {run.cpu:7.1f} s"
        f"   peak {run.peak / 1e6:7,.0f} MB",
        flush=True,
    )


# --- what is measured -----------------------------------------------------------------------------


def measure_real_file(ours, old):
    """make up, make all and make query on the file DATA, each from an empty run folder.

    Then landing of the file into a new feed.
    """
    data = os.environ["DATA"] if os.path.exists(os.environ["DATA"]) else "data/synthetic.json"
    topic = "synthetic" if os.path.exists(data + ".truth.json") else "assessments"
    data = os.path.abspath(data)
    print(f"\nmake up, make all and make query on {os.path.basename(data)}", flush=True)
    for _, side in itertools.product(range(RUNS), filter(None, (old, ours))):
        side.empty()
        note(f"make up ({side.name})", 0, side.make("up"))
        side.empty()
        run = side.make("all", DATA=data, TOPIC=topic)
        lines = [line for _, line in run.lines]
        count = int(re.search(r"(\d+) after:", "\n".join(lines))[1])
        note(f"make all ({side.name})", count, run)
        for line in itertools.dropwhile(lambda line: line != "--- seconds", lines):
            if step := re.fullmatch(r"  (\S+) +([\d.]+)", line):
                results.steps["step of make all"][step[1], side.name].append(float(step[2]))
        run = side.make("query", TOPIC=topic)
        note(f"make query ({side.name})", count, run)
        starts = [
            (second, line.split(",")[0].removeprefix("== "))
            for second, line in run.lines
            if line.startswith("== ")
        ]
        parts = [(0, "session and tables"), *starts, (run.wall, "")]
        for (start, name), (end, _) in itertools.pairwise(parts):
            results.steps["part of make query"][name, side.name].append(end - start)
        if side is old:
            side.make("down")
    for _ in range(RUNS):
        ours.remove_feed(topic)
        note(bench_results.REAL_LAND, count, ours.script(LAND, TOPIC=topic))
        note(bench_results.REAL_COUNT, count, ours.script(CONTENDERS[COUNT], TOPIC=topic))
    other = "synthetic_serve" if topic.startswith("synthetic") else "serve"
    ours.make("publish", DATA=data, TOPIC=other)
    bench_serve.measure(ours, topic, other, count, RUNS, note)


def measure_sizes(ours, old):
    """Each contender lands 1/10 of the base size, the base size, and MESSAGES if they are more."""
    for size in SIZES:
        topic = f"synthetic_{size}"
        print(f"\nlanding {size:,} messages", flush=True)
        ours.publish(topic, FILE, RUNS * NEW, size)
        # Reads the topic into the page cache.
        consume = ["kcat", "-C", "-b", ours.knobs["KAFKA"], "-t", topic]
        consume += ["-o", "beginning", "-e", "-q"]
        subprocess.run(consume, check=True, stdout=subprocess.DEVNULL)
        for number, (what, command) in itertools.product(range(RUNS), CONTENDERS.items()):
            if what == OLD and (size != BASE or not old):
                continue
            if what == ONE_CORE and (size != BASE or not shutil.which("taskset")):
                continue
            if size > BASE and number:  # the large size: once
                continue
            if command == LAND:
                ours.remove_feed(topic)
            if what == OURS:
                land(ours, what, size, topic)
            elif what == ONE_CORE:
                with pinned(ours.run_dir) as pin:
                    command = [*pin, "scripts/lib/env.sh", *command]
                    run = ours.run(command, TOPIC=topic, SPARK_MASTER="local[1]")
                    note(what, size, run)
            elif what == OLD:
                servers = {name: ours.knobs[name] for name in ("KAFKA", "HDFS")}
                note(what, size, old.script(command, TOPIC=topic, **servers))
            else:
                try:
                    note(what, size, ours.script(command, TOPIC=topic))
                except errors.Failure as error:  # the other measurements continue
                    results.broken.append(f"{what}, {size:,} messages: {error.what}")
                    print(f"  {results.broken[-1]}", flush=True)
    note_files(ours, f"synthetic_{BASE}")


def note_files(side, topic, whose=OURS):
    """Keeps files and bytes of the feed's tables, and of the rivals' if they landed this topic."""
    client = hdfs_native.Client(side.knobs["HDFS"])
    for table in TABLES:
        now = [file["size_bytes"] for file in side.files(topic, table)]
        there = [
            file.length
            for file in client.list_status(f"/warehouse/{topic}/{table}", recursive=True)
            if file.path.endswith(".parquet") and "_delta_log" not in file.path
        ]
        results.files.append((whose, table, len(now), len(there), sum(now), sum(there)))
    for what, folder in ((BEST, "course_best"), (USUAL, "course_usual")):
        with contextlib.suppress(FileNotFoundError):
            there = [
                file.length
                for file in client.list_status(f"/tmp/bench/{topic}/{folder}", recursive=True)
                if file.path.endswith(".parquet")
            ]
            count, size = len(there), sum(there)
            results.files.append((what, "", count, count, size, size))


def measure_increments(ours):
    """1,000 new messages on nothing and on each landed size; then nothing new."""
    print(f"\n{NEW:,} new messages in a feed that holds more and more, and none", flush=True)
    ours.publish("synthetic_new", FILE, 0, NEW)
    for number in range(RUNS):
        ours.remove_feed("synthetic_new")
        land(ours, new_on(0), NEW, "synthetic_new")
        for size in SIZES:
            ours.publish(f"synthetic_{size}", FILE, number * NEW, NEW)
            land(ours, new_on(size), NEW, f"synthetic_{size}")
        land(ours, "make land: nothing new", 0, f"synthetic_{BASE}")


def measure_small_landings(ours):
    """Many small landings, and the same messages in one landing; the queries after each."""
    print(f"\n{SMALL_LANDINGS} landings of {SMALL} messages each, and one of all", flush=True)
    for number in range(SMALL_LANDINGS):
        ours.publish("synthetic_small", FILE, RUNS * NEW + number * SMALL, SMALL)
        land(ours, "make land: one of the small landings", SMALL, "synthetic_small")
    count = SMALL * SMALL_LANDINGS
    ours.publish("synthetic_once", FILE, RUNS * NEW, count)
    land(ours, "make land: the same in one landing", count, "synthetic_once")
    for topic, words in SMALL_FEEDS:
        note_files(ours, topic, words)
    for _, (topic, words) in itertools.product(range(RUNS), SMALL_FEEDS):
        note(f"make query {words}", count, ours.make("query", TOPIC=topic))


# --- from start to end ----------------------------------------------------------------------------


def check_out(old):
    """Writes the files of the baseline; it sets itself up."""
    old.root.mkdir()
    command = ["git", "archive", BASELINE]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as archive:
        subprocess.run(["tar", "-x", "-C", old.root], stdin=archive.stdout, check=True)


def make_messages(ours):
    """Writes FILE: the messages of the increments first, then those of the sizes."""
    made, followed = WORK / "made.jsonl", bench_follow.messages(FOLLOW_S)
    count = max(RUNS * NEW + max(*SIZES, SMALL * SMALL_LANDINGS), followed)
    ours.make("data", SYNTHETIC=count + count // 30 + 100, DATA=made)  # some are duplicates
    seen = set()
    with open(made) as lines, open(FILE, "w") as out:
        for line in lines:
            keen_id = json.loads(line)["keen_id"]
            if keen_id not in seen and len(seen) < count:
                out.write(f"{keen_id}\t{line}")
            seen.add(keen_id)
    if len(seen) < count:
        raise errors.Failure(
            f"only {len(seen):,} of {count:,} synthetic messages are unique",
            "scripts/lib/synthetic.py makes more duplicates than the bench expects",
            "raise the share in make_messages, scripts/bench.py",
        )
    made.unlink()


def main():
    verify = ["git", "rev-parse", "--verify", "--quiet", f"{BASELINE}^{{commit}}"]
    if BASELINE and subprocess.run(verify, cwd=ROOT, stdout=subprocess.DEVNULL).returncode:
        raise errors.Failure(
            f"there is no commit {BASELINE} here",
            "it came from BASELINE, and git does not know it",
            "git fetch --unshallow, or correct BASELINE; then again: make bench",
        )
    port = bench_stack.free_ports(20)
    ours = Side("ours", ROOT, WORK / "stack", port)
    old = Side("baseline", WORK / "baseline", WORK / "baseline/.run-old", port + 5)
    with bench_stack.work_folder([ours, old]):
        print(f"set-up in {WORK}, and {sum(SIZES):,} messages", flush=True)
        ours.set_up()
        if BASELINE:
            check_out(old)
            old.set_up()
        make_messages(ours)
        for step in (
            lambda: measure_real_file(ours, old if BASELINE else None),
            lambda: measure_sizes(ours, old if BASELINE else None),
            lambda: measure_increments(ours),
            lambda: measure_small_landings(ours),
            lambda: results.delays.extend(bench_follow.measure(ours, FILE, FOLLOW_S)),
        ):
            step()
            bench_results.report(results, finished=False)
    print("\n" + bench_results.report(results, finished=True))
    print(f"written: {bench_results.folder()}/results.md and the plots beside it")
    if results.broken:
        raise errors.Failure(
            f"{len(results.broken)} runs of rivals failed",
            "; ".join(results.broken),
            "their output is above; mend the script in bench/; then again: make bench",
        )


def interrupted(number, _):
    print(
        f"interrupted by {signal.Signals(number).name}: stopping the bench's stack; "
        "bench/results.md holds the parts that were finished",
        file=sys.stderr,
        flush=True,
    )
    sys.exit(128 + number)


if __name__ == "__main__":
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, interrupted)
    with errors.report_failures():
        main()
