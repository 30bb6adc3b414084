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
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

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
    lines: list[tuple[float, str]]  # (second, line of output)


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


class Usage:
    """Memory and CPU time of all processes of a session, from samples."""

    def __init__(self, session: int):
        self.session, self.peak, self.highest = session, 0.0, 0

    def sample(self) -> float | None:
        """Updates the peak. Returns CPU seconds, including reaped children; None if all ended."""
        cpu, resident, processes = 0.0, 0, []
        for process in processes_of(self.session):
            with contextlib.suppress(psutil.Error):
                cpu += sum(process.cpu_times()[:4])
                resident += process.memory_info().rss
                processes.append(process)
        # PSS, which counts shared pages once, is slow to get: only when the sum of RSS has grown.
        if resident > 1.02 * self.highest:
            self.highest, shared_out = resident, 0
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    memory = process.memory_full_info()
                    shared_out += getattr(memory, "pss", memory.rss)
            self.peak = max(self.peak, shared_out / 1e6)
        return cpu if processes else None


def measure(
    command: list[str], folder: pathlib.Path, environment: dict[str, str]
) -> tuple[Run, int]:
    """Runs a command. Returns its Run and its exit code."""
    how: dict[str, Any] = {"cwd": folder, "env": environment, "start_new_session": True}
    how |= {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    child = subprocess.Popen(command, text=True, errors="replace", **how)
    begin, cpu, orphans = time.monotonic(), cpu_of_children(), 0.0
    usage, ended, lines = Usage(child.pid), threading.Event(), list[tuple[float, str]]()

    def read() -> None:
        for line in child.stdout or ():
            lines.append((time.monotonic() - begin, line.rstrip("\n")))

    def sample() -> None:
        while not ended.wait(SAMPLE_S):
            usage.sample()

    reader, sampler = (threading.Thread(target=each, daemon=True) for each in (read, sample))
    try:
        reader.start()
        sampler.start()
        code = child.wait()
        wall, cpu = time.monotonic() - begin, cpu_of_children() - cpu
        ended.set()
        sampler.join()
        # PySpark's JVM outlives it for a moment, and is not among the children.
        while (used := usage.sample()) is not None and time.monotonic() < begin + wall + 30:
            orphans = max(orphans, used)
            time.sleep(0.05)  # between two samples
    finally:
        ended.set()
        kill(processes_of(child.pid))  # only after an interrupt or a hang
    reader.join(5)
    return Run(wall, cpu + orphans, usage.peak, lines), code


def cpu_of_children() -> float:
    """CPU seconds of the children of this process that have ended, and of theirs."""
    return sum(os.times()[2:4])


def kill(found: list[psutil.Process]) -> None:
    """Kills the processes, and waits until they have ended."""
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(found, 30)


class Side:
    """A checkout of the project, and its stack: ours, or that of the baseline."""

    def __init__(self, name: str, folder: pathlib.Path, run_dir: pathlib.Path, port: int):
        self.name, self.root, self.run_dir = name, folder, run_dir
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
        environment |= {"PATH": ":".join(path), "PYTHONUNBUFFERED": "1"}  # each line has its time
        return environment | self.knobs | {name: str(value) for name, value in knobs.items()}

    def run(self, command: list[str], **knobs: object) -> Run:
        """Runs a command with these knobs. Raises Failure when the command fails."""
        run, code = measure(command, self.root, self.environment(**knobs))
        if code:
            logs = settings.load().in_run_dir("logs", "bench")
            shutil.rmtree(logs, ignore_errors=True)
            shutil.copytree(self.run_dir / "logs", logs)
            print("\n".join(f"    {line[:300]}" for _, line in run.lines[-20:]), file=sys.stderr)
            raise Failure(
                f"{' '.join(command)} ended with {code}",
                f"the end of its output is above; the logs are kept in {logs}",
                "try that step alone, without the bench; then again: make bench",
            )
        return run

    def make(self, target: str, **knobs: object) -> Run:
        return self.run(["make", target], **knobs)

    def in_environment(self, *command: str) -> list[str]:
        """The command, run by the env.sh of this checkout."""
        folders = "scripts", "scripts/lib"  # the second: in older commits
        places = [f"{folder}/env.sh" for folder in folders]
        return [next(place for place in places if (self.root / place).exists()), *command]

    def script(self, command: list[str], **knobs: object) -> Run:
        return self.run(self.in_environment(*command), **knobs)

    def script_on_one_core(self, command: list[str], **knobs: object) -> Run:
        """As script(), with the servers and the command on the same core."""
        cores = [str(core) for core in sorted(os.sched_getaffinity(0))]

        def pin_servers(to: list[str]) -> None:
            for path in (self.run_dir / "pids").iterdir():
                where = [",".join(to), path.read_text().split()[0]]
                pin = ["taskset", "--all-tasks", "--cpu-list", "--pid", *where]
                subprocess.run(pin, check=True, stdout=subprocess.DEVNULL)

        pin_servers(cores[:1])
        try:
            pin = ["taskset", "--cpu-list", cores[0]]
            return self.run([*pin, *self.in_environment(*command)], **knobs)
        finally:
            pin_servers(cores)

    def set_up(self) -> None:
        self.make("setup")
        self.kept = set(os.listdir(self.run_dir))

    def empty(self) -> None:
        """Stops the stack, and leaves in the run folder only what set-up put there."""
        self.make("down")
        for name in set(os.listdir(self.run_dir)) - self.kept:
            delete(self.run_dir / name)

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

    def sizes_in(self, folder: str) -> list[int]:
        """The bytes of each Parquet file of data below a folder in HDFS, outdated ones included."""
        client = hdfs_native.Client(self.settings.hdfs)
        return [
            file.length
            for file in client.list_status(folder, recursive=True)
            if file.path.endswith(".parquet") and "_delta_log" not in file.path
        ]


def delete(path: pathlib.Path) -> None:
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
        for path in WORK.iterdir():
            if path != marker:
                delete(path)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave servers
            kill(processes(is_ours))
            shutil.rmtree(WORK)
