"""A stack of the bench's own, and what a command costs on it: wall time, CPU time, peak memory.

scripts/bench.py imports this.
"""
import collections
import contextlib
import fcntl
import itertools
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import deltalake
import hdfs_native
import psutil

import feed

ROOT = pathlib.Path(os.environ["ROOT"])
WORK = ROOT / ".run-bench"
RUNNING = WORK / "running"  # the session of the command that was started last
SAMPLE_S = 0.2
KEPT = re.compile(r"HOME|PATH|TERM|PIP_\w+|SSL_CERT_\w+|\w+_CA_BUNDLE|(https?|no|all)_proxy", re.IGNORECASE)

Run = collections.namedtuple("Run", "wall cpu peak lines")  # seconds, seconds, bytes, [(second, line of output)]


def processes_of(session):
    """The processes that a command started, orphans included: each command is a session of its own, each server another."""
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(pid) == session:
                yield psutil.Process(pid)


class Usage:
    """Memory and CPU time of all processes of a session, by samples."""

    def __init__(self, session):
        self.session, self.peak, self.highest = session, 0, 0

    def sample(self):
        """Updates the peak. Returns the CPU seconds, those of children waited for included; None when no process is left."""
        cpu, resident, processes = 0, 0, []
        for process in processes_of(self.session):
            with contextlib.suppress(psutil.Error):
                cpu += sum(process.cpu_times()[:4])
                resident += process.memory_info().rss
                processes.append(process)
        # The share of pages that several processes have is known from a walk over all pages. It is done when the sum grew.
        if resident > 1.02 * self.highest:
            self.highest, shared_out = resident, 0
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    memory = process.memory_full_info()
                    shared_out += getattr(memory, "pss", memory.rss)
            self.peak = max(self.peak, shared_out)
        return cpu if processes else None


def measure(command, folder, environment):
    """Runs a command. Returns its Run and its exit code."""
    begin, ended, lines, result = time.monotonic(), threading.Event(), [], {}
    child = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, errors="replace", start_new_session=True)
    RUNNING.write_text(str(child.pid))

    def read():
        for line in child.stdout:
            lines.append((time.monotonic() - begin, line.rstrip("\n")))

    def wait():
        _, status, result["usage"] = os.wait4(child.pid, 0)
        result["wall"] = time.monotonic() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        ended.set()

    reader, usage, orphans = threading.Thread(target=read, daemon=True), Usage(child.pid), 0
    try:
        for thread in reader, threading.Thread(target=wait, daemon=True):
            thread.start()
        while not ended.wait(SAMPLE_S):
            usage.sample()
        # PySpark leaves its JVM behind, which ends a moment later. Its CPU time is not in what wait4 tells of the command.
        while (cpu := usage.sample()) is not None and time.monotonic() - begin < result["wall"] + 30:
            orphans = max(orphans, cpu)
            time.sleep(0.05)  # between two samples
    finally:
        for process in list(processes_of(child.pid)):  # only after an interrupt, or when something hangs
            with contextlib.suppress(psutil.Error):
                process.kill()
    reader.join(5)
    own = result["usage"]
    return Run(result["wall"], own.ru_utime + own.ru_stime + orphans, usage.peak, lines), child.returncode


def failure(command, run, code, logs):
    print("\n".join(f"    {line[:300]}" for _, line in run.lines[-20:]), file=sys.stderr)
    return feed.Failure(f"{' '.join(map(str, command))} ended with {code}", f"the end of its output is above; the logs are kept in {logs}", "try that step alone, without the bench; then again: make bench")


class Side:
    """A checkout of the project, and its stack: ours, or that of the baseline."""

    def __init__(self, name, root, run_dir, port):
        self.name, self.root, self.run_dir = name, root, run_dir
        self.knobs = {"RUN_DIR": str(run_dir), "KAFKA": f"127.0.0.1:{port}", "HDFS": f"hdfs://127.0.0.1:{port + 10}"}
        self.kept = set()  # what set-up puts into the run folder
        self.published = collections.Counter()  # {topic: messages}

    def run(self, command, **knobs):
        """Runs a command in the user's environment, as far as KEPT knows it: an older baseline would take the settings of our
        env.sh for its own. A Failure when the command fails."""
        environment = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)} | {"PYTHONUNBUFFERED": "1"}  # so that each line of output has its time
        environment["HOME"] = os.environ.get("USER_HOME") or environment["HOME"]
        environment["PATH"] = ":".join(part for part in os.environ["PATH"].split(":") if not part.startswith(str(ROOT)))
        run, code = measure(command, self.root, environment | self.knobs | {name: str(value) for name, value in knobs.items()})
        if code:
            kept = pathlib.Path(os.environ["RUN_DIR"]) / "logs" / "bench"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(self.run_dir / "logs", kept)
            raise failure(command, run, code, kept)
        return run

    def make(self, target, **knobs):
        return self.run(["make", target], **knobs)

    def script(self, command, **knobs):
        return self.run(["scripts/env.sh", *command], **knobs)

    def set_up(self):
        self.make("setup")
        self.kept = set(os.listdir(self.run_dir))

    def empty(self):
        """The run folder as set-up left it."""
        self.make("down")
        for name in set(os.listdir(self.run_dir)) - self.kept:
            path = self.run_dir / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def remove_feed(self, topic):
        with contextlib.suppress(FileNotFoundError):
            hdfs_native.Client(self.knobs["HDFS"]).delete(f"/warehouse/{topic}", recursive=True)

    def publish(self, topic, path, first, count):
        """Publishes lines first to first + count of a file; a line is key, tab, message."""
        if topic not in self.published:
            self.make("topic", TOPIC=topic, PARTITIONS=4)
        send = ["kcat", "-P", "-b", self.knobs["KAFKA"], "-t", topic, "-K", "\t", "-X", "acks=all", "-X", "enable.idempotence=true"]
        kcat = subprocess.Popen(send, stdin=subprocess.PIPE)
        with open(path, "rb") as lines, kcat.stdin:
            kcat.stdin.writelines(itertools.islice(lines, first, first + count))
        if kcat.wait():
            raise feed.Failure(f"kcat could not publish to topic {topic}", f"it ended with {kcat.returncode}; its message is above", "make bench")
        self.published[topic] += count

    def files(self, topic, table):
        """The files of the current version of a feed's table."""
        return deltalake.DeltaTable(f"{self.knobs['HDFS']}/warehouse/{topic}/{table}").get_add_actions(flatten=True).to_struct_array().to_pylist()


@contextlib.contextmanager
def pinned(run_dir):
    """One core for the servers too while it lasts, as on a machine that has one. Yields what pins a command."""
    cores = sorted(os.sched_getaffinity(0))
    pids = [path.read_text().split()[0] for path in (run_dir / "pids").iterdir()]

    def pin(which):
        for pid in pids:
            subprocess.run(["taskset", "--all-tasks", "--cpu-list", "--pid", ",".join(map(str, which)), pid], check=True, stdout=subprocess.DEVNULL)

    pin(cores[:1])
    try:
        yield ["taskset", "--cpu-list", str(cores[0])]
    finally:
        pin(cores)


@contextlib.contextmanager
def work_folder(sides):
    """.run-bench while it lasts. What a killed bench left running is stopped: its last command, by the session that is noted,
    and its servers, by the pids in their run folders."""
    marker = WORK / "bench-folder"
    if WORK.exists() and not marker.exists():
        raise feed.Failure(f"{WORK} holds something else", "make bench would delete it", "move it to another name; then again: make bench")
    WORK.mkdir(mode=0o700, exist_ok=True)

    def clean():
        for process in list(processes_of(int(RUNNING.read_text()) if RUNNING.exists() else None)):
            with contextlib.suppress(psutil.Error):  # a pid alone could belong to somebody else by now
                if process.environ().get("RUN_DIR", "").startswith(f"{WORK}/"):
                    process.kill()
        for side in sides:
            if (side.run_dir / "pids").exists():
                side.make("down")
        for path in WORK.iterdir():
            if path != marker:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    with open(marker, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise feed.Failure("another make bench is running here", f"it holds {marker}", "wait until it is done; then again: make bench") from None
        clean()
        try:
            yield
        finally:
            for number in signal.SIGINT, signal.SIGTERM:  # a second Ctrl-C must not leave servers behind
                signal.signal(number, signal.SIG_IGN)
            clean()
            shutil.rmtree(WORK)


def free_ports(count):
    """The first of so many ports in a row that are free; below those that the system gives to outgoing connections."""
    for first in range(21000, 32000, 100):
        with contextlib.ExitStack() as sockets, contextlib.suppress(OSError):
            for port in range(first, first + count):
                sockets.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise feed.Failure(f"no {count} free ports in a row", "looked from 21000 to 32000", "stop programs that hold ports there; then again: make bench")
