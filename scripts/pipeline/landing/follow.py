"""Lands the new records of feeds again and again, within seconds, until it is stopped."""

import collections
import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from kafka.errors import KafkaError

from pipeline import errors, script
from pipeline.errors import Failure
from pipeline.kafka import topics
from pipeline.landing import rounds
from pipeline.landing.batch import STATUSES, Batch
from pipeline.landing.rounds import Backlog
from pipeline.settings import Feed, Settings
from pipeline.spark import session
from pipeline.stack import probes
from pipeline.tables import hdfs
from pipeline.tables.position import Position, landed_offsets
from pipeline.text import printable

POLL_S = 0.5
PAUSE_S = 0.1  # after a landing: a process that waits for the feed's lock gets it
METRICS_S = 10  # between two updates of the metrics while nothing is new
FINISH_LIMIT_S = 20  # for the running landing, after a signal
ATTEMPTS = 3  # of a landing that fails although the servers answer
FIRST_PAUSE_S, LONGEST_PAUSE_S = 10, 600  # until a feed that has trouble is tried again
_ending = threading.Lock()  # acquired by the thread that ends the process


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


WriteMetrics = Callable[[Feed, Failure | None, Position], object]  # its trouble, its topic's ends


class Trouble(NamedTuple):
    """Why a feed is not landed, and when it is tried again, by time.monotonic()."""

    failure: Failure
    pause: float  # seconds, before this attempt
    retry_at: float


class Follower:
    """Polls the ends of topics, and lands what is new; waits for topics and for servers.

    write_metrics: called after each landing of a feed; for the only feed, and for those that have
    trouble, also meanwhile. stopping: set it to end the loop. landing: held while a landing runs.
    total: {status, or "batches": number} of what was landed.
    """

    def __init__(self, settings: Settings, write_metrics: WriteMetrics):
        self.settings, self.write_metrics = settings, write_metrics
        self.stopping, self.landing = threading.Event(), threading.Lock()
        self.total: collections.Counter[str] = collections.Counter()
        self.existing: list[str] = []  # all topics
        self.listed = self.metrics_written = 0.0  # when, by time.monotonic()
        self.told: set[str] = set()  # topics that are waited for, and failures of the metrics
        self.ends: dict[str, Position] = {}  # of each topic, at its last landing
        self.landed: dict[str, Position] = {}
        self.troubles: dict[str, Trouble] = {}

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

    def feeds(self) -> list[Feed]:
        """The feeds whose topics exist, and those whose topics did."""
        if not self.existing or time.monotonic() > self.listed + topics.METADATA_S:
            self.existing, self.listed = topics.names(self.settings), time.monotonic()
        known = {*self.existing, *self.ends}
        if not self.settings.topics:
            feeds = [self.settings.feed()]
        else:
            feeds = self.settings.feeds(sorted(known))
        for feed in feeds:
            if feed.topic in known or feed.topic in self.told:
                continue
            if landed_offsets(feed):
                known.add(feed.topic)  # its landing says that the topic is gone
            else:
                say(f"there is no topic {feed.topic} yet: waiting for make publish")
                self.told.add(feed.topic)
        return [feed for feed in feeds if feed.topic in known]

    def poll(self) -> float:
        """Lands what is new since the last call. Returns the seconds to wait until the next one."""
        feeds, now = self.feeds(), time.monotonic()
        ends = topics.ends_of_topics(self.settings, [feed.topic for feed in feeds])
        changed = [
            feed
            for feed in feeds
            if ends.get(feed.topic, {}) != self.ends.get(feed.topic)
            or (feed.topic in self.troubles and now > self.troubles[feed.topic].retry_at)
        ]
        if changed:
            self.land(changed)
            self.ends |= {feed.topic: ends.get(feed.topic, {}) for feed in changed}
        if changed or now > self.metrics_written + METRICS_S:
            of = [each for each in feeds if each in changed or each.topic in self.troubles]
            hdfs.at_once(lambda feed: self.write(feed, ends), of if self.settings.topics else feeds)
            self.metrics_written = time.monotonic()
        return PAUSE_S if changed else POLL_S

    def write(self, feed: Feed, ends: dict[str, Position]) -> None:
        """Writes the metrics. A failure is printed once, and landing goes on."""
        trouble = self.troubles.get(feed.topic)
        try:
            self.write_metrics(feed, trouble and trouble.failure, ends.get(feed.topic, {}))
        except Exception as error:
            if errors.is_outage(error):
                raise
            cause = printable(errors.cause(error))
            text = f"the metrics of feed {feed.topic} could not be written: {cause}"
            if text not in self.told:
                script.log_trace()
                say(text)
                self.told.add(text)

    def land(self, feeds: list[Feed]) -> None:
        """Lands what is new, and prints a line for each batch."""
        landing = rounds.Round(self.settings, feeds, self.report)
        try:
            landing.land(self.start)
        finally:
            if self.landing.locked():
                self.landing.release()
        for feed in feeds:
            self.note(feed, landing.troubles.get(feed.topic))

    def start(self, backlogs: list[Backlog]) -> None:
        """A landing starts, unless the process ends: then it waits for that."""
        self.landing.acquire()
        self.landed |= {backlog.feed.topic: {**backlog.landed} for backlog in backlogs}

    def report(self, landed: list[Batch]) -> None:
        """Prints the line of a batch."""
        statuses = sum((batch.statuses for batch in landed), collections.Counter[str]())
        for batch in landed:
            ends = {at: last + 1 for at, (_, last) in batch.spans.items()}
            self.landed[batch.feed.topic].update(ends)
        lag = "not known"
        with contextlib.suppress(KafkaError):  # the batch is committed
            now = topics.ends_of_topics(self.settings, [batch.feed.topic for batch in landed])
            lag = f"{sum(self.lag(topic, ends) for topic, ends in now.items()):,}"
        counts = "".join(f"{statuses[status]:>11,}" for status in STATUSES)
        seconds = max(batch.seconds for batch in landed)
        line = f"{statuses.total():>9,}{counts}{seconds:>9.1f}{lag:>11}"
        if self.settings.topics:
            line += f"  {landed[0].feed.topic if len(landed) == 1 else f'{len(landed):,} feeds'}"
        say(line)
        self.total.update(statuses, batches=1)

    def lag(self, topic: str, ends: Position) -> int:
        return sum(max(0, end - self.landed[topic].get(at, 0)) for at, end in ends.items())

    def note(self, feed: Feed, failure: Failure | None) -> None:
        """Keeps and names the trouble of a feed. The only feed's trouble is raised."""
        before = self.troubles.pop(feed.topic, None)
        if failure is None:
            if before:
                say(f"feed {feed.topic} is landed again")
            return
        if not self.settings.topics:
            self.write_metrics(feed, failure, {})
            raise failure
        pause = min(2 * before.pause, LONGEST_PAUSE_S) if before else FIRST_PAUSE_S
        self.troubles[feed.topic] = Trouble(failure, pause, time.monotonic() + pause)
        if before is None or before.failure.what != failure.what:
            say(f"feed {feed.topic} is left out; it is tried again by itself")
            script.report(failure)

    def wait_for_servers(self, error: Exception) -> bool:
        """Waits until Kafka and HDFS answer. Returns False when make down has stopped them."""
        settings = self.settings
        say(f"waiting for the servers: {errors.cause(session.jvm_ended(error) or error)}")
        while True:
            if settings.stack == "local" and not settings.in_run_dir("pids/kafka").exists():
                say("make down has stopped the servers")
                return False
            with contextlib.suppress(Exception):  # each client has exceptions of its own
                topics.names(settings)
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
