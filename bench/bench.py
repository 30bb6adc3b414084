"""Measures the pipeline against the course's ways of landing, and against an older commit.

Run by: make bench [MESSAGES=100000] [RUNS=3] [BASELINE=commit]
    scripts/env.sh python bench/bench.py

The bench starts a stack of its own in .run-bench, on free ports, and removes it at the end. The
rivals take turns with the pipeline (A B C, A B C, …), each as a whole process on the same topic and
the same HDFS. The tables go to the screen and to bench/results.md. Times are not judged: the bench
fails only when a run fails.
"""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys

import delays
import measured
import served
from measured import AFTER_ONE, BASELINE, BEST, COUNT, FLOOR, NEW, ONE_CORE, OURS, USUAL, new_on
from pipeline import script
from pipeline.errors import Failure
from pipeline.settings import ROOT, Settings
from pipeline.stack.ports import free_ports
from stack import LAND, WORK, Side, work_folder

FILE = WORK / "messages.tsv"  # keen_id, tab, message; each keen_id once
CONSUME = "kcat -C -b $KAFKA -t $TOPIC -o beginning -e -q"
TO_DUCKDB = f"{CONSUME} > $RUN_DIR/floor.jsonl && python bench/floor.py $RUN_DIR/floor.jsonl"
RIVALS = {
    BEST: ["python", "bench/rivals.py", "best"],
    USUAL: ["python", "bench/rivals.py", "usual"],
    FLOOR: ["sh", "-c", TO_DUCKDB],
    COUNT: ["python", "bench/rivals.py", "count"],
}


class Bench:
    """The measurements, each into the results. old: the stack of the baseline."""

    def __init__(self, settings: Settings, ours: Side, old: Side | None):
        self.settings, self.ours, self.old = settings, ours, old
        self.results, self.runs = measured.Results(settings), settings.runs
        self.note = self.results.note

    def land(self, what: str, messages: int, topic: str) -> None:
        """Lands the new messages of a topic, and checks that all of the topic is in the tables."""
        self.note(what, messages, self.ours.script(LAND, TOPIC=topic))
        rows = {name: self.ours.table(topic, name).count() for name in ("messages", "attempts")}
        if set(rows.values()) != {self.ours.published[topic]}:
            raise Failure(
                f"{what} landed {rows} of {self.ours.published[topic]} unique messages",
                "the bench publishes valid messages only, each once",
                "look for the fault with: make test",
            )

    def note_files(self, topic: str, whose: str) -> None:
        """Keeps the number and the bytes of the files that the feed's tables consist of."""
        for name in "options", "questions", "attempts", "messages":
            sizes = self.ours.table(topic, name).get_add_actions()["size_bytes"].to_pylist()
            self.results.files.append((whose, name, len(sizes), sum(sizes)))

    def measure_real_file(self) -> None:
        """On the file DATA: make up, make all, make query, landing alone, and make serve."""
        ours, data = self.ours, self.settings.data
        data = os.path.abspath(data if os.path.exists(data) else "data/synthetic.json")
        topic = "synthetic" if os.path.exists(data + ".truth.json") else "assessments"
        print(f"\nmake up, make all and make query on {os.path.basename(data)}", flush=True)
        for _, side in itertools.product(range(self.runs), filter(None, (self.old, ours))):
            whose = BASELINE if side is self.old else ""
            side.empty()
            self.note(f"make up{whose}", 0, side.make("up"))
            side.empty()
            run = side.make("all", DATA=data, TOPIC=topic)
            self.results.real = count = int(re.findall(r"(\d+) after:", run.output)[0])
            self.note(f"make all{whose}", count, run)
            self.note(f"make query{whose}", count, side.make("query", TOPIC=topic))
            if side is self.old:
                side.make("down")
        for _ in range(self.runs):
            ours.remove_feed(topic)
            self.note(measured.REAL_LAND, count, ours.script(LAND, TOPIC=topic))
            self.note(measured.REAL_COUNT, count, ours.script(RIVALS[COUNT], TOPIC=topic))
        other = f"{topic}_serve"
        ours.make("publish", DATA=data, TOPIC=other)
        served.measure(ours, self.results, topic, other, self.runs)

    def measure_sizes(self) -> None:
        """Each contender lands each size; the baseline the base size, one core the half size."""
        base, half = self.results.base, self.results.half
        for size in self.results.sizes:
            topic = f"synthetic_{size}"
            print(f"\nlanding {size:,} messages", flush=True)
            self.ours.publish(topic, FILE, self.runs * NEW, size)
            contenders = [*RIVALS]
            contenders += [OURS + BASELINE] if self.old and size == base else []
            contenders += [ONE_CORE] if shutil.which("taskset") and size == half else []
            contenders += [OURS]  # last, because the next measurements need its tables
            runs = self.runs if size <= base else 1
            for _, what in itertools.product(range(runs), contenders):
                self.measure_contender(what, size, topic)
        self.note_files(f"synthetic_{base}", OURS)

    def measure_contender(self, what: str, size: int, topic: str) -> None:
        if what in RIVALS:
            try:
                self.note(what, size, self.ours.script(RIVALS[what], TOPIC=topic))
            except Failure as error:  # the other measurements continue
                self.results.broken.append(f"{what}, {size:,} messages: {error.what}")
                print(f"  {self.results.broken[-1]}", flush=True)
            return
        self.ours.remove_feed(topic)
        if what == OURS:
            self.land(what, size, topic)
        elif what == ONE_CORE:
            cores = sorted(os.sched_getaffinity(0))
            self.ours.pin_servers(cores[:1])
            command = ["taskset", "--cpu-list", str(cores[0]), *LAND]
            self.note(what, size, self.ours.script(command, TOPIC=topic, SPARK_MASTER="local[1]"))
            self.ours.pin_servers(cores)
        elif self.old:
            servers = {name: self.ours.knobs[name] for name in ("KAFKA", "HDFS")}
            self.note(what, size, self.old.script(LAND, TOPIC=topic, **servers))

    def measure_small_landings(self) -> None:
        """The smallest size in many landings; queries after these, and after the one landing."""
        results, count = self.results, self.results.sizes[0]
        print(f"\n{results.small_landings} landings of {results.small} messages each", flush=True)
        for number in range(results.small_landings):
            first = self.runs * NEW + number * results.small
            self.ours.publish("synthetic_small", FILE, first, results.small)
            self.land("make land: one of the small landings", results.small, "synthetic_small")
        feeds = {results.after_small: "synthetic_small", AFTER_ONE: f"synthetic_{count}"}
        for words, topic in feeds.items():
            self.note_files(topic, words)
        for _, (words, topic) in itertools.product(range(self.runs), feeds.items()):
            self.note(f"make query {words}", count, self.ours.make("query", TOPIC=topic))

    def measure_increments(self) -> None:
        """1,000 new messages on nothing and on the largest size; then nothing new."""
        print(f"\n{NEW:,} new messages in an empty and in a large feed, and none", flush=True)
        largest = self.results.sizes[-1]
        self.ours.publish("synthetic_new", FILE, 0, NEW)
        for number in range(self.runs):
            self.ours.remove_feed("synthetic_new")
            self.land(new_on(0), NEW, "synthetic_new")
            self.ours.publish(f"synthetic_{largest}", FILE, number * NEW, NEW)
            self.land(new_on(largest), NEW, f"synthetic_{largest}")
            self.land("make land: nothing new", 0, f"synthetic_{largest}")

    def set_up(self) -> None:
        # The messages of the increments come first, then those of the sizes.
        made, followed = WORK / "made.jsonl", 1 + self.results.follow_seconds * sum(delays.RATES)
        count = max(self.runs * NEW + self.results.sizes[-1], followed)
        print(f"set-up in {WORK}, and {count:,} messages", flush=True)
        self.ours.set_up()
        if self.old:
            self.old.root.mkdir()
            unpack = f"git archive {self.settings.baseline} | tar -x -C {self.old.root}"
            subprocess.run(unpack, shell=True, cwd=ROOT, check=True)
            self.old.set_up()
        # Some are duplicates.
        self.ours.make("data", SYNTHETIC=count + count // 30 + 100, DATA=made)
        keyed = rf"""jq -Rr '"\(fromjson.keen_id)\t\(.)"' {made}"""
        unique = rf"awk -F '\t' '!seen[$1]++' | head -n {count}"
        self.ours.script(["sh", "-c", f"{keyed} | {unique} > {FILE}"])
        made.unlink()


def main(settings: Settings) -> None:
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, interrupted)
    verify = ["git", "rev-parse", "--verify", "--quiet", f"{settings.baseline}^{{commit}}"]
    if settings.baseline and subprocess.run(verify, cwd=ROOT, stdout=subprocess.DEVNULL).returncode:
        raise Failure(
            f"there is no commit {settings.baseline} here",
            "it came from BASELINE, and git does not know it",
            "git fetch --unshallow, or correct BASELINE; then again: make bench",
        )
    port = free_ports(20)
    ours = Side(ROOT, WORK / "stack", port)
    old = Side(WORK / "baseline", WORK / "baseline/.run-old", port + 5)
    bench = Bench(settings, ours, old if settings.baseline else None)
    with work_folder():
        bench.set_up()
        for measure in (
            bench.measure_real_file,
            bench.measure_sizes,
            bench.measure_small_landings,
            bench.measure_increments,
            lambda: delays.measure(ours, bench.results, FILE),
        ):
            measure()
            measured.report(bench.results, finished=False)
    print("\n" + measured.report(bench.results, finished=True))
    print(f"written: {measured.PAGE}")
    if broken := bench.results.broken:
        raise Failure(
            f"{len(broken)} runs of rivals failed",
            "; ".join(broken),
            "their output is above; mend the script in bench/; then again: make bench",
        )


def interrupted(number: int, _: object) -> None:
    print(
        f"interrupted by {signal.Signals(number).name}: stopping the bench's stack; "
        "bench/results.md holds the parts that were finished",
        file=sys.stderr,
    )
    sys.exit(128 + number)


if __name__ == "__main__":
    script.run(main)
