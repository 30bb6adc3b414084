"""A reader that checks, throughout all faults, what other users of the tables rely on."""

import collections
import threading
import time
import traceback

import deltalake
import psutil

from oracle import broken_promises


class Reader(threading.Thread):
    """Reads `attempts`, then its child tables, in a loop; checks invariant 4 of docs/tables.md.

    may_refuse: HDFS may fail while its servers live (a full disk), so failed reads do not count.
    """

    REFUSED_S = 30
    STARTING_S = 60  # a new server may refuse reads for as long as `make up` would wait for it
    LAST_ROUND_S = 45

    def __init__(self, stack, *topics, may_refuse=False):
        super().__init__(daemon=True)
        self.stack, self.topics, self.may_refuse = stack, list(topics), may_refuse
        self.broken, self.reads, self.unreadable = [], collections.Counter(), 0
        self.ended = threading.Event()
        # {topic: (HDFS's servers, time since which they refuse it, not counting their start)}
        self.refused = {}
        self.last_error, self.died, self.hung, self.last_round = {}, None, False, set()

    def run(self):
        try:
            pause = 0.5
            while not self.ended.wait(pause):
                begun = time.monotonic()
                for topic in list(self.topics):
                    self.read(topic)
                # Reads of large tables must not slow down the landings, and a read that HDFS
                # delayed must not cause a long pause.
                pause = min(max(0.5, 3 * (time.monotonic() - begun)), 10)
            # The faults are over: now every topic must be readable.
            limit = time.monotonic() + self.LAST_ROUND_S
            for topic in list(self.topics):
                while not self.read(topic) and time.monotonic() < limit:
                    time.sleep(0.5)
        except BaseException:
            self.died = traceback.format_exc()

    def read(self, topic):
        """Returns True when the topic's tables could be read and are not empty."""
        ending, servers = self.ended.is_set(), self.servers()
        try:
            found = [
                deltalake.DeltaTable(
                    f"{self.stack.hdfs}/warehouse/{topic}/{name}"
                ).to_pyarrow_table(columns=columns)
                for name, columns in (
                    ("attempts", ["keen_id", "question_count"]),
                    ("questions", ["keen_id", "question_position", "option_count"]),
                    ("options", ["keen_id", "question_position", "option_position"]),
                )
            ]
        except Exception as error:  # the stack is down, the tables do not exist yet, or are broken
            self.unreadable += 1
            self.last_error[topic] = f"{type(error).__name__}: {error}"[:500]
            self.note_refusal(topic, servers, error)
            return False
        self.refused.pop(topic, None)
        self.broken += [f"{topic}: {what}" for what in broken_promises(*found)]
        self.reads[topic] += found[0].num_rows > 0
        if ending and found[0].num_rows:
            self.last_round.add(topic)
        return found[0].num_rows > 0

    def note_refusal(self, topic, servers, error):
        """Records a failed read as a broken promise, unless a dead or starting server explains it.

        It counts when the same NameNode and DataNode have lived through REFUSED_S of failed reads:
        then files are missing.
        """
        if (
            self.may_refuse
            or servers is None
            or servers != self.servers()
            or isinstance(error, deltalake.exceptions.TableNotFoundError)
        ):
            self.refused.pop(topic, None)
            return
        if self.refused.get(topic, (None, 0))[0] != servers:
            started = max(time.time(), *(begun + self.STARTING_S for _, begun in servers))
            self.refused[topic] = (servers, started)
        elif time.time() - self.refused[topic][1] > self.REFUSED_S:
            self.broken.append(
                f"{topic}: not readable for {self.REFUSED_S} s while NameNode and DataNode lived: "
                f"{self.last_error[topic]}"
            )
            self.refused.pop(topic)

    def servers(self):
        """Returns [(pid, start time)] of NameNode and DataNode, or None unless both live."""
        try:
            pids = self.stack.service_pids()
            processes = [psutil.Process(pids[name]) for name in ("namenode", "datanode")]
            if any(process.status() == psutil.STATUS_ZOMBIE for process in processes):
                return None
            return [(process.pid, process.create_time()) for process in processes]
        # A missing or half-written pid file, or a pid without a process.
        except (OSError, LookupError, ValueError, psutil.Error):
            return None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join(self.LAST_ROUND_S + 15)
        self.hung = self.is_alive()

    def check(self):
        assert not self.died, f"the reader died:\n{self.died}"
        assert not self.broken, self.broken[:5]
        assert not self.hung, (
            f"the reader hangs in a read: {self.reads}, errors before: {self.last_error}"
        )
        assert set(self.topics) == self.last_round, (
            f"of {self.topics} only {sorted(self.last_round)} could be read after the last fault: "
            f"{self.last_error}"
        )
