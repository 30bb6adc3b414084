"""Landings that are watched from outside, and killed when they reach a given step."""

import contextlib
import itertools
import os
import re
import signal
import subprocess
import time

import hdfs_native
import psutil

from faults_feeds import LIMIT_S, TABLES, say
from stacks import ROOT, wait_until

TRIES = 5  # a kill that came too late is repeated
NUMBERS = itertools.count()


def lives(process):
    """Whether a thread of it is left: the first one may end, as a zombie, before the others."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
    except psutil.NoSuchProcess:
        return False


class Landing:
    """A running `make land`, or another target, as a user starts it, but see Stack.start_slowly.

    Its processes, its output and its new files.
    """

    def __init__(self, feed, target="land", **knobs):
        knobs = knobs if "TOPICS" in knobs else {"TOPIC": feed.topic, **knobs}
        self.feed, self.client = feed, hdfs_native.Client(feed.stack.hdfs)
        self.begun = time.monotonic()
        self.base = f"/warehouse/{feed.topic}"
        logs = [f"{table}/_delta_log" for table in TABLES]
        self.before = {path: self.listing(path) for path in [*TABLES, *logs]}
        self.output = ROOT / feed.stack.run_dir / f"{target}-{next(NUMBERS)}.out"
        start = feed.stack.start if target == "reprocess" else feed.stack.start_slowly
        self.process = start(target, self.output, **knobs)
        self.python = self.jvm = None

    def struck(self):
        """Whether a server has died since it started."""
        return self.feed.stack.whole_since > self.begun

    def listing(self, path):
        """Returns the paths of data files or commits in a folder of the feed."""
        while True:
            try:
                return {
                    each.path
                    for each in self.client.list_status(f"{self.base}/{path}")
                    if each.path.endswith((".parquet", ".json"))
                }
            except FileNotFoundError:
                return set()
            except Exception:
                if not self.struck():
                    raise
                self.feed.stack.make("up")  # the NameNode is down

    def wait_for(self, step):
        """Returns True as soon as the step is visible, False when the landing ended before.

        A step is one of: 'tables' (of a new feed, some of them created), 'session', 'reading' (it
        has said how many records are new), 'options begun' (files, no commit yet), 'options'
        (committed), … 'messages' (the batch is complete).
        """
        limit = time.monotonic() + LIMIT_S
        while self.jvm is None:  # make, env.sh and Python start first
            if not self.alive(limit):
                return False
            if step == "tables" and self.listing("questions/_delta_log"):
                return True
            self.find_jvm()
            time.sleep(0.2)
        if step == "tables":
            return True
        if step == "session":
            pause = time.monotonic() + self.feed.rng.uniform(0, 5)
            while time.monotonic() < pause and self.alive(limit):
                time.sleep(0.01)
            return self.process.poll() is None
        while not self.has_reached(step):
            if not self.alive(limit):
                return False
            time.sleep(0.03)
        return self.process.poll() is None

    def has_reached(self, step):
        """Whether a step of a batch is visible."""
        if step == "reading":
            return " new records of " in self.output.read_text()
        path = f"{step}/_delta_log".removesuffix(" begun/_delta_log")
        # The first commit of a table creates it and belongs to no batch.
        creation = f"/{0:020}.json"
        return not all(each.endswith(creation) for each in self.listing(path) - self.before[path])

    def find_jvm(self):
        """Finds Spark's JVM and the Python that has started it, once there is one."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                # The shell that becomes the JVM and Spark's launcher mention SparkSubmit too.
                if (
                    process.name() == "java"
                    and "org.apache.spark.deploy.SparkSubmit" in process.cmdline()
                    and "org.apache.spark.launcher.Main" not in process.cmdline()
                ):
                    self.python = process.parent()
                    self.jvm = process
                    self.feed.jvms.append(process)

    def alive(self, limit):
        """Whether it still runs; asserts that the time limit has not passed."""
        assert time.monotonic() < limit, f"after {LIMIT_S} s:\n{self.output.read_text()}"
        return self.process.poll() is None

    def kill(self, victim):
        """Kills the "driver" or "follow" (Python, JVM and all, at once), the "jvm" or the "python".

        Returns True when it was at work.
        """
        at_work = self.process.poll() is None and "error: " not in self.output.read_text()
        try:
            if victim in ("driver", "follow") or self.jvm is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            elif victim == "jvm":
                self.jvm.kill()
            elif self.python is not None:
                self.python.kill()
            else:
                at_work = False
        except (ProcessLookupError, psutil.NoSuchProcess):
            at_work = False
        finished = re.search(r"^(landed|rebuilt) in ", self.wait(), re.MULTILINE)
        if self.python is not None:  # it may end after make, and holds the feed's lock until then
            wait_until(lambda: not lives(self.python), lambda: "the landing outlives its kill")
        return not finished and at_work and self.process.returncode != 0

    @contextlib.contextmanager
    def paused(self):
        """Its processes stand still inside; where it has ended, there are none."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGCONT)

    def ended_by_itself(self):
        """Waits for a landing that was not killed: it must succeed, unless a server died meanwhile.

        Returns False, because no kill counts.
        """
        said = self.wait()
        assert self.process.returncode == 0 or self.struck() and "error: " in said, (
            f"it failed, and nothing was killed:\n{said}"
        )
        return False

    def wait(self):
        """Returns its output once it has ended; asserts that it contains no stack trace."""
        try:
            self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(
                f"it did not end within {LIMIT_S} s:\n{self.output.read_text()}"
            ) from None
        said = self.output.read_text()
        assert "Traceback" not in said and "\tat " not in said, said
        return said


def kill_landing(feed, step, publish=lambda: None, target="land", before=None):
    """Calls publish(), lands, and kills the landing at the step; repeats while the kill is late.

    before: a path that wait_for knows, in which nothing new may exist once the landing is dead.
    Returns what publish() gave for the kill that counted.
    """
    for _ in range(TRIES):
        given = publish()
        landing = Landing(feed, target)
        if not landing.wait_for(step):
            landing.ended_by_itself()
        elif landing.kill("driver") and (
            before is None or landing.listing(before) == landing.before[before]
        ):
            return given
        say(f"  {feed.topic}: driver of {target} at {step} came too late, and does not count")
    raise AssertionError(f"{target} was never at work at {step}")
