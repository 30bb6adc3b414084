"""The stacks of scripts/bench.py, and what a command costs there: wall and CPU time, memory."""

import collections
import contextlib
import fcntl
import itertools
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import deltalake
import hdfs_native
import psutil

import config
import errors

SAMPLE_S = 0.2
# Variables of the user's environment that a command gets.
KEPT = re.compile(
    r"HOME|PATH|TERM|PIP_\w+|SSL_CERT_\w+|\w+_CA_BUNDLE|(https?|no|all)_proxy", re.IGNORECASE
)


class Run(NamedTuple):
    """The cost of a command."""

    wall: float  # seconds
    cpu: float  # seconds
    peak: int  # bytes
    lines: list[tuple[float, str]]  # (second, line of output)


def root() -> pathlib.Path:
    """The folder of this project."""
    return pathlib.Path(config.ROOT)


def work() -> pathlib.Path:
    """The folder of the bench."""
    return root() / ".run-bench"


def _running() -> pathlib.Path:
    """The file with the session of the command that was started last."""
    return work() / "running"


def processes_of(session: int | None) -> Iterator[psutil.Process]:
    """The processes of a session: a command and its orphans, but no servers, which have others."""
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(pid) == session:
                yield psutil.Process(pid)


class Usage:
    """Memory and CPU time of all processes of a session, from samples."""

    def __init__(self, session: int):
        self.session, self.peak, self.highest = session, 0, 0

    def sample(self) -> float | None:
        """Updates the peak. Returns CPU seconds, including reaped children; None if all ended."""
        cpu, resident, processes = 0, 0, []
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
            self.peak = max(self.peak, shared_out)
        return cpu if processes else None


def measure(command: list[str], folder: pathlib.Path, environment: dict) -> tuple[Run, int]:
    """Runs a command. Returns its Run and its exit code."""
    begin, ended, lines, result = time.monotonic(), threading.Event(), [], {}
    how: dict[str, Any] = {"cwd": folder, "env": environment, "start_new_session": True}
    how |= {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    child = subprocess.Popen(command, text=True, errors="replace", **how)
    _running().write_text(str(child.pid))

    def read():
        for line in child.stdout:
            lines.append((time.monotonic() - begin, line.rstrip("\n")))

    def wait():
        _, status, result["usage"] = os.wait4(child.pid, 0)
        result["wall"] = time.monotonic() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        ended.set()

    reader, usage, orphans = threading.Thread(target=read, daemon=True), Usage(child.pid), 0.0
    try:
        for thread in reader, threading.Thread(target=wait, daemon=True):
            thread.start()
        while not ended.wait(SAMPLE_S):
            usage.sample()
        # PySpark's JVM outlives it for a moment. The CPU time of wait4 does not include it.
        limit = begin + result["wall"] + 30
        while (cpu := usage.sample()) is not None and time.monotonic() < limit:
            orphans = max(orphans, cpu)
            time.sleep(0.05)  # between two samples
    finally:
        for process in list(processes_of(child.pid)):  # only after an interrupt or a hang
            with contextlib.suppress(psutil.Error):
                process.kill()
    reader.join(5)
    cpu = result["usage"].ru_utime + result["usage"].ru_stime + orphans
    return Run(result["wall"], cpu, usage.peak, lines), child.returncode


def failure(command: list[str], run: Run, code: int, logs: pathlib.Path) -> errors.Failure:
    """Prints the end of the output. Returns the Failure of the command."""
    print("\n".join(f"    {line[:300]}" for _, line in run.lines[-20:]), file=sys.stderr)
    return errors.Failure(
        f"{' '.join(map(str, command))} ended with {code}",
        f"the end of its output is above; the logs are kept in {logs}",
        "try that step alone, without the bench; then again: make bench",
    )


class Side:
    """A checkout of the project, and its stack: ours, or that of the baseline."""

    def __init__(self, name: str, folder: pathlib.Path, run_dir: pathlib.Path, port: int):
        self.name, self.root, self.run_dir = name, folder, run_dir
        self.knobs = {
            "RUN_DIR": str(run_dir),
            "KAFKA": f"127.0.0.1:{port}",
            "HDFS": f"hdfs://127.0.0.1:{port + 10}",
        }
        self.kept: set[str] = set()  # what set-up puts into the run folder
        self.published: collections.Counter[str] = collections.Counter()  # {topic: messages}

    def environment(self, **knobs) -> dict[str, str]:
        """The environment of a command with these knobs."""
        # Without the settings of our env.sh, which an older baseline would take for its own.
        environment = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
        environment["HOME"] = os.environ.get("USER_HOME") or environment["HOME"]
        path = [part for part in os.environ["PATH"].split(":") if not part.startswith(str(root()))]
        environment |= {"PATH": ":".join(path), "PYTHONUNBUFFERED": "1"}  # each line has its time
        return environment | self.knobs | {name: str(value) for name, value in knobs.items()}

    def run(self, command: list[str], **knobs) -> Run:
        """Runs a command with these knobs. Raises Failure when the command fails."""
        run, code = measure(command, self.root, self.environment(**knobs))
        if code:
            kept = pathlib.Path(os.environ["RUN_DIR"]) / "logs" / "bench"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(self.run_dir / "logs", kept)
            raise failure(command, run, code, kept)
        return run

    def make(self, target: str, **knobs) -> Run:
        return self.run(["make", target], **knobs)

    def script(self, command: list[str], **knobs) -> Run:
        old = self.root / "scripts/env.sh"  # where older commits have it
        return self.run([str(old) if old.exists() else "scripts/lib/env.sh", *command], **knobs)

    def set_up(self) -> None:
        self.make("setup")
        self.kept = set(os.listdir(self.run_dir))

    def empty(self) -> None:
        """Stops the stack, and leaves in the run folder only what set-up put there."""
        self.make("down")
        for name in set(os.listdir(self.run_dir)) - self.kept:
            path = self.run_dir / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def remove_feed(self, topic: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            hdfs_native.Client(self.knobs["HDFS"]).delete(f"/warehouse/{topic}", recursive=True)

    def publish(self, topic: str, path: pathlib.Path, first: int, count: int) -> None:
        """Publishes `count` lines of a file from line `first`; a line is key, tab, message."""
        if topic not in self.published:
            self.make("topic", TOPIC=topic, PARTITIONS=4)
        send = ["kcat", "-P", "-b", self.knobs["KAFKA"], "-t", topic, "-K", "\t"]
        safely = ["-X", "acks=all", "-X", "enable.idempotence=true"]
        kcat = subprocess.Popen([*send, *safely], stdin=subprocess.PIPE)
        with open(path, "rb") as lines, kcat.stdin:
            kcat.stdin.writelines(itertools.islice(lines, first, first + count))
        if kcat.wait():
            raise errors.Failure(
                f"kcat could not publish to topic {topic}",
                f"it ended with {kcat.returncode}; its message is above",
                "make bench",
            )
        self.published[topic] += count

    def files(self, topic: str, table: str) -> list[dict]:
        """The add actions of the files in the current version of a feed's table."""
        delta = deltalake.DeltaTable(f"{self.knobs['HDFS']}/warehouse/{topic}/{table}")
        actions = delta.get_add_actions(flatten=True).to_struct_array()
        return actions.to_pylist()  # type: ignore[return-value]  # arro3 declares an ndarray


@contextlib.contextmanager
def pinned(run_dir: pathlib.Path) -> Iterator[list[str]]:
    """Pins the servers to one core, as on a machine that has only one.

    Yields the start of a command that is pinned to it too.
    """
    cores = sorted(os.sched_getaffinity(0))
    pids = [path.read_text().split()[0] for path in (run_dir / "pids").iterdir()]

    def pin(which):
        command = ["taskset", "--all-tasks", "--cpu-list", "--pid", ",".join(map(str, which))]
        for pid in pids:
            subprocess.run([*command, pid], check=True, stdout=subprocess.DEVNULL)

    pin(cores[:1])
    try:
        yield ["taskset", "--cpu-list", str(cores[0])]
    finally:
        pin(cores)


@contextlib.contextmanager
def work_folder(sides: list[Side]) -> Iterator[None]:
    """Creates .run-bench and removes it at the end. Raises Failure while another bench runs.

    First stops what a killed bench left running: its last command, by the session in the file
    "running", and its servers, by the pids in their run folders.
    """
    folder, marker, running = work(), work() / "bench-folder", _running()
    if folder.exists() and not marker.exists():
        raise errors.Failure(
            f"{folder} holds something else",
            "make bench would delete it",
            "move it to another name; then again: make bench",
        )
    folder.mkdir(mode=0o700, exist_ok=True)

    def clean():
        for process in list(processes_of(int(running.read_text()) if running.exists() else None)):
            # Another program may have this session's number by now, hence the check of RUN_DIR.
            with contextlib.suppress(psutil.Error):
                if process.environ().get("RUN_DIR", "").startswith(f"{folder}/"):
                    process.kill()
        for side in sides:
            if (side.run_dir / "pids").exists():
                side.make("down")
        for path in folder.iterdir():
            if path != marker:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    with open(marker, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise errors.Failure(
                "another make bench is running here",
                f"it holds {marker}",
                "wait until it is done; then again: make bench",
            ) from None
        clean()
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave servers
            clean()
            shutil.rmtree(folder)


def free_ports(count: int) -> int:
    """The first of `count` free ports in a row, below those of outgoing connections."""
    for first in random.sample(range(21000, 32000, 100), 110):  # others may look at this moment
        with contextlib.ExitStack() as sockets, contextlib.suppress(OSError):
            for port in range(first, first + count):
                sockets.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise errors.Failure(
        f"no {count} free ports in a row",
        "looked from 21000 to 32000",
        "stop programs that hold ports there; then again: make bench",
    )
