"""Measure the pipeline against the course's ways of landing, and against an older commit, in one run.

Run by: make bench [MESSAGES=100000] [RUNS=3] [BASELINE=commit]
    scripts/env.sh python scripts/bench.py

The bench has a stack of its own in .run-bench, on free ports, and removes it at the end. Rivals run in turn with ours
(A B C, A B C, …), each as a whole process on the same topic and the same HDFS. The tables go to the screen and to
bench/results.md, the plots to bench/*.png. Times are never judged: only a run that breaks makes the bench fail.
"""
import collections
import contextlib
import datetime
import importlib.metadata
import itertools
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys

import deltalake
import hdfs_native
import matplotlib
import psutil

matplotlib.use("agg")
import matplotlib.pyplot as plt

import feed
from bench_stack import ROOT, WORK, Side, free_ports, pinned, work_folder

RESULTS = ROOT / "bench"
FILE = WORK / "messages.tsv"  # keen_id, tab, message; no keen_id twice
MESSAGES, RUNS, BASELINE = int(os.environ["MESSAGES"]), int(os.environ["RUNS"]), os.environ["BASELINE"]
BASE = min(MESSAGES, 100_000)
SIZES = sorted({max(1, BASE // 10), BASE, MESSAGES})
NEW = 1000  # messages of one increment
SMALL, SMALL_LANDINGS = 100, 100 if BASE == 100_000 else 2  # messages of a small landing, and how many of them; few in a quick bench
STYLES = [{"color": color, "marker": marker, "ls": ls} for color, marker, ls in
          (("0.1", "o", "-"), ("0.35", "s", "--"), ("0.5", "^", ":"), ("0.65", "D", "-."), ("0.75", "x", "-"))]  # to be told apart in black and white
TABLES = "options", "questions", "attempts", "messages"

# Each is a command for scripts/env.sh that lands, or only reads, the topic TOPIC.
LAND = ["python", "scripts/land.py"]
OURS, ONE_CORE, OLD = "make land: four tables", "make land on one core", "make land of the baseline"
AFTER_SMALL, AFTER_ONE = f"after {SMALL_LANDINGS} landings", "after one landing"
NOTHING_NEW = "make land: nothing new"
BEST, USUAL = "course's best way: one nested table", "course's usual way: three columns"
REAL_LAND, REAL_COUNT = "make land: the real file", "Spark counts the real file's records"
FLOOR, COUNT = "kcat into DuckDB: one local file", "Spark counts the records"
CONTENDERS = {
    BEST: ["python", "bench/course_best.py"],
    USUAL: ["python", "bench/course_usual.py"],
    FLOOR: ["python", "bench/floor.py"],
    COUNT: ["python", "bench/count.py"],
    OLD: LAND,
    ONE_CORE: LAND,
    OURS: LAND,  # the last one, so that its tables are there for what follows
}

results = collections.defaultdict(list)  # {(what, messages): [Run, …]}
steps = collections.defaultdict(lambda: collections.defaultdict(list))  # {what: {(step, side): [seconds, …]}}
files = []  # (whose, table, files of the current version, files in the folder, bytes of each)
broken = []  # runs of rivals that failed


def land(side, what, messages, topic):
    """Lands the topic's new messages, so many, and checks that all of the topic is in the tables afterwards."""
    note(what, messages, side.script(LAND, TOPIC=topic))
    rows = {table: sum(file["num_records"] for file in side.files(topic, table)) for table in ("messages", "attempts")}
    if set(rows.values()) != {side.published[topic]}:
        raise feed.Failure(f"{what} landed {rows} of {side.published[topic]} unique messages", "the bench publishes valid messages only, each once", "look for the fault with: make test")


def note(what, messages, run):
    results[what, messages].append(run)
    print(f"  {what:<46} {messages:>9,} messages   wall {run.wall:7.1f} s   CPU {run.cpu:7.1f} s   peak {run.peak / 1e6:7,.0f} MB", flush=True)
    return run


# --- what is measured -----------------------------------------------------------------------------

def measure_real_file(ours, old):
    """make up, make all and make query on the file DATA, each from an empty run folder; then landing it in a new feed."""
    data = os.environ["DATA"] if os.path.exists(os.environ["DATA"]) else "data/synthetic.json"
    topic = "synthetic" if os.path.exists(data + ".truth.json") else "assessments"
    data = os.path.abspath(data)
    print(f"\nmake up, make all and make query on {os.path.basename(data)}", flush=True)
    for _, side in itertools.product(range(RUNS), filter(None, (old, ours))):
        side.empty()
        note(f"make up ({side.name})", 0, side.make("up"))
        side.empty()
        run = side.make("all", DATA=data, TOPIC=topic)
        count = int(re.search(r"(\d+) after:", "\n".join(line for _, line in run.lines))[1])
        note(f"make all ({side.name})", count, run)
        for line in itertools.dropwhile(lambda line: line != "--- seconds", (line for _, line in run.lines)):
            if step := re.fullmatch(r"  (\S+) +([\d.]+)", line):
                steps["step of make all"][step[1], side.name].append(float(step[2]))
        run = note(f"make query ({side.name})", count, side.make("query", TOPIC=topic))
        starts = [(second, line.split(",")[0].removeprefix("== ")) for second, line in run.lines if line.startswith("== ")]
        for (start, name), (end, _) in itertools.pairwise([(0, "session and tables"), *starts, (run.wall, "")]):
            steps["part of make query"][name, side.name].append(end - start)
        if side is old:
            side.make("down")
    for _ in range(RUNS):
        ours.remove_feed(topic)
        note(REAL_LAND, count, ours.script(LAND, TOPIC=topic))
        note(REAL_COUNT, count, ours.script(CONTENDERS[COUNT], TOPIC=topic))


def measure_sizes(ours, old):
    """Landing 1/10 of the base size, the base size and, where MESSAGES is more, that many: every contender."""
    for size in SIZES:
        topic = f"synthetic_{size}"
        print(f"\nlanding {size:,} messages", flush=True)
        ours.publish(topic, FILE, RUNS * NEW, size)
        subprocess.run(["kcat", "-C", "-b", ours.knobs["KAFKA"], "-t", topic, "-o", "beginning", "-e", "-q"], check=True, stdout=subprocess.DEVNULL)  # into the page cache
        for number, (what, command) in itertools.product(range(RUNS), CONTENDERS.items()):
            if what == OLD and (size != BASE or not old) or what == ONE_CORE and (size != BASE or not shutil.which("taskset")):
                continue
            if size > BASE and number:  # the large size: once
                continue
            if command == LAND:
                ours.remove_feed(topic)
            if what == OURS:
                land(ours, what, size, topic)
            elif what == ONE_CORE:
                with pinned(ours.run_dir) as pin:
                    note(what, size, ours.run([*pin, "scripts/env.sh", *command], TOPIC=topic, SPARK_MASTER="local[1]"))
            elif what == OLD:
                note(what, size, old.script(command, TOPIC=topic, **{name: ours.knobs[name] for name in ("KAFKA", "HDFS")}))
            else:
                try:
                    note(what, size, ours.script(command, TOPIC=topic))
                except feed.Failure as error:  # what the others measure is kept
                    broken.append(f"{what}, {size:,} messages: {error.what}")
                    print(f"  {broken[-1]}", flush=True)
    note_files(ours, f"synthetic_{BASE}")


def note_files(side, topic, whose=OURS):
    """Files and bytes of the feed's tables, and of the rivals' where they landed this topic."""
    client = hdfs_native.Client(side.knobs["HDFS"])
    for table in TABLES:
        now = [file["size_bytes"] for file in side.files(topic, table)]
        there = [file.length for file in client.list_status(f"/warehouse/{topic}/{table}", recursive=True) if file.path.endswith(".parquet") and "_delta_log" not in file.path]
        files.append((whose, table, len(now), len(there), sum(now), sum(there)))
    for what, folder in ((BEST, "course_best"), (USUAL, "course_usual")):
        with contextlib.suppress(FileNotFoundError):
            there = [file.length for file in client.list_status(f"/tmp/bench/{topic}/{folder}", recursive=True) if file.path.endswith(".parquet")]
            files.append((what, "", len(there), len(there), sum(there), sum(there)))


def new_on(landed):
    return f"make land: new ones, {landed:,} landed"


def measure_increments(ours):
    """1,000 new messages on nothing and on each size that is landed; then nothing new."""
    print(f"\n{NEW:,} new messages in a feed that holds more and more, and none", flush=True)
    ours.publish("synthetic_new", FILE, 0, NEW)
    for number in range(RUNS):
        ours.remove_feed("synthetic_new")
        land(ours, new_on(0), NEW, "synthetic_new")
        for size in SIZES:
            ours.publish(f"synthetic_{size}", FILE, number * NEW, NEW)
            land(ours, new_on(size), NEW, f"synthetic_{size}")
        land(ours, NOTHING_NEW, 0, f"synthetic_{BASE}")


def measure_small_landings(ours):
    """Many small landings in a row, and the queries after them; the same messages in one landing, and the queries."""
    print(f"\n{SMALL_LANDINGS} landings of {SMALL} messages each, and one of all", flush=True)
    for number in range(SMALL_LANDINGS):
        ours.publish("synthetic_small", FILE, RUNS * NEW + number * SMALL, SMALL)
        land(ours, "make land: one of the small landings", SMALL, "synthetic_small")
    ours.publish("synthetic_once", FILE, RUNS * NEW, SMALL * SMALL_LANDINGS)
    land(ours, "make land: the same in one landing", SMALL * SMALL_LANDINGS, "synthetic_once")
    for topic, words in (("synthetic_small", AFTER_SMALL), ("synthetic_once", AFTER_ONE)):
        note_files(ours, topic, words)
    for _ in range(RUNS):
        for topic, words in (("synthetic_small", AFTER_SMALL), ("synthetic_once", AFTER_ONE)):
            note(f"make query {words}", SMALL * SMALL_LANDINGS, ours.make("query", TOPIC=topic))


# --- what is shown --------------------------------------------------------------------------------

def spread(values, digits=1):
    """Median, and the range when there are several."""
    median = f"{statistics.median(values):,.{digits}f}"
    return median if len(values) == 1 else f"{median} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def table(head, rows):
    """A Markdown table whose columns are aligned, so that it reads well on the screen too."""
    rows = [head, ["---"] * len(head), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    rows[1] = ["-" * (widths[0])] + ["-" * (width - 1) + ":" for width in widths[1:]]
    return "\n".join("| " + " | ".join(cell.ljust(width) if not column else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths))) + " |" for row in rows)


def median(what, messages, field):
    runs = results.get((what, messages))
    return runs and statistics.median(getattr(run, field) for run in runs) / (1e6 if field == "peak" else 1)


def ratios():
    """(what is compared, first value, second value, first / second)."""
    real = next((messages for what, messages in results if what == REAL_LAND), 0)
    small = SMALL * SMALL_LANDINGS
    files_after = [now for whose, _, now, *_ in files if whose == AFTER_SMALL]
    pairs = [
        (f"make land of {BASE:,}, against the course's best way: wall s", (OURS, BASE, "wall"), (BEST, BASE, "wall")),
        ("… CPU s", (OURS, BASE, "cpu"), (BEST, BASE, "cpu")),
        ("make land of the real file, against a session that counts its records: wall s", (REAL_LAND, real, "wall"), (REAL_COUNT, real, "wall")),
        ("make all on the real file, against the baseline: wall s", ("make all (ours)", real, "wall"), ("make all (baseline)", real, "wall")),
        ("make query on the real file, against the baseline: wall s", ("make query (ours)", real, "wall"), ("make query (baseline)", real, "wall")),
        ("make up in an empty run folder, against the baseline: wall s", ("make up (ours)", 0, "wall"), ("make up (baseline)", 0, "wall")),
        (f"make land of {BASE:,}, against the baseline: wall s", (OURS, BASE, "wall"), (OLD, BASE, "wall")),
        ("… CPU s", (OURS, BASE, "cpu"), (OLD, BASE, "cpu")),
        (f"peak memory of landing {SIZES[-1]:,}, against {BASE:,}: MB", (OURS, SIZES[-1], "peak"), (OURS, BASE, "peak") if SIZES[-1] > BASE else None),
        (f"{NEW:,} new messages on {SIZES[-1]:,} landed, against on nothing: wall s", (new_on(SIZES[-1]), NEW, "wall"), (new_on(0), NEW, "wall")),
        (f"make land of {BASE:,} on one core, against all {cores()}: wall s", (ONE_CORE, BASE, "wall"), (OURS, BASE, "wall")),
        (f"make query {AFTER_SMALL} of {SMALL}, {AFTER_ONE}: wall s", (f"make query {AFTER_SMALL}", small, "wall"), (f"make query {AFTER_ONE}", small, "wall")),
    ]
    for name, *keys in pairs:
        values = [key and median(*key) for key in keys]
        if all(values):
            yield name, *(f"{value:,.1f}" for value in values), f"{values[0] / values[1]:.2f}"
        else:
            yield name, "", "", "not measured"
    if files_after:
        yield f"files of the largest table {AFTER_SMALL} of {SMALL}", max(files_after), "", ""


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def output_of(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT).stdout.strip()


def conditions():
    """Machine, versions, date, commit and knobs."""
    model = re.search(r"^model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else "", re.MULTILINE)
    jars = sorted(path.stem for path in pathlib.Path(os.environ["JARS"]).glob("*/*.jar") if re.match(r"kafka_2|delta-spark|hadoop-client-mini", path.name))
    packages = [f"{name} {importlib.metadata.version(name)}" for name in ("pyspark", "deltalake", "pyarrow", "hdfs-native", "duckdb")]
    yield "date", f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC"
    yield "commit", output_of("git", "rev-parse", "--short", "HEAD") + (", with changes" if output_of("git", "status", "--porcelain", "--", ".", ":!bench/*.png", ":!bench/results.md") else "")
    yield "baseline", BASELINE or "none"
    yield "knobs", f"MESSAGES={MESSAGES} RUNS={RUNS} BASELINE={BASELINE}"
    yield "real file", os.path.basename(os.environ["DATA"]) if os.path.exists(os.environ["DATA"]) else "not here; data/synthetic.json took its place"
    yield "machine", f"{model[1] if model else platform.machine()}, {cores()} cores, {psutil.virtual_memory().total / 1e9:.0f} GB, {platform.system()} {platform.release()}"
    yield "versions", ", ".join([f"Python {platform.python_version()}", output_of("java", "-version").splitlines()[0].replace('"', ""), *packages, *jars])


def report(finished):
    """Writes bench/results.md and the plots; returns the text."""
    parts = [f"# What landing costs\n\nMade by `make bench`. Each cell: the median of the runs, and the range where there are several. "
             "Memory is the peak of all processes of a command, shared pages counted once; the three servers are not in it. "
             f"The topics have 4 partitions; Spark's driver has 1 GB of heap; the page cache is warm. `{ONE_CORE}` pins the servers to that core too."]
    if not finished:
        parts.append("**Incomplete: the bench did not reach its end.**")
    parts += [f"**Failed: {each}**" for each in broken]
    parts.append("\n".join(f"- {name}: {value}" for name, value in conditions()))
    parts.append("## Ratios\n\n" + table(["what, medians", "first", "second", "first / second"], ratios()))
    parts.append("## Runs\n\n" + table(["what", "messages", "runs", "wall s", "CPU s", "peak MB"],
                 [(what, f"{messages:,}" if messages else "", len(runs), spread([run.wall for run in runs]), spread([run.cpu for run in runs]), spread([run.peak / 1e6 for run in runs], 0))
                  for (what, messages), runs in results.items()]))
    for what, rows in steps.items():
        sides = list(dict.fromkeys(side for _, side in rows))
        parts.append(f"## {what}, seconds\n\n" + table(["step", *sides], [(name, *(spread(rows[name, side]) if (name, side) in rows else "" for side in sides))
                     for name in dict.fromkeys(name for name, _ in rows)]))
    if files:
        parts.append("## Files and bytes\n\nThe current version of each table, and all that its folder holds.\n\n"
                     + table(["whose", "table", "files", "in the folder", "bytes", "in the folder"], [(*row[:2], *(f"{number:,}" for number in row[2:])) for row in files]))
    parts += [f"![{title}]({name}.png)" for name, title in plots()]
    text = "\n\n".join(parts) + "\n"
    (RESULTS / "results.md").write_text(text)
    return text


@contextlib.contextmanager
def draw(name, title, panels):
    """Axes to draw on; saved as bench/<name>.png when the block ends."""
    figure, axes = plt.subplots(1, panels, figsize=(9, 4.2), layout="constrained", squeeze=False)
    for each in axes[0]:
        each.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    yield axes[0]
    figure.savefig(RESULTS / f"{name}.png", dpi=110, metadata={"Software": None})
    plt.close(figure)


def line(axes, x, runs, values, **style):
    """Medians with their ranges as bars."""
    values = [[values(run) for run in each] for each in runs]
    middle = [statistics.median(each) for each in values]
    axes.errorbar(x, middle, [[m - min(v) for m, v in zip(middle, values)], [max(v) - m for m, v in zip(middle, values)]], capsize=2, lw=1.2, ms=5, **style)


def plots():
    """Draws what was measured so far; (name, title) of each plot."""
    sized = {what: [size for size in SIZES if (what, size) in results] for what in (OURS, BEST, USUAL, FLOOR, COUNT)}
    if any(sized.values()):
        title = f"Landing {BASE:,} messages: make land {median(OURS, BASE, 'wall') or 0:.0f} s, the course's best way {median(BEST, BASE, 'wall') or 0:.0f} s"
        with draw("time_and_memory", title, 2) as (time_axes, memory_axes):
            for (what, sizes), style in zip(sized.items(), STYLES):
                runs = [results[what, size] for size in sizes]
                line(time_axes, sizes, runs, lambda run: run.wall, label=what, **style)
                line(memory_axes, sizes, runs, lambda run: run.peak / 1e6, **style)
            time_axes.set(xscale="log", yscale="log", xlabel="messages (logarithmic)", ylabel="wall seconds (logarithmic)")
            memory_axes.set(xscale="log", xlabel="messages (logarithmic)", ylabel="peak memory, MB", ylim=(0, None))
            for axes in time_axes, memory_axes:
                axes.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
                axes.minorticks_off()
            time_axes.figure.legend(frameon=False, loc="outside lower center", ncols=3, fontsize=8)
        yield "time_and_memory", title
    landed = [size for size in (0, *SIZES) if (new_on(size), NEW) in results]
    if landed:
        title = f"{NEW:,} new messages take {median(new_on(0), NEW, 'wall'):.1f} s in an empty feed, and {median(new_on(landed[-1]), NEW, 'wall'):.1f} s where {landed[-1]:,} are landed"
        with draw("thousand_more", title, 1) as (axes,):
            runs = [results[new_on(size), NEW] for size in landed]
            line(axes, range(len(landed)), runs, lambda run: run.wall, label="wall seconds", **STYLES[0])
            line(axes, range(len(landed)), runs, lambda run: run.cpu, label="CPU seconds", **STYLES[1])
            axes.set_xticks(range(len(landed)), [f"{size:,}" for size in landed])
            axes.set(xlabel="messages landed before", ylabel=f"seconds to land {NEW:,} more", ylim=(0, None))
            axes.legend(frameon=False)
        yield "thousand_more", title


# --- from start to end ----------------------------------------------------------------------------

def check_out(old):
    """The baseline's files; it sets itself up."""
    old.root.mkdir()
    with subprocess.Popen(["git", "archive", BASELINE], cwd=ROOT, stdout=subprocess.PIPE) as archive:
        subprocess.run(["tar", "-x", "-C", old.root], stdin=archive.stdout, check=True)


def make_messages(ours):
    """Writes FILE: the increments' messages first, then those of the sizes."""
    count = RUNS * NEW + max(*SIZES, SMALL * SMALL_LANDINGS)
    ours.make("data", SYNTHETIC=count + count // 30 + 100, DATA=WORK / "messages.jsonl")  # some are delivered twice
    seen = set()
    with open(WORK / "messages.jsonl") as lines, open(FILE, "w") as out:
        for line in lines:
            keen_id = json.loads(line)["keen_id"]
            if keen_id not in seen and len(seen) < count:
                out.write(f"{keen_id}\t{line}")
            seen.add(keen_id)
    if len(seen) < count:
        raise feed.Failure(f"only {len(seen):,} of {count:,} synthetic messages are unique", "scripts/synthetic.py makes more duplicates than the bench expects", "raise the share in make_messages, scripts/bench.py")
    (WORK / "messages.jsonl").unlink()


def main():
    if BASELINE and subprocess.run(["git", "rev-parse", "--verify", "--quiet", f"{BASELINE}^{{commit}}"], cwd=ROOT, stdout=subprocess.DEVNULL).returncode:
        raise feed.Failure(f"there is no commit {BASELINE} here", "it came from BASELINE, and git does not know it", "git fetch --unshallow, or correct BASELINE; then again: make bench")
    port = free_ports(20)
    ours, old = Side("ours", ROOT, WORK / "stack", port), Side("baseline", WORK / "baseline", WORK / "baseline/.run-old", port + 5)
    with work_folder([ours, old]):
        print(f"set-up in {WORK}, and {sum(SIZES):,} messages", flush=True)
        ours.set_up()
        if BASELINE:
            check_out(old)
            old.set_up()
        make_messages(ours)
        for step in (lambda: measure_real_file(ours, old if BASELINE else None), lambda: measure_sizes(ours, old if BASELINE else None),
                     lambda: measure_increments(ours), lambda: measure_small_landings(ours)):
            step()
            report(finished=False)
    print("\n" + report(finished=True))
    print(f"written: {RESULTS}/results.md and the plots beside it")
    if broken:
        raise feed.Failure(f"{len(broken)} runs of rivals failed", "; ".join(broken), "their output is above; mend the script in bench/; then again: make bench")


def interrupted(number, _):
    print(f"interrupted by {signal.Signals(number).name}: stopping the bench's stack; bench/results.md holds the parts that were finished", file=sys.stderr, flush=True)
    sys.exit(128 + number)


if __name__ == "__main__":
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, interrupted)
    with feed.report_failures():
        main()
