"""Kills each process at each step of landing and publishing: nothing is lost or doubled."""

import collections
import concurrent.futures
import contextlib
import math
import os
import pathlib
import random
import signal
import threading
import time

import psutil
import pytest
from kafka import KafkaConsumer, TopicPartition

from faults_feeds import (
    LIMIT_S,
    SEED,
    TABLES,
    Feed,
    check_equal_to_quiet,
    key_of,
    say,
    synthetic_feed,
    synthetic_lines,
)
from faults_landings import TRIES, Landing, lives
from faults_reader import Reader
from pipeline import settings

KILLS = settings.load().kills
DRIVER_STEPS = [
    "session",
    "reading",
    *(step for table in TABLES for step in (f"{table} begun", table)),
]
OF_LANDINGS = [
    *((step, "driver") for step in DRIVER_STEPS),
    ("options begun", "jvm"),
    ("attempts", "python"),
    ("messages begun", "jvm"),
    ("questions", "python"),
    ("questions begun", "follow"),
    ("attempts", "follow"),
]
OF_SERVERS = [
    *(("landing", name) for name in ("kafka", "namenode", "datanode", "all")),
    ("publishing", "broker"),
    ("publishing", "kcat"),
]


def kill_driver(feed, step, victim):
    """Publishes, lands, and kills the landing at the step. Returns True when the kill counts.

    victim: as in Landing.kill; "follow" is the driver of make follow.
    """
    feed.publish()
    landing = Landing(feed, "follow" if victim == "follow" else "land")
    return landing.kill(victim) if landing.wait_for(step) else landing.ended_by_itself()


@contextlib.contextmanager
def outage(stack):
    """Servers are killed inside, so that whatever runs meanwhile may fail; then `make up`."""
    stack.whole_since = math.inf
    yield
    stack.make("up")
    stack.whole_since = time.monotonic()


def kill_servers(feed, names, step):
    """Kills a server, or "all" and the landing (a power cut), while a landing is at the step.

    Returns True when the kill counts.
    """
    feed.publish()
    landing = Landing(feed)
    if not landing.wait_for(step):
        return landing.ended_by_itself()
    pids = feed.stack.service_pids()
    at_work = landing.process.poll() is None
    with outage(feed.stack):
        if names == "all":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(landing.process.pid, signal.SIGKILL)
        for name in pids if names == "all" else [names]:
            os.kill(pids[name], signal.SIGKILL)
    if names == "all":
        landing.wait()
    else:
        landing.ended_by_itself()
    return at_work


def kill_publishing(feed, victim, tmp_path):
    """Kills "kcat", or the "broker", halfway through `make publish` of a larger file.

    Then runs the documented command. Returns True when the kill counts.
    """
    messages = feed.next_messages(1500)
    path = tmp_path / f"{feed.topic}-{len(feed.sent)}.jsonl"
    whole = [m for m in messages if key_of(m)]  # publish sends no truncated line
    path.write_bytes(b"".join(m + b"\n" for m in whole))
    pathlib.Path(f"{path}.truth.json").write_text("{}")
    half = feed.rng.randrange(1, len(messages) // 2)
    output = path.with_suffix(".out")
    consumer = KafkaConsumer(bootstrap_servers=feed.stack.kafka, enable_auto_commit=False)
    with contextlib.closing(consumer):
        numbers = consumer.partitions_for_topic(feed.topic)
        partitions = [TopicPartition(feed.topic, number) for number in numbers]
        before = sum(consumer.end_offsets(partitions).values())
        publishing = feed.stack.start("publish", output, TOPIC=feed.topic, DATA=path)
        limit = time.monotonic() + LIMIT_S
        while (
            publishing.poll() is None
            and sum(consumer.end_offsets(partitions).values()) < before + half
        ):
            assert time.monotonic() < limit, output.read_text()
        kcats = living_kcats(publishing)
        at_work = bool(kcats)
        if at_work and victim == "broker":
            with outage(feed.stack):
                os.kill(feed.stack.service_pids()["kafka"], signal.SIGKILL)
                at_work = any(map(lives, kcats))  # it did not end before the kill
        for kcat in kcats if victim == "kcat" else ():
            try:
                kcat.kill()
            except psutil.NoSuchProcess:
                at_work = False
    # Whether the kill counts or not, all must be well again afterwards.
    code, said = publishing.wait(LIMIT_S), output.read_text()
    # Without the broker, a step before or after kcat may be the one that reports the error.
    error = "error: not all of" if victim == "kcat" else "error: "
    assert "Traceback" not in said and (code == 0 or kcats and error in said), said
    feed.stack.make("publish", TOPIC=feed.topic, DATA=path)  # nothing to do, or all of it again
    feed.sent += whole
    return at_work and not (victim == "kcat" and code == 0)


def living_kcats(publishing):
    """Returns the running kcat processes of this `make publish`."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(publishing.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() == "kcat" and lives(process):
                    found.append(process)
    return found


class Kills:
    """The kills that are left to do, shared by two lanes, and those that were done."""

    def __init__(self, lanes, tmp_path):
        self.lanes, self.tmp_path = lanes, tmp_path
        self.rng, self.begin, self.lock = random.Random(SEED), time.monotonic(), threading.Lock()
        self.counted, self.missed = collections.Counter(), collections.Counter()
        # Every kind in a seeded order, repeated until there are enough; landings twice as often.
        self.plan = [("tables", "driver")] * 2  # the first kill of each feed
        while len(self.plan) < KILLS:
            for kinds in (OF_LANDINGS, OF_SERVERS, OF_LANDINGS):
                self.plan += self.rng.sample(kinds, len(kinds))
        self.plan = self.plan[:KILLS]

    def take(self, number):
        """Returns the next kill that this lane may make, or None."""
        with self.lock:
            kind = next((kind for kind in self.plan if number == 0 or kind not in OF_SERVERS), None)
            if kind:
                self.plan.remove(kind)
            return kind

    def lane(self, number):
        """Makes kills of the plan until none is left."""
        try:
            while kind := self.take(number):
                self.kill(self.lanes[number], kind)
        except BaseException:
            self.plan.clear()  # when one lane fails, the other ends too
            raise

    def kill(self, feed, kind):
        """Makes one kill; repeats it while it meets nothing at work."""
        for _ in range(TRIES):
            if self.try_to_kill(feed, kind):
                with self.lock:
                    self.counted[kind] += 1
                    say(
                        f"  {sum(self.counted.values()):>4}  {self.seconds():>6.0f} s  "
                        f"{feed.topic}: {kind[1]} killed at {kind[0]}"
                    )
                return
            with self.lock:
                self.missed[kind] += 1
                say(
                    f"        {self.seconds():>6.0f} s  {feed.topic}: {kind[1]} at "
                    f"{kind[0]} met nothing at work any more, and does not count"
                )
        raise AssertionError(f"{kind} was never at work")

    def try_to_kill(self, feed, kind):
        if kind[0] == "publishing":
            return kill_publishing(feed, kind[1], self.tmp_path)
        if kind[0] == "landing":
            # Once a batch is read, it no longer needs the broker.
            step = "reading" if kind[1] == "kafka" else self.rng.choice(DRIVER_STEPS[1:-1])
            return kill_servers(feed, kind[1], step)
        return kill_driver(feed, *kind)

    def seconds(self):
        return time.monotonic() - self.begin


def new_lanes(stack, tmp_path):
    """The feeds of two lanes, of one and of three partitions."""
    for number, partitions in ((1, 1), (2, 3)):
        seed = SEED * 10 + number
        lines = synthetic_lines(tmp_path, f"lane-{number}", seed, 5000)
        topic = f"synthetic_lane_{number}"
        yield Feed(stack, topic, partitions, lines, random.Random(seed))


@pytest.mark.timeout(900)
def test_a_landing_killed_at_each_step_of_a_batch_lands_each_message_once(stack, tmp_path):
    feed = synthetic_feed(stack, tmp_path, "steps")
    kills, reader = Kills([feed], tmp_path), Reader(stack, feed.topic)
    for step in ("reading", "options begun", *TABLES):
        kills.kill(feed, (step, "driver"))
        reader.read(feed.topic)
    assert reader.reads[feed.topic] and not reader.broken
    stack.run("land", TOPIC=feed.topic)
    feed.check()


@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_feeds_that_are_landed_together_are_killed_at_each_step(stack, tmp_path):
    """In turn they are landed together and alone. Kills are at the steps of the first one."""
    feeds = [synthetic_feed(stack, tmp_path, f"together_{number}") for number in range(3)]
    names = ",".join(feed.topic for feed in feeds)
    reader = Reader(stack, *(feed.topic for feed in feeds))
    for step in ("tables", "reading", "options begun", *TABLES):
        for _ in range(TRIES):
            for feed in feeds:
                feed.publish()
            landing = Landing(feeds[0], "follow" if step == "questions" else "land", TOPICS=names)
            if landing.wait_for(step) and landing.kill("driver"):
                break
            landing.ended_by_itself()
        else:
            raise AssertionError(f"it was never at work at {step}")
        for feed in feeds:
            reader.read(feed.topic)
        if step == "attempts":  # what the three had begun together, one of them finishes alone
            stack.run("land", TOPIC=feeds[1].topic)
    stack.run("land", TOPICS=names)
    for feed in feeds:
        reader.read(feed.topic)
        feed.check()
    assert all(reader.reads.values()) and not reader.broken


@pytest.mark.thorough
@pytest.mark.timeout(600 + 120 * KILLS)
def test_whatever_is_killed_nothing_is_lost_and_nothing_doubled(stack, tmp_path):
    say(f"\n{KILLS} kills, SEED={SEED}")
    kills = Kills([*new_lanes(stack, tmp_path)], tmp_path)
    with Reader(stack, *(feed.topic for feed in kills.lanes)) as reader:
        # Two lanes share the kill queue. Servers die at a given step of the first feed's landing
        # and at any step of the second feed's, which then repeats its own kill.
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(kills.lane, (0, 1)))
        # The documented command, once; and the same messages without faults.
        quiet = [
            Feed(stack, f"synthetic_quiet_{number}", 1, iter(()), kills.rng) for number in (1, 2)
        ]
        for feed, peace in zip(kills.lanes, quiet, strict=True):
            peace.send(feed.sent)
        feeds = [*kills.lanes, *quiet]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda feed: stack.make("land", TOPIC=feed.topic), feeds))
    reader.check()
    for feed, peace in zip(kills.lanes, quiet, strict=True):
        check(feed, peace)
    say(
        f"  {sum(kills.counted.values())} kills in {kills.seconds():.0f} s "
        f"({sum(kills.missed.values())} more met nothing at work and do not count); "
        f"{sum(reader.reads.values())} reads found every child, "
        f"{reader.unreadable} found the stack down or no tables yet"
    )
    for kind, number in sorted(kills.counted.items(), key=str):
        say(f"  {number:>4}  {kind[1]} at {kind[0]}")


def check(feed, peace):
    """Asserts every promise about a feed that was landed under kills, and that no JVM is left."""
    records, accepted = feed.check()
    check_equal_to_quiet(feed, peace)
    say(
        f"  {feed.topic}: {len(feed.sent):,} messages sent, {records:,} records in the topic, "
        f"{accepted:,} attempts: 0 lost, 0 doubled"
    )
    # Not psutil.wait_procs: it fails when a thread reuses the pid, as happens in long runs.
    limit = time.monotonic() + 60
    while living := [jvm for jvm in feed.jvms if jvm.is_running() and lives(jvm)]:
        assert time.monotonic() < limit, f"a JVM outlived its landing: {living}"
        time.sleep(0.5)
