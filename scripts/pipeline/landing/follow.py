"""Lands a feed's new records again and again, within seconds, until it is stopped."""

import collections
import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator

from kafka.errors import KafkaError

from pipeline import errors
from pipeline.kafka import topics
from pipeline.landing import stream
from pipeline.landing.batch import STATUSES, Batch
from pipeline.settings import Feed
from pipeline.spark import session
from pipeline.stack import probes
from pipeline.tables.lock import feed_lock
from pipeline.tables.position import Position, landed_offsets

POLL_S = 0.5
PAUSE_S = 0.1  # after a landing: a process that waits for the feed's lock gets it
METRICS_S = 10  # between two updates of the metrics while nothing is new
FINISH_LIMIT_S = 20  # for the running landing, after a signal
ATTEMPTS = 3  # of a landing that fails although the servers answer
_ending = threading.Lock()  # acquired by the thread that ends the process


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


class Follower:
    """Polls the topic's end, and lands what is new; waits for a topic and for servers.

    stopping: set it to end the loop. landing: held while a landing runs. total: {status, or
    "batches": number} of what was landed. write_metrics: called after each landing and meanwhile.
    """

    def __init__(self, feed: Feed, write_metrics: Callable[[Feed], object]):
        self.feed, self.write_metrics = feed, write_metrics
        self.stopping, self.landing = threading.Event(), threading.Lock()
        self.total: collections.Counter[str] = collections.Counter()
        self.ends: Position | None = None  # of the topic, at the last landing
        self.metrics_written = 0.0
        self.told = False  # that there is no topic

    def follow(self) -> None:
        """Polls and lands until it is stopped. Raises a Failure that waiting does not mend."""
        failed = 0
        while not self.stopping.is_set():
            pause = POLL_S
            try:
                pause = self.poll()
                failed = 0
            except Exception as error:
                failed += 1
                if self.stopping.is_set():
                    return
                if not errors.is_outage(error) or failed > ATTEMPTS or session.has_lost_jvm():
                    raise
                if not self.wait_for_servers(error):
                    return
            self.stopping.wait(pause)

    def poll(self) -> float:
        """Lands what is new since the last call. Returns the seconds to wait until the next one."""
        if self.ends is None and self.feed.topic not in topics.names(self.feed.settings):
            if not self.told:
                if landed_offsets(self.feed):
                    self.land()  # raises the Failure that the topic is gone
                say(f"there is no topic {self.feed.topic} yet: waiting for make publish")
            self.told = True
            return POLL_S
        ends, pause = topics.log_ends(self.feed), POLL_S
        if ends != self.ends:
            self.land()
            self.ends, self.metrics_written, pause = ends, 0, PAUSE_S
        if time.monotonic() > self.metrics_written + METRICS_S:
            self.write_metrics(self.feed)
            self.metrics_written = time.monotonic()
        return pause

    def land(self) -> None:
        """Lands what is new, and prints a line for each batch."""
        position: Position = {}

        def report(batch: Batch) -> None:
            position.update({at: last + 1 for at, (_, last) in batch.spans.items()})
            lag = "not known"
            with contextlib.suppress(KafkaError):  # the batch is committed
                ends = topics.log_ends(self.feed)
                lag = f"{sum(max(0, end - position.get(at, 0)) for at, end in ends.items()):,}"
            counts = "".join(f"{batch.statuses[status]:>11,}" for status in STATUSES)
            say(f"{batch.statuses.total():>9,}{counts}{batch.seconds:>9.1f}{lag:>11}")
            self.total.update(batch.statuses, batches=1)

        with feed_lock(self.feed), self.landing:
            if not self.stopping.is_set():
                stream.land(self.feed, lambda _, landed: position.update(landed), report)

    def wait_for_servers(self, error: Exception) -> bool:
        """Waits until Kafka and HDFS answer. Returns False when make down has stopped them."""
        settings = self.feed.settings
        say(f"waiting for the servers: {errors.cause(session.jvm_ended(error) or error)}")
        while True:
            if settings.stack == "local" and not settings.in_run_dir("pids/kafka").exists():
                say("make down has stopped the servers")
                return False
            with contextlib.suppress(Exception):  # each client has exceptions of its own
                topics.log_ends(self.feed)
                probes.probe_hdfs(settings)
                say("the servers answer")
                return True
            time.sleep(1)


@contextlib.contextmanager
def own_process_group() -> Iterator[Callable[[], None]]:
    """Gives the terminal to a process group of this process; yields a function that gives it back.

    Otherwise Ctrl-C reaches make, too, which ends with an error. Ctrl-Z does not suspend the block,
    because the user's shell would not notice.
    """
    before = os.getpgrp()
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
        if before == os.getpid() or before != os.tcgetpgrp(terminal):
            raise OSError("a process group of its own already, or in the background")
    except OSError:  # or there is no terminal
        yield lambda: None
        return
    for number in signal.SIGTTOU, signal.SIGTSTP:
        signal.signal(number, signal.SIG_IGN)
    os.setpgid(0, 0)
    os.tcsetpgrp(terminal, os.getpgrp())
    try:
        yield lambda: os.tcsetpgrp(terminal, before)
    finally:
        os.tcsetpgrp(terminal, before)


def watch_signals(follower: Follower, give_terminal_back: Callable[[], None]) -> None:
    """Ends the process on SIGINT and SIGTERM, from a thread of its own.

    A handler would wait for native code in the main thread, which may wait for a server.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, lambda *_: None)

    def watch() -> None:
        os.read(reader, 1)
        follower.stopping.set()
        if not follower.landing.acquire(blocking=False):
            say("finishing the running landing; again: abandon it")
            select.select([reader], [], [], FINISH_LIMIT_S)
        end(follower, give_terminal_back)

    threading.Thread(target=watch, daemon=True).start()


def end(follower: Follower, give_terminal_back: Callable[[], None]) -> None:
    """Prints the closing line, and ends the process and its Spark session."""
    _ending.acquire()
    verdicts = ", ".join(f"{follower.total[status]:,} {status}" for status in STATUSES)
    say(f"ended after {follower.total['batches']:,} batches: {verdicts}")
    give_terminal_back()
    os._exit(0)
