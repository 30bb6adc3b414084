"""The results of the bench, and how they are shown: bench/results.md and bench/*.png.

scripts/bench.py imports this.
"""

import collections
import contextlib
import datetime
import importlib.metadata
import os
import pathlib
import platform
import re
import statistics
import subprocess
from collections.abc import Callable, Iterable, Iterator

import matplotlib
import psutil

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

import bench_follow
import bench_stack
import config
from bench_stack import Run

NEW = 1000  # messages of one increment
SMALL = 100  # messages of a small landing

# What is measured, as the tables show it.
OURS = "make land: four tables"
ONE_CORE = "make land on one core"
OLD = "make land of the baseline"
BEST = "course's best way: one nested table"
USUAL = "course's usual way: three columns"
FLOOR = "kcat into DuckDB: one local file"
COUNT = "Spark counts the records"
REAL_LAND, REAL_COUNT = "make land: the real file", "Spark counts the real file's records"
AFTER_ONE = "after one landing"

# Lines that can be told apart in black and white.
COLORS, MARKERS = ("0.1", "0.35", "0.5", "0.65", "0.75"), ("o", "s", "^", "D", "x")
STYLES = [
    {"color": color, "marker": marker, "ls": ls}
    for color, marker, ls in zip(COLORS, MARKERS, ("-", "--", ":", "-.", "-"), strict=True)
]


class Results:
    """What one bench measures, and its results so far."""

    def __init__(self, messages: int, repetitions: int, baseline: str):
        self.messages, self.repetitions, self.baseline = messages, repetitions, baseline
        self.base = min(messages, 100_000)
        self.sizes = sorted({max(1, self.base // 10), self.base, messages})
        self.small_landings = 100 if self.base == 100_000 else 2  # few in a quick bench
        self.after_small = f"after {self.small_landings} landings"
        # {(what, messages): [Run, …]}
        self.runs: dict[tuple[str, int], list[Run]] = collections.defaultdict(list)
        # {what: {(step, side): [seconds, …]}}
        self.steps: dict[str, dict[tuple[str, str], list[float]]] = collections.defaultdict(
            lambda: collections.defaultdict(list)
        )
        # (whose, table, files of the current version, files in the folder, bytes of each)
        self.files: list[tuple[str, str, int, int, int, int]] = []
        self.follow_seconds = 120 if self.base == 100_000 else 12  # at each rate
        self.delays: list[bench_follow.Delay] = []
        self.broken: list[str] = []  # runs of rivals that failed

    def median(self, what: str, messages: int, field: str) -> float | None:
        """The median of a field of Run, in seconds or MB; None where nothing was measured."""
        values = [getattr(run, field) for run in self.runs.get((what, messages), ())]
        return statistics.median(values) / (1e6 if field == "peak" else 1) if values else None


def new_on(landed: int) -> str:
    """How the tables show an increment on so many landed messages."""
    return f"make land: new ones, {landed:,} landed"


def folder() -> pathlib.Path:
    """Where the results are written."""
    return bench_stack.root() / "bench"


def spread(values: list[float], digits: int = 1) -> str:
    """The median, and the range if there are several values."""
    median = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return median
    return f"{median} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def table(head: list[str], rows: Iterable[Iterable]) -> str:
    """A Markdown table with aligned columns, which is readable on the screen too."""
    lines = [head, ["---"] * len(head), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in lines) for column in range(len(head))]
    lines[1] = ["-" * (widths[0])] + ["-" * (width - 1) + ":" for width in widths[1:]]
    aligned = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in lines)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in aligned)


def ratios(results: Results) -> Iterator[tuple]:
    """Yields (what is compared, first value, second value, first / second)."""
    real = next((messages for what, messages in results.runs if what == REAL_LAND), 0)
    base, largest, after = results.base, results.sizes[-1], results.after_small
    small = SMALL * results.small_landings

    def ratio(name, first, second, field="wall"):
        values = [key and results.median(*key, field) for key in (first, second)]
        if not all(values):
            return name, "", "", "not measured"
        return name, *(f"{value:,.1f}" for value in values), f"{values[0] / values[1]:.2f}"

    def against_baseline(target, where, messages):
        name = f"{target} {where}, against the baseline: wall s"
        return ratio(name, (f"{target} (ours)", messages), (f"{target} (baseline)", messages))

    land, ours, best, old = f"make land of {base:,}", (OURS, base), (BEST, base), (OLD, base)
    yield ratio(f"{land}, against the course's best way: wall s", ours, best)
    yield ratio("… CPU s", ours, best, "cpu")
    name = "make land of the real file, against a session that counts its records: wall s"
    yield ratio(name, (REAL_LAND, real), (REAL_COUNT, real))
    yield against_baseline("make all", "on the real file", real)
    yield against_baseline("make query", "on the real file", real)
    yield against_baseline("make up", "in an empty run folder", 0)
    yield ratio(f"{land}, against the baseline: wall s", ours, old)
    yield ratio("… CPU s", ours, old, "cpu")
    name = f"peak memory of landing {largest:,}, against {base:,}: MB"
    yield ratio(name, (OURS, largest), ours if largest > base else None, "peak")
    name = f"{NEW:,} new messages on {largest:,} landed, against on nothing: wall s"
    yield ratio(name, (new_on(largest), NEW), (new_on(0), NEW))
    yield ratio(f"{land} on one core, against all {cores()}: wall s", (ONE_CORE, base), ours)
    name = f"make query {after} of {SMALL}, {AFTER_ONE}: wall s"
    yield ratio(name, (f"make query {after}", small), (f"make query {AFTER_ONE}", small))
    if files := [now for whose, _, now, *_ in results.files if whose == after]:
        yield f"files of the largest table {after} of {SMALL}", max(files), "", ""


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def output_of(*command: str) -> str:
    """What a command prints, errors included."""
    done = subprocess.run(
        command, cwd=config.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout.strip()


def conditions(results: Results) -> Iterator[tuple[str, str]]:
    """Yields (name, value) of date, commit, knobs, machine and versions."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    found = cpuinfo.exists() and re.search(
        r"^model name\s*: (.*)", cpuinfo.read_text(), re.MULTILINE
    )
    model = found[1] if found else platform.machine()
    memory, system = psutil.virtual_memory().total, platform.system()
    jars = sorted(
        path.stem
        for path in pathlib.Path(config.JARS).glob("*/*.jar")
        if re.match(r"kafka_2|delta-spark|hadoop-client-mini", path.name)
    )
    packages = [
        f"{name} {importlib.metadata.version(name)}"
        for name in ("pyspark", "deltalake", "pyarrow", "hdfs-native", "duckdb")
    ]
    ours = "--", ".", ":!bench/*.png", ":!bench/results.md"
    changes = ", with changes" if output_of("git", "status", "--porcelain", *ours) else ""
    python = f"Python {platform.python_version()}"
    java = output_of("java", "-version").splitlines()[0].replace('"', "")
    knobs = f"MESSAGES={results.messages} RUNS={results.repetitions} BASELINE={results.baseline}"
    data = "not here; data/synthetic.json took its place"
    if os.path.exists(config.DATA):
        data = os.path.basename(config.DATA)
    yield "date", f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC"
    yield "commit", output_of("git", "rev-parse", "--short", "HEAD") + changes
    yield "baseline", results.baseline or "none"
    yield "knobs", knobs
    yield "real file", data
    yield "machine", f"{model}, {cores()} cores, {memory / 1e9:.0f} GB, {system}"
    yield "versions", ", ".join([python, java, *packages, *jars])


def report(results: Results, finished: bool) -> str:
    """Writes bench/results.md and the plots; returns the text."""
    parts = [
        "# What landing costs\n\nMade by `make bench`. Each cell: the median of the runs, and the "
        "range where there are several. Memory is the peak of all processes of a command, shared "
        "pages counted once; the three servers are not in it. The topics have 4 partitions; "
        "Spark's driver has 1 GB of heap; the page cache is warm. "
        f"`{ONE_CORE}` pins the servers to that core too."
    ]
    if not finished:
        parts.append("**Incomplete: the bench did not reach its end.**")
    parts += [f"**Failed: {each}**" for each in results.broken]
    parts.append("\n".join(f"- {name}: {value}" for name, value in conditions(results)))
    head = ["what, medians", "first", "second", "first / second"]
    parts.append("## Ratios\n\n" + table(head, ratios(results)))
    head = ["what", "messages", "runs", "wall s", "CPU s", "peak MB"]
    rows: list[Iterable] = []
    for (what, messages), runs in results.runs.items():
        costs = [spread([run.wall for run in runs]), spread([run.cpu for run in runs])]
        costs.append(spread([run.peak / 1e6 for run in runs], 0))
        rows.append((what, f"{messages:,}" if messages else "", len(runs), *costs))
    parts.append("## Runs\n\n" + table(head, rows))
    for what, seconds in results.steps.items():
        sides = list(dict.fromkeys(side for _, side in seconds))
        cells = {key: spread(values) for key, values in seconds.items()}
        names = dict.fromkeys(name for name, _ in seconds)
        rows = [[name, *(cells.get((name, side), "") for side in sides)] for name in names]
        parts.append(f"## {what}, seconds\n\n" + table(["step", *sides], rows))
    if results.files:
        head = ["whose", "table", "files", "in the folder", "bytes", "in the folder"]
        rows = [[*row[:2], *(f"{number:,}" for number in row[2:])] for row in results.files]
        parts.append(
            "## Files and bytes\n\nThe current version of each table, and all that its folder "
            "holds.\n\n" + table(head, rows)
        )
    if results.delays:
        head = ["messages a second", "messages", "median s", "99th percentile s", "longest s"]
        rows = [[*each[:2], *(f"{delay:.1f}" for delay in each[2:])] for each in results.delays]
        parts.append("## make follow: from publish to visible\n\n" + table(head, rows))
    parts += [f"![{title}]({name}.png)" for name, title in plots(results)]
    text = "\n\n".join(parts) + "\n"
    (folder() / "results.md").write_text(text)
    return text


@contextlib.contextmanager
def draw(name: str, title: str, panels: int) -> Iterator[list[Axes]]:
    """Axes to draw on; saved as bench/<name>.png when the block ends."""
    figure, axes = plt.subplots(1, panels, figsize=(9, 4.2), layout="constrained", squeeze=False)
    for each in axes[0]:
        each.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    yield axes[0]
    figure.savefig(folder() / f"{name}.png", dpi=110, metadata={"Software": None})
    plt.close(figure)


def line(axes: Axes, x, runs: list[list[Run]], value: Callable[[Run], float], **style) -> None:
    """Draws the medians, with their ranges as bars."""
    values = [[value(run) for run in each] for each in runs]
    middle = [statistics.median(each) for each in values]
    below = [median - min(each) for median, each in zip(middle, values, strict=True)]
    above = [max(each) - median for median, each in zip(middle, values, strict=True)]
    axes.errorbar(x, middle, [below, above], capsize=2, lw=1.2, ms=5, **style)


def plots(results: Results) -> Iterator[tuple[str, str]]:
    """Draws what was measured so far; yields (name, title) of each plot."""

    def wall_s(what, messages):
        return results.median(what, messages, "wall") or 0

    base, sizes, runs = results.base, results.sizes, results.runs
    sized = {
        what: [size for size in sizes if (what, size) in runs]
        for what in (OURS, BEST, USUAL, FLOOR, COUNT)
    }
    if any(sized.values()):
        title = (
            f"Landing {base:,} messages: make land {wall_s(OURS, base):.0f} s, "
            f"the course's best way {wall_s(BEST, base):.0f} s"
        )
        with draw("time_and_memory", title, 2) as (time_axes, memory_axes):
            for (what, at), style in zip(sized.items(), STYLES, strict=True):
                of_size = [runs[what, size] for size in at]
                line(time_axes, at, of_size, lambda run: run.wall, label=what, **style)
                line(memory_axes, at, of_size, lambda run: run.peak / 1e6, **style)
            time_axes.set(yscale="log", ylabel="wall seconds (logarithmic)")
            memory_axes.set(ylabel="peak memory, MB", ylim=(0, None))
            for axes in time_axes, memory_axes:
                axes.set(xscale="log", xlabel="messages (logarithmic)")
                axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
                axes.minorticks_off()
            time_axes.figure.legend(frameon=False, loc="outside lower center", ncols=3, fontsize=8)
        yield "time_and_memory", title
    landed = [size for size in (0, *sizes) if (new_on(size), NEW) in runs]
    if landed:
        title = (
            f"{NEW:,} new messages take {wall_s(new_on(0), NEW):.1f} s in an empty feed, and "
            f"{wall_s(new_on(landed[-1]), NEW):.1f} s where {landed[-1]:,} are landed"
        )
        with draw("thousand_more", title, 1) as (axes,):
            x, increments = range(len(landed)), [runs[new_on(size), NEW] for size in landed]
            line(axes, x, increments, lambda run: run.wall, label="wall seconds", **STYLES[0])
            line(axes, x, increments, lambda run: run.cpu, label="CPU seconds", **STYLES[1])
            axes.set_xticks(x, [f"{size:,}" for size in landed])
            axes.set(xlabel="messages landed before", ylabel=f"seconds to land {NEW:,} more")
            axes.set(ylim=(0, None))
            axes.legend(frameon=False)
        yield "thousand_more", title
