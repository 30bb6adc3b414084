"""The results of the bench, and how they are shown: bench/results.md and bench/*.png."""

import collections
import datetime
import importlib.metadata
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import matplotlib
import psutil

matplotlib.use("agg")
import matplotlib.pyplot as plt

from pipeline.settings import ROOT, Settings
from stack import Run

FOLDER = ROOT / "bench"
NEW = 1000  # messages of one increment

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

INTRODUCTION = f"""# What landing costs

Made by `make bench`. Each cell: the median of the runs, and the \
range where there are several. Memory is the peak of all processes of a command, shared \
pages counted once; the three servers are not in it. The topics have 4 partitions; \
Spark's driver has 1 GB of heap; the page cache is warm. \
`{ONE_CORE}` pins the servers to that core too."""

# {color: marker and style} of lines that can be told apart in black and white.
STYLES = {"0.1": "o-", "0.35": "s--", "0.5": "^:", "0.65": "D-.", "0.75": "x-"}


class Files(NamedTuple):
    """The bytes of each file of a table: of its current version, and of all in its folder."""

    whose: str
    table: str
    current: list[int]
    in_folder: list[int]


class Delay(NamedTuple):
    """From publish to visible, in seconds."""

    rate: int
    messages: int
    median: float
    percentile_99: float
    longest: float


class Results:
    """What one bench measures, and its results so far."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.base = min(settings.messages, 100_000)
        self.sizes = sorted({max(1, self.base // 10), self.base, settings.messages})
        is_quick = self.base < 100_000
        # The messages of the smallest size, landed in so many parts.
        self.small_landings = 2 if is_quick else 100
        self.small = max(1, self.sizes[0] // self.small_landings)
        self.after_small = f"after {self.small_landings} landings"
        self.follow_seconds = 12 if is_quick else 120  # at each rate
        # {(what, messages): [Run, …]}
        self.runs: dict[tuple[str, int], list[Run]] = collections.defaultdict(list)
        # {what: {(step, side): [seconds, …]}}
        self.steps: dict[str, dict[tuple[str, str], list[float]]] = collections.defaultdict(
            lambda: collections.defaultdict(list)
        )
        self.files: list[Files] = []
        self.delays: list[Delay] = []
        self.broken: list[str] = []  # runs of rivals that failed

    def note(self, what: str, messages: int, run: Run) -> None:
        """Keeps and prints the cost of a command that landed or read so many messages."""
        self.runs[what, messages].append(run)
        print(
            f"  {what:<46} {messages:>9,} messages   wall {run.wall:7.1f} s   CPU {run.cpu:7.1f} s"
            f"   peak {run.peak:7,.0f} MB",
            flush=True,
        )

    def values(self, what: str, messages: int, field: str) -> list[float]:
        """A field of each Run; empty where nothing was measured."""
        return [getattr(run, field) for run in self.runs.get((what, messages), ())]


def new_on(landed: int) -> str:
    """How the tables show an increment on so many landed messages."""
    return f"make land: new ones, {landed:,} landed"


# --- the page -------------------------------------------------------------------------------------


def report(results: Results, finished: bool) -> str:
    """Writes bench/results.md and the plots; returns the text."""
    parts = [INTRODUCTION]
    if not finished:
        parts.append("**Incomplete: the bench did not reach its end.**")
    parts += [f"**Failed: {each}**" for each in results.broken]
    parts.append("\n".join(f"- {name}: {value}" for name, value in conditions(results.settings)))
    parts += [f"## {title}\n\n{text}" for title, text in sections(results)]
    parts += [f"![{title}]({name}.png)" for name, title in plots(results)]
    text = "\n\n".join(parts) + "\n"
    (FOLDER / "results.md").write_text(text)
    return text


def sections(results: Results) -> Iterator[tuple[str, str]]:
    """Yields (title, table) of what was measured so far."""
    yield "Ratios", table(["what, medians", "first", "second", "first / second"], ratios(results))
    rows: list[Sequence[object]] = []
    for (what, messages), runs in results.runs.items():
        wall, cpu, peak = (results.values(what, messages, field) for field in Run._fields[:3])
        costs = spread(wall), spread(cpu), spread(peak, 0)
        rows.append((what, f"{messages:,}" if messages else "", len(runs), *costs))
    yield "Runs", table(["what", "messages", "runs", "wall s", "CPU s", "peak MB"], rows)
    for what, seconds in results.steps.items():
        cells = {key: spread(values) for key, values in seconds.items()}
        steps, sides = (list(dict.fromkeys(names)) for names in zip(*seconds, strict=True))
        rows = [(step, *(cells.get((step, side), "") for side in sides)) for step in steps]
        yield f"{what}, seconds", table(["step", *sides], rows)
    if results.files:
        remark = "The current version of each table, and all that its folder holds.\n\n"
        rows = [
            (whose, table, *(f"{number(sizes):,}" for number in (len, sum) for sizes in both))
            for whose, table, *both in results.files
        ]
        head = ["whose", "table", "files", "in the folder", "bytes", "in the folder"]
        yield "Files and bytes", remark + table(head, rows)
    if results.delays:
        rows = [(*each[:2], *(f"{delay:.1f}" for delay in each[2:])) for each in results.delays]
        head = ["messages a second", "messages", "median s", "99th percentile s", "longest s"]
        yield "make follow: from publish to visible", table(head, rows)


def table(head: list[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table with aligned columns, which is readable on the screen too."""
    lines = [head, ["---"] * len(head), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in lines) for column in range(len(head))]
    lines[1] = ["-" * (widths[0])] + ["-" * (width - 1) + ":" for width in widths[1:]]
    aligned = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in lines)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in aligned)


def spread(values: list[float], digits: int = 1) -> str:
    """The median, and the range if there are several values."""
    median = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return median
    return f"{median} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def ratios(results: Results) -> Iterator[tuple[object, ...]]:
    """Yields (what is compared, first value, second value, first / second)."""
    base, largest, after = results.base, results.sizes[-1], results.after_small
    real = next((messages for what, messages in results.runs if what == REAL_LAND), 0)
    land, ours, best, old = f"make land of {base:,}", (OURS, base), (BEST, base), (OLD, base)

    def ratio(
        name: str, first: tuple[str, int], second: tuple[str, int], field: str = "wall"
    ) -> tuple[str, ...]:
        values = results.values(*first, field), results.values(*second, field)
        if not all(values):
            return name, "", "", "not measured"
        one, other = map(statistics.median, values)
        return name, f"{one:,.1f}", f"{other:,.1f}", f"{one / other:.2f}"

    yield ratio(f"{land}, against the course's best way: wall s", ours, best)
    yield ratio("… CPU s", ours, best, "cpu")
    name = "make land of the real file, against a session that counts its records: wall s"
    yield ratio(name, (REAL_LAND, real), (REAL_COUNT, real))
    for target, where, messages in (
        ("make all", "on the real file", real),
        ("make query", "on the real file", real),
        ("make up", "in an empty run folder", 0),
    ):
        sides = (f"{target} (ours)", messages), (f"{target} (baseline)", messages)
        yield ratio(f"{target} {where}, against the baseline: wall s", *sides)
    yield ratio(f"{land}, against the baseline: wall s", ours, old)
    yield ratio("… CPU s", ours, old, "cpu")
    name = f"peak memory of landing {largest:,}, against {base:,}: MB"
    yield ratio(name, (OURS, largest), ours if largest > base else ("", 0), "peak")
    name = f"{NEW:,} new messages on {largest:,} landed, against on nothing: wall s"
    yield ratio(name, (new_on(largest), NEW), (new_on(0), NEW))
    yield ratio(f"{land} on one core, against all {cores()}: wall s", (ONE_CORE, base), ours)
    small, name = results.sizes[0], f"make query {after} of {results.small}, {AFTER_ONE}: wall s"
    yield ratio(name, (f"make query {after}", small), (f"make query {AFTER_ONE}", small))
    if files := [len(each.current) for each in results.files if each.whose == after]:
        yield f"files of the largest table {after} of {results.small}", max(files), "", ""


def cores() -> int | None:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def output_of(*command: str) -> str:
    """What a command prints, errors included."""
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout.strip()


def conditions(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yields (name, value) of date, commit, knobs, machine and versions."""
    model = re.search(r"(?m)^model name\s*: (.*)", output_of("cat", "/proc/cpuinfo"))
    machine = model[1] if model else platform.machine()
    memory, system = psutil.virtual_memory().total, platform.system()
    jars = sorted(
        path.stem
        for path in settings.jars.glob("*/*.jar")
        if re.match(r"kafka_2|delta-spark|hadoop-client-mini", path.name)
    )
    names = "pyspark", "deltalake", "pyarrow", "hdfs-native", "duckdb"
    packages = [f"{name} {importlib.metadata.version(name)}" for name in names]
    ours = "--", ".", ":!bench/*.png", ":!bench/results.md"
    changes = ", with changes" if output_of("git", "status", "--porcelain", *ours) else ""
    java = output_of("java", "-version").splitlines()[0].replace('"', "")
    knobs = (f"{name}={settings.text(name)}" for name in ("MESSAGES", "RUNS", "BASELINE"))
    is_here, instead = os.path.exists(settings.data), "not here; data/synthetic.json took its place"
    yield "date", f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC"
    yield "commit", output_of("git", "rev-parse", "--short", "HEAD") + changes
    yield "baseline", settings.baseline or "none"
    yield "knobs", " ".join(knobs)
    yield "real file", os.path.basename(settings.data) if is_here else instead
    yield "machine", f"{machine}, {cores()} cores, {memory / 1e9:.0f} GB, {system}"
    yield "versions", ", ".join([f"Python {platform.python_version()}", java, *packages, *jars])


# --- the plots ------------------------------------------------------------------------------------

Line = dict[str, list[float]]  # {place on the x axis: values}


def plots(results: Results) -> Iterator[tuple[str, str]]:
    """Draws what was measured so far; yields (name, title) of each plot."""

    def line(keys: dict[int, tuple[str, int]], field: str) -> Line:
        places = {f"{place:,}": results.values(*key, field) for place, key in keys.items()}
        return {place: values for place, values in places.items() if values}

    def by_size(field: str) -> dict[str, Line]:
        contenders = (OURS, BEST, USUAL, FLOOR, COUNT)
        return {
            what: line({size: (what, size) for size in results.sizes}, field) for what in contenders
        }

    if any(by_size("wall").values()):
        base = (results.values(what, results.base, "wall") or [0] for what in (OURS, BEST))
        ours, best = map(statistics.median, base)
        title = f"Landing {results.base:,} messages: make land {ours:.0f} s, "
        title += f"the course's best way {best:.0f} s"
        panels = {"wall seconds (logarithmic)": by_size("wall"), "peak memory, MB": by_size("peak")}
        yield draw("time_and_memory", title, "messages", panels)
    increments = {size: (new_on(size), NEW) for size in (0, *results.sizes)}
    if walls := line(increments, "wall"):
        medians = [*map(statistics.median, walls.values())]
        title = f"{NEW:,} new messages take {medians[0]:.1f} s in an empty feed, and "
        title += f"{medians[-1]:.1f} s where {[*walls][-1]} are landed"
        lines = {"wall seconds": walls, "CPU seconds": line(increments, "cpu")}
        panels = {f"seconds to land {NEW:,} more": lines}
        yield draw("thousand_more", title, "messages landed before", panels)


def draw(name: str, title: str, xlabel: str, panels: dict[str, dict[str, Line]]) -> tuple[str, str]:
    """Saves bench/<name>.png: the medians, with their ranges as bars. panels: {y label: lines}"""
    figure, row = plt.subplots(
        1, len(panels), figsize=(9, 4.2), layout="constrained", squeeze=False
    )
    for axes, (ylabel, lines) in zip(row[0], panels.items(), strict=True):
        for (label, line), (color, style) in zip(lines.items(), STYLES.items(), strict=False):
            x, values = list(line), line.values()
            axes.vlines(x, [*map(min, values)], [*map(max, values)], color=color)
            axes.plot(x, [*map(statistics.median, values)], style, color=color, label=label)
        is_log = "logarithmic" in ylabel
        axes.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if is_log else "linear")
        axes.set(ylim=(None if is_log else 0, None))
        axes.spines[["top", "right"]].set_visible(False)
    labels = axes.get_legend_handles_labels()
    figure.legend(*labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    figure.savefig(FOLDER / f"{name}.png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    return name, title
