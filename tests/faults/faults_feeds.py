"""The feeds of the fault tests: a topic, what was sent to it, and what its tables must hold."""

import collections
import contextlib
import itertools
import json
import pathlib
import random
import re
import subprocess
import time

from kafka import KafkaConsumer, TopicPartition

from oracle import RESULT, by, truth_rows, verdicts, without
from pipeline import settings
from pipeline.publishing import synthetic

SEED = settings.load().seed
LIMIT_S = 480  # for one landing, on a busy machine
FRESH = 30  # new messages published before each kill
TABLES = ["options", "questions", "attempts", "messages"]  # in the order of a batch's commits
KEYS = {
    "attempts": ["keen_id"],
    "questions": ["keen_id", "question_position"],
    "options": ["keen_id", "question_position", "option_position"],
}


def say(text):
    print(text, flush=True)


def synthetic_lines(tmp_path, name, seed, at_once=200):
    """Yields (message as bytes, its line of the truth) without end, made `at_once` at a time."""
    for number in itertools.count():
        path = tmp_path / f"{name}-{number}.jsonl"
        synthetic.write(at_once, seed + 1000 * number, str(path))
        truth = pathlib.Path(f"{path}.truth.rows.jsonl").read_text().splitlines()
        yield from zip(path.read_bytes().splitlines(), map(json.loads, truth), strict=True)


def synthetic_feed(stack, tmp_path, name, partitions=1, seed=SEED):
    """Returns a Feed on topic synthetic_NAME. Its messages and choices depend only on the seed."""
    lines = synthetic_lines(tmp_path, name, seed)
    return Feed(stack, f"synthetic_{name}", partitions, lines, random.Random(seed))


class Feed:
    """A topic, what was sent to it, and what its tables must hold."""

    def __init__(self, stack, topic, partitions, lines, rng):
        self.stack, self.topic, self.rng = stack, topic, rng
        self.fresh = lines  # (message as bytes, line of the truth)
        self.truth, self.good, self.sent = {}, [], []
        self.jvms = []
        self.publishings = itertools.count()
        stack.run("topic", TOPIC=topic, PARTITIONS=partitions)

    def next_messages(self, count):
        """Returns `count` new messages, two repeats, and one repeat with other content.

        The first call and every third one after it add a truncated message.
        """
        messages = []
        for _ in range(count):
            message, truth = next(self.fresh)
            if truth["attempt"]:
                self.truth[truth["keen_id"]] = truth
                self.good.append(message)
            messages.append(message)
        if next(self.publishings) % 3 == 0:
            messages.append(messages[-1][: self.rng.randrange(20, 400)])
        messages += self.rng.sample(self.good, 2)
        name, other_name = b'"exam_name": "', b'"exam_name": "Another '
        messages.append(self.rng.choice(self.good).replace(name, other_name, 1))
        return messages

    def publish(self, count=FRESH):
        """Sends the next messages with kcat, each acknowledged."""
        self.send(self.next_messages(count))

    def send(self, messages, *arguments):
        """Sends messages with kcat, each acknowledged; all again if the broker dies meanwhile."""
        kcat = ["kcat", "-P", "-b", self.stack.kafka, "-t", self.topic, "-K", "\t", "-Z"]
        kcat += ["-X", "enable.idempotence=true", "-X", "acks=all", *arguments]
        lines = b"".join(key_of(m) + b"\t" + m + b"\n" for m in messages)
        while True:
            begun = time.monotonic()
            done = subprocess.run(kcat, input=lines, timeout=LIMIT_S, capture_output=True)
            if done.returncode == 0:
                break
            assert self.stack.whole_since > begun, (
                f"kcat failed, and nothing was killed: {done.stderr.decode()}"
            )
            self.stack.make("up")
        self.sent += messages

    def send_spoiled_and_right(self):
        """Sends a message that today's rules reject, and after it the right one with the same id.

        The spoiled one lacks a question and has an unknown result. For topics of one partition.
        Returns (the id, offset of the spoiled message, offset of the right one).
        """
        while True:
            message, truth = next(self.fresh)
            if truth["attempt"]:
                # A message that is not sent here may still be sent later, as a repeat.
                self.truth[truth["keen_id"]] = truth
                if len(truth["questions"]) > 1 and truth["questions"][0][RESULT] is not None:
                    break
        spoiled = json.loads(message)
        spoiled["sequences"]["questions"].pop()
        spoiled["sequences"]["questions"][0]["user_result"] = "nonsense"
        at = self.ends()[0]
        self.send([json.dumps(spoiled, ensure_ascii=False).encode(), message])
        return truth["keen_id"], at, at + 1

    def records(self):
        """Returns all records in the topic, with partition, offset, timestamp, key and value."""
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
        """Returns {partition: end offset}."""
        with contextlib.closing(KafkaConsumer(bootstrap_servers=self.stack.kafka)) as consumer:
            numbers = consumer.partitions_for_topic(self.topic)
            ends = consumer.end_offsets([TopicPartition(self.topic, n) for n in numbers])
            return {at.partition: end for at, end in ends.items()}

    def check(self, records=None, order=lambda record: (record.partition, record.offset)):
        """Asserts every promise about this feed, once it is landed to its end.

        records: what the tables must hold. By default, all that the topic holds; then this also
        asserts that nothing sent is missing from the topic.
        order: sort key for the order in which landing judged the records.
        Returns (number of records, number of accepted ones).
        """
        if records is None:
            records = self.records()
            held = collections.Counter(record.value for record in records)
            lost = collections.Counter(self.sent) - held
            assert not lost, (
                f"{sum(lost.values())} acknowledged messages are not in topic {self.topic}"
            )
        expected = verdicts((r.partition, r.offset, r.value) for r in sorted(records, key=order))
        ledger = self.stack.table(self.topic, "messages")
        assert len(ledger) == len(records), (
            f"{self.topic}: {len(records)} records, {len(ledger)} rows in the ledger"
        )
        assert {
            (r["kafka_partition"], r["kafka_offset"]): (r["key"], r["value"]) for r in ledger
        } == {(r.partition, r.offset): (r.key, r.value) for r in records}
        for row in ledger:
            status, reason = expected[row["kafka_partition"], row["kafka_offset"]]
            assert (
                row["status"] == status
                and (row["reason"] or "").startswith(reason or "")
                and (row["reason"] is None) == (reason is None)
            ), (self.topic, row)
        accepted = [r for r in records if expected[r.partition, r.offset][0] == "accepted"]
        attempts, questions, options = [], [], []
        for record in accepted:
            message = json.loads(record.value)
            # The one with another name comes first where Kafka lost the right one before landing.
            attempt, its_questions, its_options = truth_rows(
                self.truth[message["keen_id"]], exam_name=message["exam_name"]
            )
            position = {"kafka_partition": record.partition, "kafka_offset": record.offset}
            attempts.append({**attempt, **position})
            questions += its_questions
            options += its_options
        found = without(self.stack.table(self.topic, "attempts"), "content_hash")
        assert by(found, *KEYS["attempts"]) == by(attempts, *KEYS["attempts"])
        for table, rows in (("questions", questions), ("options", options)):
            found = self.stack.table(self.topic, table)
            assert by(found, *KEYS[table]) == by(rows, *KEYS[table])
        assert "DIFFERS" not in self.stack.run("verify", TOPIC=self.topic, DATA="none")
        return len(records), len(accepted)


def key_of(message):
    """Returns the Kafka key of a message (bytes): its id, or nothing when it is truncated."""
    try:
        return json.loads(message)["keen_id"].encode()
    except ValueError:
        return b""


def tables_of(feed):
    """Returns {table: its rows}."""
    return {table: feed.stack.table(feed.topic, table) for table in TABLES}


def check_equal_to_quiet(feed, quiet):
    """Asserts that a feed landed under faults equals one that got its messages without faults."""

    def rows_of(topic, table):
        rows = without(feed.stack.table(topic, table), "kafka_partition", "kafka_offset")
        return by(rows, *KEYS[table])

    def verdicts_of(topic):
        return collections.Counter(
            (
                *(row[name] for name in ("key", "value", "keen_id", "content_hash", "status")),
                re.sub(r": \d+-\d+$", "", row["reason"] or ""),
            )
            for row in feed.stack.table(topic, "messages")
        )

    for table in KEYS:
        assert rows_of(feed.topic, table) == rows_of(quiet.topic, table)
    mine, its = verdicts_of(feed.topic), verdicts_of(quiet.topic)
    assert not its - mine, "the quiet run has rows that this one lacks"
    # Additional rows only where a message was sent twice: a repeat, or another rejection.
    held = collections.Counter(record.value for record in feed.records())
    twice = held - collections.Counter(feed.sent)
    more = mine - its
    assert collections.Counter(row[1] for row in more.elements()) == twice
    assert all(row[4] in ("duplicate", "rejected") for row in more)
