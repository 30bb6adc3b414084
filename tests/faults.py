"""Faults, really made, on a real stack of their own: whatever is killed, and whenever, nothing is lost and nothing doubled.

Run by: make test-faults [KILLS=30] [SEED=1]
    scripts/env.sh scripts/test.sh --capture=no tests/faults.py

The product's own processes are watched from outside, by what they write to HDFS, and killed at the moment at which a step
is seen there (a look every 30 ms). Nothing in the product knows of it.
"""
import collections
import concurrent.futures
import contextlib
import copy
import itertools
import json
import math
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import threading
import time
import traceback

import deltalake
import hdfs_native
import psutil
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

import conftest
from oracle import RESULT, broken_promises, by, truth_rows, verdicts, without

SEED, KILLS = int(os.environ["SEED"]), int(os.environ["KILLS"])
TABLES = ["options", "questions", "attempts", "messages"]  # in the order in which a batch writes them
LIMIT_S = 480  # for one landing, on a machine that others use too
NUMBERS = itertools.count()
FRESH = 30  # messages that are new, published before each kill


@pytest.fixture(scope="module")
def stack():
    with conftest.started(".run-faults") as stack:
        yield stack


def say(text):
    print(text, flush=True)


# --- what is under fire --------------------------------------------------------------------------

class Feed:
    """A topic, what was sent to it, and what its tables must hold."""

    def __init__(self, stack, topic, partitions, lines, rng):
        self.stack, self.topic, self.rng = stack, topic, rng
        self.fresh = lines  # (message as bytes, line of the truth)
        self.truth, self.good, self.sent = {}, [], []
        self.jvms = []
        self.publishings = itertools.count()
        stack.make("topic", TOPIC=topic, PARTITIONS=partitions)

    def next_messages(self, count):
        """`count` messages never sent before, then two sent before, one sent before with other content, and the first time
        and every third one truncated."""
        messages = []
        for _ in range(count):
            message, truth = next(self.fresh)
            if truth["attempt"]:
                self.truth[truth["keen_id"]] = truth
                self.good.append(message)
            messages.append(message)
        if next(self.publishings) % 3 == 0:
            messages.append(messages[-1][:self.rng.randrange(20, 400)])
        messages += self.rng.sample(self.good, 2)
        messages.append(self.rng.choice(self.good).replace(b'"exam_name": "', b'"exam_name": "Another ', 1))
        return messages

    def publish(self, count=FRESH):
        """Sends fresh messages by kcat, each acknowledged."""
        self.send(self.next_messages(count))

    def send(self, messages, *arguments):
        """By kcat, each acknowledged; all of it again when the broker dies meanwhile."""
        kcat = ["kcat", "-P", "-b", self.stack.kafka, "-t", self.topic, "-K", "\t", "-Z", "-X", "enable.idempotence=true", "-X", "acks=all", *arguments]
        lines = b"".join(key_of(m) + b"\t" + m + b"\n" for m in messages)
        begun = time.monotonic()
        while (kcat_ended := subprocess.run(kcat, input=lines, timeout=LIMIT_S, capture_output=True)).returncode != 0:
            assert self.stack.whole_since > begun, f"kcat failed, and nothing was killed: {kcat_ended.stderr.decode()}"
            self.stack.make("up")
            begun = time.monotonic()
        self.sent += messages

    def send_spoiled_and_right(self):
        """A message that no rule of today accepts (a question of it is gone, and a result is no known word), and behind it
        the right one under the same id. Returns (the id, offset of the spoiled one, offset of the right one); for topics of one partition."""
        for message, truth in self.fresh:
            if truth["attempt"]:
                self.truth[truth["keen_id"]] = truth  # though it is not sent: a repeat of it may be, later
                if len(truth["questions"]) > 1 and truth["questions"][0][RESULT] is not None:
                    break
        spoiled = json.loads(message)
        spoiled["sequences"]["questions"].pop()
        spoiled["sequences"]["questions"][0]["user_result"] = "nonsense"
        at = self.ends()[0]
        self.send([json.dumps(spoiled, ensure_ascii=False).encode(), message])
        return truth["keen_id"], at, at + 1

    def records(self):
        """What Kafka holds of the topic: partition, offset, timestamp, key, value."""
        consumer = KafkaConsumer(bootstrap_servers=self.stack.kafka, enable_auto_commit=False)
        found = []
        for number in sorted(consumer.partitions_for_topic(self.topic)):
            at = TopicPartition(self.topic, number)
            consumer.assign([at])
            consumer.seek_to_beginning(at)
            end = consumer.end_offsets([at])[at]
            while consumer.position(at) < end:
                found += consumer.poll(timeout_ms=1000).get(at, ())
        consumer.close()
        return found

    def ends(self):
        """{partition: end}"""
        with contextlib.closing(KafkaConsumer(bootstrap_servers=self.stack.kafka)) as consumer:
            return {at.partition: end for at, end in consumer.end_offsets([TopicPartition(self.topic, n) for n in consumer.partitions_for_topic(self.topic)]).items()}

    def check(self, records=None, order=lambda record: (record.partition, record.offset)):
        """Every promise about this feed, now that it is landed to its end. order: in which the records were judged."""
        if records is None:
            records = self.records()
            lost = collections.Counter(self.sent) - collections.Counter(record.value for record in records)
            assert not lost, f"{sum(lost.values())} acknowledged messages are not in topic {self.topic}"
        expected = verdicts((record.partition, record.offset, record.value) for record in sorted(records, key=order))
        ledger = self.stack.table(self.topic, "messages")
        assert len(ledger) == len(records), f"{self.topic}: {len(records)} records, {len(ledger)} rows in the ledger"
        assert {(r["kafka_partition"], r["kafka_offset"]): (r["key"], r["value"]) for r in ledger} == {(r.partition, r.offset): (r.key, r.value) for r in records}
        for row in ledger:
            status, reason = expected[row["kafka_partition"], row["kafka_offset"]]
            assert row["status"] == status and (row["reason"] or "").startswith(reason or "") and (row["reason"] is None) == (reason is None), (self.topic, row)
        accepted = [record for record in records if expected[record.partition, record.offset][0] == "accepted"]
        attempts, questions, options = [], [], []
        for record in accepted:
            message = json.loads(record.value)
            # The form with another name is the first of its id where Kafka lost the right one before it was landed.
            attempt, its_questions, its_options = truth_rows(self.truth[message["keen_id"]], exam_name=message["exam_name"])
            attempts.append({**attempt, "kafka_partition": record.partition, "kafka_offset": record.offset})
            questions += its_questions
            options += its_options
        assert by(without(self.stack.table(self.topic, "attempts"), "content_hash"), "keen_id") == by(attempts, "keen_id")
        assert by(self.stack.table(self.topic, "questions"), "keen_id", "question_position") == by(questions, "keen_id", "question_position")
        assert by(self.stack.table(self.topic, "options"), "keen_id", "question_position", "option_position") == by(options, "keen_id", "question_position", "option_position")
        assert "DIFFERS" not in self.stack.make("verify", TOPIC=self.topic, DATA="none")
        return len(records), len(accepted)


def key_of(message):
    try:
        return json.loads(message)["keen_id"].encode()
    except ValueError:
        return b""


def check_equal_to_quiet(feed, quiet):
    """The tables of a feed that was landed under fire, and of one that got the same messages once, in peace."""
    for table, key in (("attempts", ["keen_id"]), ("questions", ["keen_id", "question_position"]), ("options", ["keen_id", "question_position", "option_position"])):
        assert by(without(feed.stack.table(feed.topic, table), "kafka_partition", "kafka_offset"), *key) == by(without(feed.stack.table(quiet.topic, table), "kafka_partition", "kafka_offset"), *key)

    def verdicts_of(topic):
        return collections.Counter((row["key"], row["value"], row["keen_id"], row["content_hash"], row["status"], re.sub(r": \d+-\d+$", "", row["reason"] or "")) for row in feed.stack.table(topic, "messages"))
    mine, its = verdicts_of(feed.topic), verdicts_of(quiet.topic)
    assert not its - mine, "the quiet run has rows that this one lacks"
    # More of the same only where something was sent twice: a repeat, or a message that is as wrong the second time.
    twice = collections.Counter(record.value for record in feed.records()) - collections.Counter(feed.sent)
    more = mine - its
    assert collections.Counter(row[1] for row in more.elements()) == twice and all(row[4] in ("duplicate", "rejected") for row in more)


class Reader(threading.Thread):
    """Opens `attempts` and then its children, over and over, through every fault: invariant 4. may_refuse: HDFS may be
    out of order while its servers live (a full disk), and only what was read counts."""

    REFUSED_S, STARTING_S = 30, 60  # a server that has just begun may refuse for as long as `make up` would wait for it
    LAST_ROUND_S = 45

    def __init__(self, stack, *topics, may_refuse=False):
        super().__init__(daemon=True)
        self.stack, self.topics, self.may_refuse = stack, list(topics), may_refuse
        self.broken, self.reads, self.unreadable, self.ended = [], collections.Counter(), 0, threading.Event()
        self.refused = {}  # {topic: (HDFS's servers, since when they refuse it, their start not counted)}
        self.last_error, self.died, self.hung, self.last_round = {}, None, False, set()

    def run(self):
        try:
            pause = 0.5
            while not self.ended.wait(pause):
                begun = time.monotonic()
                for topic in list(self.topics):
                    self.read(topic)
                # Large tables must not cost the landings their processors; and a read that HDFS kept waiting no long rest.
                pause = min(max(0.5, 3 * (time.monotonic() - begun)), 10)
            # The faults are over: now every topic must be readable.
            limit = time.monotonic() + self.LAST_ROUND_S
            for topic in list(self.topics):
                while not self.read(topic) and time.monotonic() < limit:
                    time.sleep(0.5)
        except BaseException:
            self.died = traceback.format_exc()

    def read(self, topic):
        """True when the topic's tables were read, and there was something in them."""
        ending, servers = self.ended.is_set(), self.servers()
        try:
            found = [deltalake.DeltaTable(f"{self.stack.hdfs}/warehouse/{topic}/{name}").to_pyarrow_table(columns=columns) for name, columns in (
                ("attempts", ["keen_id", "question_count"]), ("questions", ["keen_id", "question_position", "option_count"]),
                ("options", ["keen_id", "question_position", "option_position"]))]
        except Exception as error:  # the stack is down, or the tables are not there yet; or they are broken
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
        """It is an excuse that a server is dead or starting. When both of HDFS's lived on, the same ones, through reads
        that failed for half a minute, then something is missing."""
        if self.may_refuse or servers is None or servers != self.servers() or isinstance(error, deltalake.exceptions.TableNotFoundError):
            self.refused.pop(topic, None)
            return
        if self.refused.get(topic, (None, 0))[0] != servers:
            self.refused[topic] = servers, max(time.time(), *(begun + self.STARTING_S for _, begun in servers))
        elif time.time() - self.refused[topic][1] > self.REFUSED_S:
            self.broken.append(f"{topic}: not readable for {self.REFUSED_S} s while NameNode and DataNode lived: {self.last_error[topic]}")
            self.refused.pop(topic)

    def servers(self):
        """NameNode and DataNode, each by its pid and when it began; None unless both live."""
        try:
            pids = self.stack.service_pids()
            processes = [psutil.Process(pids[name]) for name in ("namenode", "datanode")]
            return None if any(process.status() == psutil.STATUS_ZOMBIE for process in processes) else [(process.pid, process.create_time()) for process in processes]
        except (OSError, LookupError, ValueError, psutil.Error):  # a pid file that is missing or half written, a pid of nobody
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
        assert not self.hung, f"the reader hangs in a read: {self.reads}, errors before: {self.last_error}"
        assert set(self.topics) == self.last_round, f"of {self.topics} only {sorted(self.last_round)} could be read after the last fault: {self.last_error}"


# --- landings that are watched -------------------------------------------------------------------

class Landing:
    """A `make land` at work, as a user starts it; its processes, its output, and what it wrote since it began."""

    def __init__(self, feed, target="land", **knobs):
        self.feed, self.client, self.begun = feed, hdfs_native.Client(feed.stack.hdfs), time.monotonic()
        self.base = f"/warehouse/{feed.topic}"
        self.before = {path: self.listing(path) for path in [*TABLES, *(f"{table}/_delta_log" for table in TABLES), "_checkpoint/offsets", "_checkpoint/commits"]}
        self.output = conftest.ROOT / feed.stack.run_dir / f"{target}-{next(NUMBERS)}.out"
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(feed.stack.command(target, TOPIC=feed.topic, **knobs), cwd=conftest.ROOT, env=conftest.clean_environment(), start_new_session=True,
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        self.python = self.jvm = None

    def struck(self):
        """Whether a server has died since it began."""
        return self.feed.stack.whole_since > self.begun

    def listing(self, path):
        while True:
            try:
                return {each.path for each in self.client.list_status(f"{self.base}/{path}") if each.path.endswith((".parquet", ".json")) or "_checkpoint" in path and "." not in each.path.rsplit("/", 1)[1]}
            except FileNotFoundError:
                return set()
            except Exception:
                if not self.struck():
                    raise
                self.feed.stack.make("up")  # the NameNode is away

    def wait_for(self, step):
        """True as soon as the step is seen; False when the landing ended before. A step:
        'tables' (of a new feed, some of them made), 'session', 'planned' (offsets are in the checkpoint), 'options begun'
        (files, no commit yet), 'options' (committed), … 'messages', 'checkpoint' (the batch is done)."""
        limit = time.monotonic() + LIMIT_S
        while self.jvm is None:  # make, env.sh and Python come first
            if not self.alive(limit):
                return False
            if step == "tables" and self.listing("questions/_delta_log"):
                return True
            for process in psutil.Process(self.process.pid).children(recursive=True):
                try:
                    # Not the shell that becomes it, nor the launcher that works its command out: these have the word in theirs too.
                    if process.name() == "java" and "org.apache.spark.deploy.SparkSubmit" in process.cmdline() and "org.apache.spark.launcher.Main" not in process.cmdline():
                        self.python = process.parent()
                        self.jvm = process
                        self.feed.jvms.append(process)
                except psutil.NoSuchProcess:
                    pass
            time.sleep(0.2)
        if step == "tables":
            return True
        if step == "session":
            pause = time.monotonic() + self.feed.rng.uniform(0, 5)
            while time.monotonic() < pause and self.alive(limit):
                time.sleep(0.01)
            return self.process.poll() is None
        path = {"planned": "_checkpoint/offsets", "checkpoint": "_checkpoint/commits"}.get(step) or (step.removesuffix(" begun") if step.endswith(" begun") else f"{step}/_delta_log")
        # The first commit of a table makes it, and is none of a batch.
        while all(each.endswith(f"/{0:020}.json") for each in self.listing(path) - self.before[path]):
            if not self.alive(limit):
                return False
            time.sleep(0.03)
        return self.process.poll() is None

    def alive(self, limit):
        assert time.monotonic() < limit, f"after {LIMIT_S} s:\n{self.output.read_text()}"
        return self.process.poll() is None

    def kill(self, victim):
        """driver: Python and JVM and all, at once; jvm, python: one of them. True when it was at work."""
        at_work = self.process.poll() is None and "error: " not in self.output.read_text()
        try:
            if victim == "driver" or self.jvm is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            elif victim == "jvm":
                self.jvm.kill()
            elif self.python is not None:
                self.python.kill()
            else:
                at_work = False
        except (ProcessLookupError, psutil.NoSuchProcess):
            at_work = False
        return not re.search(r"^(landed|rebuilt) in ", self.wait(), re.MULTILINE) and at_work and self.process.returncode != 0

    def ended_by_itself(self):
        """For a landing that nobody killed: it must have ended well, unless a server died under it. False, for no kill counts."""
        said = self.wait()
        assert self.process.returncode == 0 or self.struck() and "error: " in said, f"it failed, and nothing was killed:\n{said}"
        return False

    def wait(self):
        """Its output, once it has ended by itself; never a stack trace."""
        try:
            self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(f"it did not end within {LIMIT_S} s:\n{self.output.read_text()}") from None
        said = self.output.read_text()
        assert "Traceback" not in said and "\tat " not in said, said
        return said


def synthetic_lines(stack, tmp_path, name, seed, at_once=200):
    """Yields (message as bytes, its line of the truth) without end, made up `at_once` at a time."""
    for number in itertools.count():
        path = tmp_path / f"{name}-{number}.jsonl"
        stack.make("data", SYNTHETIC=at_once, SEED=seed + 1000 * number, DATA=path)
        truth = pathlib.Path(f"{path}.truth.rows.jsonl").read_text().splitlines()
        yield from zip(path.read_bytes().splitlines(), map(json.loads, truth), strict=True)


# --- the kills -----------------------------------------------------------------------------------

DRIVER_STEPS = ["session", "planned", *(step for table in TABLES for step in (f"{table} begun", table)), "checkpoint"]
TRIES = 5  # a kill that came too late is made again


def kill_landing(feed, step, publish=lambda: None, target="land", before=None):
    """publish(), then a landing, killed at the step; both again while the kill came too late. before: what must not be
    there yet when it is dead, a path that wait_for knows. Returns what publish() gave when the kill counted."""
    for _ in range(TRIES):
        given = publish()
        landing = Landing(feed, target)
        if not landing.wait_for(step):
            landing.ended_by_itself()
        elif landing.kill("driver") and (before is None or landing.listing(before) == landing.before[before]):
            return given
        say(f"  {feed.topic}: driver of {target} at {step} came too late, and does not count")
    raise AssertionError(f"{target} was never at work at {step}")


def kill_driver(feed, step, victim):
    """Publishes, lands, and kills the landing at the step. True when it counts."""
    feed.publish()
    landing = Landing(feed)
    return landing.kill(victim) if landing.wait_for(step) else landing.ended_by_itself()


@contextlib.contextmanager
def outage(stack):
    """While servers of the stack are killed: whoever is at work meanwhile may fail. Then the documented command."""
    stack.whole_since = math.inf
    yield
    stack.make("up")
    stack.whole_since = time.monotonic()


def kill_servers(feed, names, step):
    """kill -9 of servers (all three and the landing: a power cut) while a landing is at the step. True when it counts."""
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
    """make publish of a larger file, cut off half way: kcat, or the broker below it, is killed. Then the documented command."""
    messages = feed.next_messages(1500)
    path = tmp_path / f"{feed.topic}-{len(feed.sent)}.jsonl"
    path.write_bytes(b"".join(m + b"\n" for m in messages if key_of(m)))  # a torn line is not sent by publish
    pathlib.Path(f"{path}.truth.json").write_text("{}")
    half = feed.rng.randrange(1, len(messages) // 2)
    output = path.with_suffix(".out")
    with contextlib.closing(KafkaConsumer(bootstrap_servers=feed.stack.kafka, enable_auto_commit=False)) as consumer, open(output, "wb") as out:
        partitions = [TopicPartition(feed.topic, number) for number in consumer.partitions_for_topic(feed.topic)]
        before = sum(consumer.end_offsets(partitions).values())
        publishing = subprocess.Popen(feed.stack.command("publish", TOPIC=feed.topic, DATA=path), cwd=conftest.ROOT, env=conftest.clean_environment(), start_new_session=True,
                                      stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        limit = time.monotonic() + LIMIT_S
        while publishing.poll() is None and sum(consumer.end_offsets(partitions).values()) < before + half:
            assert time.monotonic() < limit, output.read_text()
        kcats = living_kcats(publishing)
        at_work = bool(kcats)
        if at_work and victim == "broker":
            with outage(feed.stack):
                os.kill(feed.stack.service_pids()["kafka"], signal.SIGKILL)
                at_work = any(map(lives, kcats))  # it did not end while this looked
        for kcat in kcats if victim == "kcat" else ():
            try:
                kcat.kill()
            except psutil.NoSuchProcess:
                at_work = False
    # Whether it counts or not, all must be well again afterwards.
    code, said = publishing.wait(LIMIT_S), output.read_text()
    # Without the broker it may be a step before or after kcat that says so.
    assert "Traceback" not in said and (code == 0 or kcats and ("error: not all of" if victim == "kcat" else "error: ") in said), said
    feed.stack.make("publish", TOPIC=feed.topic, DATA=path)  # nothing to do, or all of it again
    feed.sent += [m for m in messages if key_of(m)]
    return at_work and not (victim == "kcat" and code == 0)


def lives(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def living_kcats(publishing):
    """The kcat of this make publish, while it lives."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(publishing.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() == "kcat" and lives(process):
                    found.append(process)
    return found


@pytest.mark.timeout(600 + 120 * KILLS)
def test_whatever_is_killed_nothing_is_lost_and_nothing_doubled(stack, tmp_path):
    rng = random.Random(SEED)
    begin = time.monotonic()
    say(f"\n{KILLS} kills, SEED={SEED}")
    # Every kind, in an order of the seed, and again until there are enough; the landings' twice as often.
    of_landings = [*((step, "driver") for step in DRIVER_STEPS), ("options begun", "jvm"), ("attempts", "python"), ("messages begun", "jvm"), ("questions", "python")]
    of_servers = [*(("landing", name) for name in ("kafka", "namenode", "datanode", "all")), ("publishing", "broker"), ("publishing", "kcat")]
    plan = [("tables", "driver")] * 2  # the first of either feed
    while len(plan) < KILLS:
        for kinds in (of_landings, of_servers, of_landings):
            plan += rng.sample(kinds, len(kinds))
    plan = plan[:KILLS]
    lines = [synthetic_lines(stack, tmp_path, f"lane-{number}", SEED * 10 + number, 5000) for number in (1, 2)]
    lanes = [Feed(stack, f"synthetic_lane_{number}", partitions, lines[number - 1], random.Random(SEED * 10 + number)) for number, partitions in ((1, 1), (2, 3))]
    counted, missed, lock = collections.Counter(), collections.Counter(), threading.Lock()

    def run(feed, kind, act):
        for _ in range(TRIES):
            if act():
                with lock:
                    counted[kind] += 1
                    say(f"  {sum(counted.values()):>4}  {time.monotonic() - begin:>6.0f} s  {feed.topic}: {kind[1]} killed at {kind[0]}")
                return
            with lock:
                missed[kind] += 1
                say(f"        {time.monotonic() - begin:>6.0f} s  {feed.topic}: {kind[1]} at {kind[0]} met nothing at work any more, and does not count")
        raise AssertionError(f"{kind} was never at work")

    def kill(feed, kind):
        if kind[0] == "publishing":
            run(feed, kind, lambda: kill_publishing(feed, kind[1], tmp_path))
        elif kind[0] == "landing":
            # Once a batch is read, the broker has nothing to do for it.
            step = "planned" if kind[1] == "kafka" else rng.choice(DRIVER_STEPS[1:-1])
            run(feed, kind, lambda: kill_servers(feed, kind[1], step))
        else:
            run(feed, kind, lambda: kill_driver(feed, *kind))

    def take(number):
        """The next kill that this lane may make, or None."""
        with lock:
            kind = next((kind for kind in plan if number == 0 or kind not in of_servers), None)
            if kind:
                plan.remove(kind)
            return kind

    with Reader(stack, *(feed.topic for feed in lanes)) as reader:
        # Two feeds side by side; who is done takes the next. Servers die at a step of the first feed's landing, and
        # wherever the second feed just is, which then does its own again.
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            def lane(number):
                try:
                    while kind := take(number):
                        kill(lanes[number], kind)
                except BaseException:
                    plan.clear()  # where one fails, the other comes to its end
                    raise
            list(pool.map(lane, (0, 1)))
        # The documented command, once; and the same messages in peace.
        quiet = [Feed(stack, f"synthetic_quiet_{number}", 1, iter(()), rng) for number in (1, 2)]
        for feed, peace in zip(lanes, quiet, strict=True):
            peace.send(feed.sent)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda feed: stack.make("land", TOPIC=feed.topic), [*lanes, *quiet]))
    reader.check()
    for feed, peace in zip(lanes, quiet, strict=True):
        records, accepted = feed.check()
        check_equal_to_quiet(feed, peace)
        say(f"  {feed.topic}: {len(feed.sent):,} messages sent, {records:,} records in the topic, {accepted:,} attempts: 0 lost, 0 doubled")
        # Not psutil.wait_procs: in a long run a pid may be that of another process's thread by now, and it stumbles over such.
        limit = time.monotonic() + 60
        while living := [jvm for jvm in feed.jvms if jvm.is_running() and lives(jvm)]:
            assert time.monotonic() < limit, f"a JVM outlived its landing: {living}"
            time.sleep(0.5)
    say(f"  {sum(counted.values())} kills in {time.monotonic() - begin:.0f} s ({sum(missed.values())} more met nothing at work and do not count); "
        f"{sum(reader.reads.values())} reads found every child, {reader.unreadable} found the stack down or no tables yet")
    for kind, number in sorted(counted.items(), key=str):
        say(f"  {number:>4}  {kind[1]} at {kind[0]}")
    assert sum(counted.values()) == KILLS


# --- faults of their own kinds -------------------------------------------------------------------

def kept_aside(feed):
    """The documented way to begin anew: the feed's tables moved aside, by the very command that the message named."""
    command = re.search(r"hadoop fs -mv \S+ \S+?(?=;|\n)", feed.stack.make("land", ok=False, TOPIC=feed.topic))[0]
    subprocess.run(feed.stack.command("shell"), input=command + "\n", cwd=conftest.ROOT, env=conftest.clean_environment(), text=True, check=True, capture_output=True, timeout=LIMIT_S)


def tables_of(feed):
    return {table: feed.stack.table(feed.topic, table) for table in TABLES}


def wait_until_idle(process):
    """Until it uses hardly any CPU for a second."""
    limit, used = time.monotonic() + 60, -1
    while (now := sum(process.cpu_times()[:2])) > used + 0.1:
        assert time.monotonic() < limit, f"still busy: {process}"
        used = now
        time.sleep(1)


@pytest.mark.timeout(1800)
def test_what_went_wrong_inside_a_batch_is_named(stack, tmp_path):
    """The DataNode dies between Spark's plan of a batch and the first file that the batch reads in Python: Spark knows of
    that no more than a Python trace, and the message must name the cause all the same."""
    feed = Feed(stack, "synthetic_batch", 1, synthetic_lines(stack, tmp_path, "batch", SEED), random.Random(SEED))
    for _ in range(TRIES):
        feed.publish()
        landing = Landing(feed)
        assert landing.wait_for("planned")
        landing.python.suspend()
        wait_until_idle(landing.jvm)  # it has read back its plan, and waits for Python
        datanode = psutil.Process(stack.service_pids()["datanode"])
        datanode.kill()
        psutil.wait_procs([datanode], timeout=60)
        landing.python.resume()
        said = landing.wait()
        stack.make("up")
        if "All DataNodes failed" in said:
            break
    assert re.search(r"^error: landing was interrupted: .*All DataNodes failed: \[127\.0\.0\.1:\d+\]", said, re.MULTILINE), said
    stack.make("land", TOPIC=feed.topic)
    feed.check()


@pytest.mark.timeout(1800)
def test_the_same_event_again_in_every_way_and_two_landings_at_once(stack, tmp_path):
    feed = Feed(stack, "synthetic_again", 3, synthetic_lines(stack, tmp_path, "again", SEED), random.Random(SEED))
    landed = []  # {partition: end} at each batch

    def publish():
        first = feed.next_messages(20)
        feed.send(first + first[:5])                  # the same later in the same batch
        for partition in ("1", "2"):                  # in other partitions
            feed.send(first[5:9], "-p", partition)
        landed.append(feed.ends())
        return first

    with Reader(stack, feed.topic) as reader:
        first = kill_landing(feed, "planned", publish, before="_checkpoint/commits")
        feed.send(first)                              # in a later batch of the same run: the cut-off one comes first
        both = [Landing(feed), Landing(feed)]
        said = [landing.wait() for landing in both]
        assert sorted(landing.process.returncode == 0 for landing in both) == [False, True], said
        assert sum(f"error: feed {feed.topic} is being written already" in text and "land.py, pid" in text for text in said) == 1, said
        assert sum(len(re.findall(r"^ +\d+  \d+: \d+-", text, re.MULTILINE)) for text in said) == 2  # two batches
        landed.append(feed.ends())
        # In another run: the same file by two publishers at once, its last line torn; then mended.
        messages = [message for message in first if key_of(message)] + [m for m in feed.next_messages(20) if key_of(m)]
        path = tmp_path / "again-file.jsonl"
        pathlib.Path(f"{path}.truth.json").write_text("{}")
        path.write_bytes(b"\n".join(messages)[:-30])
        publishers = [subprocess.Popen(stack.command("publish", TOPIC=feed.topic, DATA=path, FORCE=1), cwd=conftest.ROOT, env=conftest.clean_environment(), text=True,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
        for publisher in publishers:
            assert f"record {len(messages)}: it is not JSON" in publisher.communicate(timeout=LIMIT_S)[0] and publisher.returncode != 0
        path.write_bytes(b"\n".join(messages) + b"\n")
        stack.make("publish", TOPIC=feed.topic, DATA=path)
        feed.sent += messages * 3
        feed.sent.remove(messages[-1])
        feed.sent.remove(messages[-1])
        stack.make("land", TOPIC=feed.topic)
    reader.check()
    records, accepted = feed.check(order=lambda r: (next((n for n, ends in enumerate(landed) if r.offset < ends[r.partition]), len(landed)), r.timestamp, r.partition, r.offset))
    say(f"  {records} records, {accepted} attempts: every repeat is known as one, in each of the seven ways")


@pytest.mark.timeout(1800)
def test_records_gone_before_they_were_landed_and_a_topic_made_anew(stack, tmp_path):
    feed = Feed(stack, "synthetic_gone", 1, synthetic_lines(stack, tmp_path, "gone", SEED), random.Random(SEED))
    feed.publish(20)
    stack.make("land", TOPIC=feed.topic)

    def publish():
        end = feed.ends()[0]  # up to here all is landed, by the landings whose kill came too late, too
        feed.publish(20)
        return end

    with Reader(stack, feed.topic) as reader:
        end = kill_landing(feed, "attempts", publish, before="messages/_delta_log")  # and of the interrupted batch, a part is lost
        records = feed.records()
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=stack.kafka)) as admin:
            admin.delete_records({TopicPartition(feed.topic, 0): end + 10})
        before = tables_of(feed)
        said = stack.make("land", ok=False, TOPIC=feed.topic)
        assert f"partition 0: offsets {end} to {end + 9}, 10 records" in said and "SKIP_EXPIRED=1" in said
        assert tables_of(feed) == before
        said = stack.make("land", TOPIC=feed.topic, SKIP_EXPIRED=1)
        assert f"skipped, since they are gone: partition 0, offsets {end} to {end + 9}" in said
    reader.check()
    assert "nothing new" in stack.make("land", TOPIC=feed.topic)
    assert f"offsets {end} to {end + 9}" in stack.make("verify", TOPIC=feed.topic, DATA="none")
    feed.check(records=[record for record in records if not end <= record.offset < end + 10])

    # Deleted and made anew, first shorter and then longer than what was landed: landing stops, until the user decides.
    before = tables_of(feed)
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=stack.kafka)) as admin:
        admin.delete_topics([feed.topic])
    limit = time.monotonic() + 60
    while "Created topic" not in stack.make("topic", ok=None, TOPIC=feed.topic):
        assert time.monotonic() < limit
    feed.sent, feed.good = [], []
    for count in (5, 60):
        feed.publish(count)
        assert "it was deleted and made anew" in stack.make("land", ok=False, TOPIC=feed.topic)
    assert tables_of(feed) == before
    kept_aside(feed)
    stack.make("land", TOPIC=feed.topic)
    feed.check()


def leave_as_an_older_version_would(feed, keen_id, spoiled_at, right_at):
    """The tables as other rules would have made them. keen_id: that of a message of which a spoiled form was sent before
    it. Returns the place of a second delivery that was taken for the first."""
    table = {name: deltalake.DeltaTable(f"{feed.stack.hdfs}/warehouse/{feed.topic}/{name}") for name in TABLES}
    rows = tables_of(feed)
    mentioned = {row["reason"].rsplit(": ", 1)[1] for row in rows["messages"] if (row["reason"] or "").startswith(("duplicate_of", "conflicts_with"))}
    alone = [row for row in rows["attempts"] if f"0-{row['kafka_offset']}" not in mentioned and row["keen_id"] != keen_id]
    refused, changed, copied = alone[:3]
    # It refused one that is right today,
    table["messages"].update(predicate=f"kafka_offset = {refused['kafka_offset']}", updates={"status": "'rejected'", "reason": "'wrong_type: by an older rule'"})
    for name in ("attempts", "questions", "options"):
        table[name].delete(f"keen_id = '{refused['keen_id']}'")
    # made a column wrong,
    table["options"].update(predicate=f"keen_id = '{changed['keen_id']}'", updates={"submitted": "NOT submitted"})
    # accepted one that is wrong today (the children first, for readers),
    wrong = next(row for row in rows["messages"] if (row["reason"] or "").startswith("not_json"))
    for name in ("options", "questions", "attempts"):
        frame = table[name].to_pyarrow_table()
        frame = frame.filter([its == copied["keen_id"] for its in frame["keen_id"].to_pylist()])
        for column, value in {"keen_id": "accepted-by-an-older-rule", "kafka_offset": wrong["kafka_offset"]}.items():
            if column in frame.column_names:
                index = frame.schema.get_field_index(column)
                frame = frame.set_column(index, frame.schema.field(index), [[value] * frame.num_rows])
        deltalake.write_deltalake(table[name], frame, mode="append")
    table["messages"].update(predicate=f"kafka_offset = {wrong['kafka_offset']}", updates={"status": "'accepted'", "reason": "null", "keen_id": "'accepted-by-an-older-rule'"})
    # accepted the spoiled one and so refused the right one, which has a question more,
    its = {row["kafka_offset"]: row for row in rows["messages"] if row["keen_id"] == keen_id}
    assert (its[spoiled_at]["status"], its[right_at]["status"]) == ("rejected", "accepted") and its[spoiled_at]["reason"].startswith("unknown_result"), its
    questions = next(row["question_count"] for row in rows["attempts"] if row["keen_id"] == keen_id)
    table["attempts"].update(predicate=f"keen_id = '{keen_id}'", updates={"kafka_offset": str(spoiled_at), "question_count": str(questions - 1), "content_hash": f"'{its[spoiled_at]['content_hash']}'"})
    for name in ("questions", "options"):
        table[name].delete(f"keen_id = '{keen_id}' AND question_position = {questions - 1}")
    table["questions"].update(predicate=f"keen_id = '{keen_id}' AND question_position = 0", updates={"user_result": "'nonsense'"})
    table["messages"].update(predicate=f"kafka_offset = {spoiled_at}", updates={"status": "'accepted'", "reason": "null"})
    table["messages"].update(predicate=f"kafka_offset = {right_at}", updates={"status": "'rejected'", "reason": f"'conflicts_with: 0-{spoiled_at}'"})
    # and took a second delivery for the first, for it came in an earlier batch.
    again = next(row for row in rows["messages"] if row["status"] == "duplicate" and sum(other["keen_id"] == row["keen_id"] for other in rows["messages"]) == 2)
    first = next(row for row in rows["messages"] if row["keen_id"] == again["keen_id"] and row["status"] == "accepted")
    table["attempts"].update(predicate=f"keen_id = '{again['keen_id']}'", updates={"kafka_offset": str(again["kafka_offset"])})
    table["messages"].update(predicate=f"kafka_offset = {again['kafka_offset']}", updates={"status": "'accepted'", "reason": "null"})
    table["messages"].update(predicate=f"kafka_offset = {first['kafka_offset']}", updates={"status": "'duplicate'", "reason": f"'duplicate_of: 0-{again['kafka_offset']}'"})
    return again["kafka_offset"]


@pytest.mark.timeout(1800)
def test_reprocess_is_killed_while_the_broker_is_away_for_a_minute_of_another_landing(stack, tmp_path):
    feed = Feed(stack, "synthetic_rules", 1, synthetic_lines(stack, tmp_path, "rules", SEED), random.Random(SEED))
    other = Feed(stack, "synthetic_minute", 1, synthetic_lines(stack, tmp_path, "minute", SEED + 1), random.Random(SEED + 1))
    feed.publish(30)
    keen_id, spoiled_at, right_at = feed.send_spoiled_and_right()
    stack.make("land", TOPIC=feed.topic)
    stays = leave_as_an_older_version_would(feed, keen_id, spoiled_at, right_at)
    for _ in range(TRIES):
        other.publish(30)
        minute = Landing(other)
        if minute.wait_for("planned"):
            break
        minute.ended_by_itself()
    else:
        raise AssertionError("no landing was at work when the broker was to go")
    gone = time.monotonic()
    os.kill(stack.service_pids()["kafka"], signal.SIGKILL)
    with Reader(stack, feed.topic) as reader:
        # The first commit to attempts is the one in which those go that get other children; then the children; then attempts anew.
        for step in ("attempts", "options", "attempts"):
            kill_landing(feed, step, target="reprocess")
        assert "rebuilt in" in stack.make("reprocess", TOPIC=feed.topic)
        kafka = stack.service_pids()["kafka"]
        assert not psutil.pid_exists(kafka)  # nobody needed it
    reader.check()
    assert [(row["status"], (row["reason"] or "").split(":")[0]) for row in by(stack.table(feed.topic, "messages"), "kafka_offset") if row["keen_id"] == keen_id] == [("rejected", "unknown_result"), ("accepted", "")]
    while time.monotonic() < gone + 60:
        time.sleep(1)
    say(f"  the broker was away for {time.monotonic() - gone:.0f} s")
    stack.make("up")
    said = minute.wait()
    assert minute.process.returncode == 0 or "error: landing was interrupted" in said, said
    stack.make("land", TOPIC=other.topic)
    other.check()
    feed.publish(10)
    stack.make("land", TOPIC=feed.topic)  # and it goes on
    feed.check(order=lambda record: (record.offset != stays, record.offset))


@pytest.mark.timeout(1800)
def test_a_feed_backed_up_is_restored_in_an_empty_stack_and_where_it_was(stack, tmp_path):
    feed = Feed(stack, "synthetic_kept", 3, synthetic_lines(stack, tmp_path, "kept", SEED), random.Random(SEED))
    feed.publish(30)
    stack.make("land", TOPIC=feed.topic)

    def publish():
        landed = len(feed.sent)
        feed.publish(20)
        return landed

    landed = kill_landing(feed, "questions", publish, before="messages/_delta_log")  # an interrupted batch is part of it
    file = tmp_path / "kept.tar"
    assert f"{len(feed.sent) - landed} records of topic {feed.topic} are not landed yet" in stack.make("backup", TOPIC=feed.topic, BACKUP=file)
    ledger = by(stack.table(feed.topic, "messages"), "kafka_partition", "kafka_offset")
    content, damaged = file.read_bytes(), []
    for number, place in enumerate((len(content) // 2, re.search(rb'"landed": \{\s+"\d+": (\d)', content).start(1))):
        damaged.append(tmp_path / f"damaged-{number}.tar")  # one byte of a table's file, and a digit of how far it is landed
        damaged[-1].write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1:])

    with conftest.started(".run-empty") as empty:
        moved = copy.copy(feed)
        moved.stack, moved.sent = empty, feed.sent[:landed]
        for each in damaged:
            assert "is damaged; nothing was restored" in empty.make("restore", ok=False, TOPIC=feed.topic, BACKUP=each)
        cut = subprocess.Popen(empty.command("restore", TOPIC=feed.topic, BACKUP=file), cwd=conftest.ROOT, env=conftest.clean_environment(), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client, limit = hdfs_native.Client(empty.hdfs), time.monotonic() + LIMIT_S
        while not any(each.path.endswith(f"_restore_{feed.topic}") for each in client.list_status("/warehouse")):
            assert cut.poll() is None and time.monotonic() < limit
        os.killpg(cut.pid, signal.SIGKILL)
        cut.wait()
        empty.make("restore", TOPIC=feed.topic, BACKUP=file)
        assert "is there already" in empty.make("restore", ok=False, TOPIC=feed.topic, BACKUP=file)
        moved.send(feed.sent[landed:] + feed.sent[:5])  # what was not landed is its publisher's to send again; and some repeats
        empty.make("land", TOPIC=feed.topic)
        moved.check()
        assert by(empty.table(feed.topic, "messages"), "kafka_partition", "kafka_offset") != ledger
        assert [row for row in by(empty.table(feed.topic, "messages"), "kafka_partition", "kafka_offset") if row in ledger] == ledger  # times and all
        empty.make("down")
        empty.make("up")
        assert "nothing new" in empty.make("land", TOPIC=feed.topic)

    # HDFS is lost, Kafka is not: landing goes on where the backup stood.
    hdfs_native.Client(stack.hdfs).delete(f"/warehouse/{feed.topic}", recursive=True)
    assert "is the one that the feed was landed from" in stack.make("restore", TOPIC=feed.topic, BACKUP=file)
    stack.make("land", TOPIC=feed.topic)
    feed.check()


@pytest.mark.timeout(1800)
def test_a_full_disk_stops_landing_and_harms_nothing(tmp_path):
    stack = conftest.Stack(".run-full")
    storage = conftest.ROOT / stack.run_dir / "storage"
    if storage.parent.exists():  # of an interrupted run
        (storage / "filler").unlink(missing_ok=True)
        stack.make("down", ok=None)
        if storage.is_mount():
            subprocess.run(["umount", storage], check=True)
        shutil.rmtree(storage.parent)
    with contextlib.ExitStack() as leave:  # its steps are all made, last first, whatever becomes of the others
        stack.make("setup")
        leave.callback(stack.make, "clean", YES=1)
        storage.mkdir(exist_ok=True)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1000m", "tmpfs", storage], capture_output=True).returncode == 0
        if mounted:
            leave.callback(subprocess.run, ["umount", storage], check=True)
        leave.callback(stack.make, "down")
        stack.make("up")
        feed = Feed(stack, "synthetic_full", 1, synthetic_lines(stack, tmp_path, "full", SEED), random.Random(SEED))

        def limit_files(most):
            for pid in stack.pids():
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (most, psutil.RLIM_INFINITY))

        def fill():
            if mounted:
                with contextlib.suppress(OSError), open(storage / "filler", "wb") as filler:
                    while True:
                        filler.write(b"0" * 2**20)
                        filler.flush()
                say("  the disk is full: a file system of 1,000 MB in memory, mounted as the run folder's storage, filled to its last byte")
            else:
                limit_files(4096)
                say("  the disk is full: nothing can be mounted here, so the servers are forbidden to write beyond the first 4 kB of any file (RLIMIT_FSIZE)")

        def empty():
            (storage / "filler").unlink(missing_ok=True)
            limit_files(psutil.RLIM_INFINITY)

        leave.callback(empty)  # or they could not stop in order
        with Reader(stack, feed.topic, may_refuse=True) as reader:
            for _ in range(TRIES):  # it may have written all before the disk was full
                feed.publish(20)
                landing = Landing(feed)
                if not landing.wait_for("options begun"):
                    landing.ended_by_itself()
                    continue
                fill()
                said = landing.wait()
                if landing.process.returncode != 0:
                    break
                empty()
                stack.make("up")
            else:
                raise AssertionError("no landing was at work when the disk was full")
            assert "error: landing was interrupted" in said, said
            assert "error: " in stack.make("land", ok=False, TOPIC=feed.topic)
            # Space again; then the documented command.
            empty()
            stack.make("land", TOPIC=feed.topic)
        reader.check()
        feed.check()
