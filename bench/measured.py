"""The results of the bench, and how they are shown: bench/results.md."""

import collections
import datetime
import operator
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Iterator, Sequence

import psutil

from pipeline.settings import ROOT, Settings
from stack import Run

PAGE = ROOT / "bench/results.md"
NEW = 1000  # messages of one increment

# What is measured, as the tables show it.
OURS = "make land: four tables"
ONE_CORE = "make land on one core"
BASELINE = ", the baseline"  # ends the name of what the baseline does
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


class Results:
    """What one bench measures, and its results so far."""

    def __init__(self, settings: Settings):
        self.conditions = conditions(settings)
        self.base = min(settings.messages, 100_000)
        # Fewer messages are a trial of the bench: each part once, as short as possible.
        is_trial = self.base < 100_000
        smallest = self.base if is_trial else self.base // 10
        self.half = max(self.base, settings.messages // 2)
        self.sizes = sorted({smallest, self.base, self.half, settings.messages})
        # The messages of the smallest size, landed in so many parts.
        self.small_landings = 2 if is_trial else 100
        self.small = max(1, self.sizes[0] // self.small_landings)
        self.after_small = f"after {self.small_landings} landings"
        self.follow_seconds = 2 if is_trial else 120  # at each rate
        self.clients = 1 if is_trial else 4  # of the server of make serve, beside a landing
        # Until that server has given back what queries left (Memory in serving/server.py).
        self.rest_seconds = 0 if is_trial else 330
        self.real = 0  # messages of the real file
        self.runs = collections.defaultdict[tuple[str, int], list[Run]](list)  # what, messages
        self.files: list[tuple[str, str, int, int]] = []  # whose, table, files, bytes
        self.delays: list[tuple[float, ...]] = []  # as the table shows them
        self.broken: list[str] = []  # runs of rivals that failed

    def note(self, what: str, messages: int, run: Run) -> None:
        """Keeps and prints the cost of a command that landed or read so many messages."""
        self.runs[what, messages].append(run)
        print(
            f"  {what:<46} {messages:>9,} messages   wall {run.wall:7.1f} s   CPU {run.cpu:7.1f} s"
            f"   peak {run.peak:7,.0f} MB",
            flush=True,
        )

    def costs(self, what: str, messages: int) -> list[tuple[float, ...]]:
        """[wall s of each run], [CPU s …], [peak MB …]"""
        return list(zip(*(run[:3] for run in self.runs[what, messages]), strict=True))


def new_on(landed: int) -> str:
    """How the tables show an increment on so many landed messages."""
    return f"make land: new ones, {landed:,} landed"


def conditions(settings: Settings) -> str:
    changes = subprocess.getoutput("git status --porcelain -- . ':!bench/results.md'")
    commit = subprocess.getoutput("git rev-parse --short HEAD")
    java = subprocess.getoutput("java -version").partition("\n")[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    knobs = (f"{name}={settings.text(name)}" for name in ("MESSAGES", "RUNS", "BASELINE", "DATA"))
    return f"""\
- date: {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC
- commit: {commit}{", with changes" if changes else ""}
- knobs: {" ".join(knobs)}
- machine: {cores} cores, {psutil.virtual_memory().total / 1e9:.0f} GB, {platform.platform()}
- versions: Python {platform.python_version()}, {java}"""


def report(results: Results, finished: bool) -> str:
    """Writes bench/results.md with what was measured so far; returns the text."""
    parts = [INTRODUCTION]
    if not finished:
        parts.append("**Incomplete: the bench did not reach its end.**")
    parts += [f"**Failed: {each}**" for each in results.broken]
    text = "\n\n".join([*parts, results.conditions, *tables(results)]) + "\n"
    PAGE.write_text(text)
    return text


def tables(results: Results) -> Iterator[str]:
    head = ["what", "messages", "against", "messages", "wall", "CPU", "peak memory"]
    yield table("Ratios of the medians", head, ratios(results))
    rows: list[Sequence[object]] = []
    for (what, messages), runs in results.runs.items():
        costs = map(spread, results.costs(what, messages), (1, 1, 0))
        rows.append((what, messages, len(runs), *costs))
    yield table("Runs", ["what", "messages", "runs", "wall s", "CPU s", "peak MB"], rows)
    yield table("Files and bytes", ["whose", "table", "files", "bytes"], results.files)
    head = ["messages a second", "messages", "median s", "99th percentile s", "longest s"]
    yield table("make follow: from publish to visible", head, results.delays)


def table(title: str, head: list[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table with aligned columns, which is readable on the screen too."""
    lines = [head]
    for row in rows:
        lines.append([cell if isinstance(cell, str) else f"{cell:,}" for cell in row])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    aligned = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in lines)
    return f"## {title}\n\n" + "\n".join("| " + " | ".join(cells) + " |" for cells in aligned)


def spread(values: Sequence[float], digits: int) -> str:
    """The median, and the range if there are several values."""
    median = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return median
    return f"{median} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def ratios(results: Results) -> Iterator[tuple[object, ...]]:
    """Yields (what, messages, against what, messages, ratios of wall time, CPU time and memory).

    The last rows, of what further messages cost, have no memory.
    """

    def medians(measured: tuple[str, int]) -> list[float]:
        return [statistics.median(values) for values in results.costs(*measured)]

    base, half = results.base, results.half
    largest, small = results.sizes[-1], results.sizes[0]
    pairs = [((OURS, size), (BEST, size)) for size in results.sizes]
    pairs += [
        ((REAL_LAND, results.real), (REAL_COUNT, results.real)),
        ((OURS, largest), (OURS, base)),
        ((ONE_CORE, half), (OURS, half)),
        ((new_on(largest), NEW), (new_on(0), NEW)),
        ((f"make query {results.after_small}", small), (f"make query {AFTER_ONE}", small)),
    ]
    for what, messages in results.runs:
        if what.endswith(BASELINE):
            pairs.append(((what.removesuffix(BASELINE), messages), (what, messages)))
    for first, second in pairs:
        if first != second and first in results.runs and second in results.runs:
            both = zip(medians(first), medians(second), strict=True)
            yield *first, *second, *(f"{one / other:.2f}" for one, other in both)
    for size in results.sizes:
        if size > base and {(OURS, size), (BEST, size)} <= results.runs.keys():
            (wall, cpu, _), (their_wall, their_cpu, _) = (
                map(operator.sub, medians((what, size)), medians((what, base)))
                for what in (OURS, BEST)
            )
            what, more = f"{OURS}, those after {base:,}", size - base
            yield what, more, BEST, more, f"{wall / their_wall:.2f}", f"{cpu / their_cpu:.2f}", ""
