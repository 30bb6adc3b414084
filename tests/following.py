"""A make follow that runs beside a test."""

import contextlib
import os
import re
import signal
import time

import deltalake
from deltalake.exceptions import TableNotFoundError

from stacks import LIMIT_S, ROOT, wait_until


class Following:
    """A running `make follow`, its output and its ledger."""

    def __init__(self, stack, topic, all_feeds=False, slowly=False):
        self.stack, self.topic = stack, topic
        self.output = ROOT / stack.run_dir / f"follow-{topic}-{time.monotonic_ns()}.out"
        knobs = {"TOPICS" if all_feeds else "TOPIC": topic}
        start = stack.start_slowly if slowly else stack.start
        self.process = start("follow", self.output, **knobs)

    def said(self):
        return self.output.read_text()

    def wait_for(self, text):
        wait_until(lambda: self.process.poll() is not None or text in self.said(), self.said)
        assert text in self.said(), self.said()

    def wait_for_rows(self, count, topic=None):
        """Waits until the ledger has so many rows."""

        def reached():
            with contextlib.suppress(TableNotFoundError):
                path = f"{self.stack.hdfs}/warehouse/{topic or self.topic}/messages"
                return deltalake.DeltaTable(path).count() >= count

        wait_until(reached, self.said)

    def pid(self):
        """The pid of the process itself, which is a child of make."""
        self.wait_for("(pid ")
        return int(re.search(r"\(pid (\d+)\)", self.said())[1])

    def end(self, errors=0):
        """Ends it by SIGTERM, and returns its output, with so many errors: it must exit with 0."""
        os.kill(self.pid(), signal.SIGTERM)
        assert self.process.wait(LIMIT_S) == 0, self.said()
        assert "Traceback" not in self.said() and self.said().count("error: ") == errors
        return self.said()

    def kill(self):
        """Kills it, make and all."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(LIMIT_S)
