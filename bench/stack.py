"""The stacks of the bench, and what a command costs there: wall and CPU time, memory."""

import collections
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, NamedTuple

import deltalake
import hdfs_native
import psutil

from pipeline import files, settings
from pipeline.errors import Failure
from pipeline.settings import ROOT

WORK = ROOT / ".run-bench"
SAMPLE_S = 0.2
# Variables of the user's environment that a command gets.
KEPT = re.compile(
    r"HOME|PATH|TERM|PIP_\w+|SSL_CERT_\w+|\w+_CA_BUNDLE|(https?|no|all)_proxy", re.IGNORECASE
)
LAND = ["python", "scripts/land.py"]  # for env.sh, in every version


class Run(NamedTuple):
    """The cost of a command."""

    wall: float  # seconds
    cpu: float  # seconds
    peak: float  # MB
    output: str


def processes(are_wanted: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if are_wanted(process):
                found.append(process)
    return found


def processes_of(session: int) -> list[psutil.Process]:
    """The processes of a session: a command and its orphans, but no servers, which have others."""
    return processes(lambda process: os.getsid(process.pid) == session)


def total(found: Iterable[psutil.Process], value: Callable[[psutil.Process], float]) -> float:
    """The sum over the processes that have not ended."""
    added = 0.0
    for process in found:
        with contextlib.suppress(psutil.Error):
            added += value(process)
    return added


def memory(found: Iterable[psutil.Process]) -> float:
    """MB, with shared pages counted once; 0 where the system does not tell (macOS)."""
    return total(found, lambda process: getattr(process.memory_full_info(), "pss", 0) / 1e6)


def kill(found: list[psutil.Process]) -> None:
    """Kills the processes, and waits until they have ended."""
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(found, 30)


def measure(child: subprocess.Popen[bytes]) -> tuple[float, float, float]:
    """Waits for a command that leads a session. Returns wall seconds, CPU seconds and peak MB."""
    begin, ended, orphans, peak = time.monotonic(), threading.Event(), 0.0, 0.0

    def sample() -> None:
        nonlocal peak
        highest = 0.0
        while not ended.wait(SAMPLE_S):
            found = processes_of(child.pid)
            resident = total(found, lambda process: process.memory_info().rss)
            if resident > 1.02 * highest:  # as rarely as possible: memory() is slow
                highest, peak = resident, max(peak, memory(found))

    sampler = threading.Thread(target=sample, daemon=True)
    try:
        sampler.start()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - begin
        # PySpark's JVM outlives it for a moment, and is not among the children.
        while (left := processes_of(child.pid)) and time.monotonic() < begin + wall + 30:
            cpu = total(left, lambda process: sum(process.cpu_times()[:4]))
            orphans = max(orphans, cpu)
            time.sleep(0.05)  # between two samples
    finally:
        ended.set()
        kill(processes_of(child.pid))  # only after an interrupt or a hang
    sampler.join()
    return wall, used.ru_utime + used.ru_stime + orphans, peak


class Side:
    """A checkout of the project, and its stack: ours, or that of the baseline."""

    def __init__(self, folder: pathlib.Path, run_dir: pathlib.Path, port: int):
        self.root, self.run_dir = folder, run_dir
        self.knobs = {
            "RUN_DIR": str(run_dir),
            "KAFKA": f"127.0.0.1:{port}",
            "HDFS": f"hdfs://127.0.0.1:{port + 10}",
        }
        self.settings = settings.read(self.knobs)
        self.kept: set[str] = set()  # what set-up puts into the run folder
        self.published: collections.Counter[str] = collections.Counter()  # {topic: messages}

    def environment(self, **knobs: object) -> dict[str, str]:
        """The environment of a command with these knobs."""
        # Without the settings of our env.sh, which an older baseline would take for its own.
        environment = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
        environment["HOME"] = os.environ.get("USER_HOME") or environment["HOME"]
        path = [part for part in os.environ["PATH"].split(":") if not part.startswith(str(ROOT))]
        environment |= {"PATH": ":".join(path)} | self.knobs
        return environment | {name: str(value) for name, value in knobs.items()}

    def start(self, command: list[str], log: IO[str], **knobs: object) -> subprocess.Popen[bytes]:
        """Starts a command with these knobs, in a session of its own."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment(**knobs),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, command: list[str], **knobs: object) -> Run:
        """Runs a command with these knobs. Raises Failure when the command fails."""
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            child = self.start(command, output, **knobs)
            costs = measure(child)
            output.seek(0)
            text = output.read()
        if child.returncode:
            logs = settings.load().in_run_dir("logs", "bench")
            shutil.rmtree(logs, ignore_errors=True)
            shutil.copytree(self.run_dir / "logs", logs)
            last = text.splitlines()[-20:]
            print("\n".join(f"    {line[:300]}" for line in last), file=sys.stderr)
            raise Failure(
                f"{' '.join(command)} ended with {child.returncode}",
                f"the end of its output is above; the logs are kept in {logs}",
                "try that step alone, without the bench; then again: make bench",
            )
        return Run(*costs, text)

    def make(self, target: str, **knobs: object) -> Run:
        return self.run(["make", target], **knobs)

    def in_environment(self, *command: str) -> list[str]:
        """The command, run by the env.sh of this checkout."""
        is_new = (self.root / "scripts/env.sh").exists()
        return ["scripts/env.sh" if is_new else "scripts/lib/env.sh", *command]

    def script(self, command: list[str], **knobs: object) -> Run:
        return self.run(self.in_environment(*command), **knobs)

    def pin_servers(self, cores: list[int]) -> None:
        """Lets the servers run on these cores only."""
        pin = ["taskset", "--all-tasks", "--cpu-list", "--pid", ",".join(map(str, cores))]
        for path in (self.run_dir / "pids").iterdir():
            subprocess.run([*pin, path.read_text().split()[0]], check=True, capture_output=True)

    def set_up(self) -> None:
        self.make("setup")
        self.kept = set(os.listdir(self.run_dir))

    def empty(self) -> None:
        """Stops the stack, and leaves in the run folder only what set-up put there."""
        self.make("down")
        clear(self.run_dir, self.kept)

    def remove_feed(self, topic: str) -> None:
        feed = self.settings.feed(topic)
        with contextlib.suppress(FileNotFoundError):
            hdfs_native.Client(feed.hdfs).delete(feed.folder(), recursive=True)

    def publish(self, topic: str, path: pathlib.Path, first: int, count: int) -> None:
        """Publishes `count` lines of a file from line `first`; a line is key, tab, message."""
        if topic not in self.published:
            self.make("topic", TOPIC=topic, PARTITIONS=4)
        lines = f"sed -n '{first + 1},{first + count}p; {first + count}q' {path}"
        send = "kcat -P -b $KAFKA -t $TOPIC -K '\\t' -X acks=all -X enable.idempotence=true"
        self.script(["sh", "-c", f"{lines} | {send}"], TOPIC=topic)
        self.published[topic] += count

    def table(self, topic: str, name: str) -> deltalake.DeltaTable:
        return deltalake.DeltaTable(self.settings.feed(topic).path(name))


def clear(folder: pathlib.Path, kept: set[str]) -> None:
    """Deletes what is in a folder, except for these names."""
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextlib.contextmanager
def work_folder() -> Iterator[None]:
    """Creates .run-bench and removes it at the end. Raises Failure while another bench runs."""
    marker = WORK / "bench-folder"
    if WORK.exists() and not marker.exists():
        raise Failure(
            f"{WORK} holds something else",
            "make bench would delete it",
            "move it to another name; then again: make bench",
        )
    WORK.mkdir(mode=0o700, exist_ok=True)

    def held(_: str) -> None:
        raise Failure(
            "another make bench is running here",
            f"it holds {marker}",
            "wait until it is done; then again: make bench",
        )

    def is_ours(process: psutil.Process) -> bool:
        return str(process.environ().get("RUN_DIR")).startswith(f"{WORK}/")

    with files.locked(marker, held):
        kill(processes(is_ours))  # a killed bench may have left servers and a command
        clear(WORK, {marker.name})
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave servers
            kill(processes(is_ours))
            shutil.rmtree(WORK)
