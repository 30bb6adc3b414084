"""What landing writes: every row of four tables, whatever is repeated, rewritten or torn."""

import collections
import concurrent.futures
import contextlib
import random

import deltalake
import pytest
from kafka import KafkaProducer

from messages import good
from oracle import by, check_tables
from pipeline.tables import commits
from stacks import MESSAGES, TABLES


def test_synthetic_tables_equal_the_truth_row_by_row(stack, synthetic):
    _, truth, lines = synthetic
    tables = check_tables({table: stack.table("synthetic_a", table) for table in TABLES}, lines)
    for table in ("attempts", "questions", "options"):
        assert len(tables[table]) == truth[table]
    assert truth["duplicates"] > 0  # otherwise the test would not cover them


def test_publishing_and_landing_again_changes_nothing(stack, synthetic):
    path, _, _ = synthetic
    before = {table: stack.table("synthetic_a", table) for table in TABLES}
    output = stack.run("publish", TOPIC="synthetic_a", DATA=path)
    assert "nothing to publish: all 700 messages" in output
    assert "nothing new: all 700 records" in stack.run("land", TOPIC="synthetic_a")
    assert before == {table: stack.table("synthetic_a", table) for table in before}
    assert "DIFFERS" not in stack.run("verify", TOPIC="synthetic_a", DATA=path)


def test_a_file_sent_twice_adds_duplicate_rows_and_nothing_else(stack, synthetic):
    path, _, _ = synthetic
    stack.run("publish land", TOPIC="synthetic_twice", DATA=path)
    before = {
        table: stack.table("synthetic_twice", table)
        for table in ("attempts", "questions", "options")
    }
    old = {row["keen_id"]: row["kafka_offset"] for row in before["attempts"]}
    output = stack.run("publish", TOPIC="synthetic_twice", DATA=path, FORCE=1)
    assert "700 messages before, 1400 after: 700 sent" in output
    stack.run("land", TOPIC="synthetic_twice")
    assert before == {table: stack.table("synthetic_twice", table) for table in before}
    ledger = stack.table("synthetic_twice", "messages")
    new = [row for row in ledger if row["kafka_offset"] >= MESSAGES]
    assert len(new) == MESSAGES and {row["status"] for row in new} == {"duplicate"}
    assert all(row["reason"] == f"duplicate_of: 0-{old[row['keen_id']]}" for row in new)
    assert "DIFFERS" not in stack.run("verify", TOPIC="synthetic_twice", DATA=path)


def test_two_feeds_side_by_side_one_of_three_partitions_from_lines_with_a_torn_one(
    stack, synthetic, tmp_path
):
    untouched = stack.table("synthetic_a", "messages")
    path = tmp_path / "lines.jsonl"
    stack.run("data", SYNTHETIC=90, SEED=3, DATA=path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[40] = lines[40][:200] + b"\n"  # a torn line
    lines[60] = b'{"keen_id": "caf\xe9"}\n'  # not UTF-8
    # jq would round this number
    lines[70] = lines[70].replace(b'"attempt": 1,', b'"attempt": 12345678901234567890123,')
    path.write_bytes(b"".join(lines))
    output = stack.run("publish", ok=False, TOPIC="synthetic_b", DATA=path, PARTITIONS=3)
    assert "0 messages before, 88 after: 88 sent" in output
    assert "record 41: it is not JSON" in output
    assert "record 61: it is not UTF-8: byte 16 is 0xe9" in output and "2 record(s)" in output
    # All that can be sent is there.
    output = stack.run("publish", TOPIC="synthetic_b", DATA=path)
    assert "nothing to publish: all 88 messages" in output
    assert "2 record(s) of it cannot be sent" in output
    stack.run("land", TOPIC="synthetic_b")
    messages = stack.table("synthetic_b", "messages")
    assert sorted(row["value"] for row in messages) == sorted(
        line.rstrip(b"\n") for number, line in enumerate(lines) if number not in (40, 60)
    )
    assert len({row["kafka_partition"] for row in messages}) == 3
    assert [row["reason"] for row in messages if row["status"] == "rejected"] == [
        "wrong_type: sequences.attempt is a number (12345678901234567890123), "
        "expected a whole number of 32 bits"
    ]
    assert stack.table("synthetic_a", "messages") == untouched
    # verify names what is in the file but not in the topic.
    output = stack.run("verify", ok=False, TOPIC="synthetic_b", DATA=path)
    assert "DIFFERS by -2 (the first: number 41, 61)" in output


@pytest.mark.thorough
def test_repeats_of_an_earlier_run_are_found_though_another_program_rewrote_the_tables(stack):
    stack.run("topic", TOPIC="rewritten", PARTITIONS=1)
    stack.kcat("rewritten", good(keen_id="id-0"))
    stack.run("land", TOPIC="rewritten")
    for table in TABLES:  # delta-rs writes every row into new files
        delta = deltalake.DeltaTable(f"{stack.hdfs}/warehouse/rewritten/{table}")
        assert delta.update(updates={"keen_id": "keen_id"})["num_updated_rows"] > 0
    stack.kcat("rewritten", good(keen_id="id-0"))
    stack.kcat("rewritten", good(keen_id="id-0", exam_name="Other"))
    stack.run("land", TOPIC="rewritten")
    ledger = by(stack.table("rewritten", "messages"), "kafka_offset")
    reasons = [row["reason"] for row in ledger]
    assert reasons == [None, "duplicate_of: 0-0", "conflicts_with: 0-0"]
    assert len(stack.table("rewritten", "attempts")) == 1
    assert "DIFFERS" not in stack.run("verify", TOPIC="rewritten", DATA="none")


def test_repeats_across_partitions_and_against_the_order_of_offsets(stack):
    """Of each id in a batch, the smallest (time, partition, offset) is accepted.

    That holds whichever Spark task reads it.
    """
    stack.run("topic", TOPIC="order", PARTITIONS=3)
    rng, records = random.Random(3), []
    with contextlib.closing(KafkaProducer(bootstrap_servers=stack.kafka, acks="all")) as producer:
        for _ in range(400):
            keen_id = f"id-{rng.randrange(150)}"
            name = rng.choice(["Learning Git", "Learning Git", "Another"])
            time_ms, partition = 1517000000000 + rng.randrange(40), rng.randrange(3)
            value = good(keen_id=keen_id, exam_name=name)
            sent = producer.send("order", value=value, partition=partition, timestamp_ms=time_ms)
            records.append((time_ms, partition, sent.get(30).offset, keen_id, name))
    stack.run("land", TOPIC="order")
    expected, first = {}, {}
    for _, partition, offset, keen_id, name in sorted(records):
        position, its_name = first.setdefault(keen_id, (f"{partition}-{offset}", name))
        if position == f"{partition}-{offset}":
            expected[partition, offset] = ("accepted", None)
        elif name == its_name:
            expected[partition, offset] = ("duplicate", f"duplicate_of: {position}")
        else:
            expected[partition, offset] = ("rejected", f"conflicts_with: {position}")
    assert expected == {
        (row["kafka_partition"], row["kafka_offset"]): (row["status"], row["reason"])
        for row in stack.table("order", "messages")
    }
    attempts = stack.table("order", "attempts")
    assert first == {
        row["keen_id"]: (f"{row['kafka_partition']}-{row['kafka_offset']}", row["exam_name"])
        for row in attempts
    }
    assert len(attempts) == len(first)
    for table, rows_an_attempt in (("questions", 2), ("options", 5)):
        children = collections.Counter(
            (row["keen_id"], row["exam_name"]) for row in stack.table("order", table)
        )
        parents = [(keen_id, name) for keen_id, (_, name) in first.items()]
        assert children == dict.fromkeys(parents, rows_an_attempt)
    assert "DIFFERS" not in stack.run("verify", TOPIC="order", DATA="none")


@pytest.mark.thorough
def test_a_commit_of_somebody_else_is_not_overwritten(stack, monkeypatch):
    topic, append = "synthetic_beside", commits.append
    stack.run("topic", TOPIC=topic)
    stack.kcat(topic, good())
    attempts = f"{stack.hdfs}/warehouse/{topic}/attempts"

    def append_behind_another(*arguments):
        deltalake.DeltaTable(attempts).alter.set_table_properties({"delta.appendOnly": "false"})
        append(*arguments)

    monkeypatch.setattr(commits, "append", append_behind_another)
    said = stack.run("land", ok=False, TOPIC=topic)
    assert "error: " in said and "already exists" in said
    monkeypatch.undo()
    assert not len(stack.table(topic, "attempts")) and not len(stack.table(topic, "messages"))
    stack.run("land", TOPIC=topic)
    table = deltalake.DeltaTable(attempts)
    assert "delta.appendOnly" in table.metadata().configuration
    # Further features of Delta, of which only delta-rs knows what a commit needs.
    table.alter.set_table_properties({"delta.enableChangeDataFeed": "true"})
    assert table.protocol().min_writer_version > commits.PLAIN_WRITER
    stack.kcat(topic, good(keen_id="another"))
    stack.run("land", TOPIC=topic)
    assert [len(stack.table(topic, table)) for table in ("attempts", "messages")] == [2, 2]
    assert "DIFFERS" not in stack.run("verify", TOPIC=topic, DATA="none")


@pytest.mark.thorough
def test_small_files_are_put_together_and_no_row_changes(stack):
    """Twelve files of one attempt each, as twelve small landings leave them, then another one."""
    stack.run("topic", TOPIC="small", PARTITIONS=1)
    stack.kcat("small", *(good(keen_id=f"id-{number}") for number in range(12)))
    stack.run("land", TOPIC="small")
    before = {table: stack.table("small", table) for table in TABLES}

    def write_twelve_files(table):
        delta = deltalake.DeltaTable(f"{stack.hdfs}/warehouse/small/{table}")
        frame = delta.to_pyarrow_table()
        keen_ids = frame["keen_id"].to_pylist()
        for number in range(12):
            its = frame.filter([keen_id == f"id-{number}" for keen_id in keen_ids])
            deltalake.write_deltalake(delta, its, mode="append" if number else "overwrite")
        assert len(delta.file_uris()) == 12

    with concurrent.futures.ThreadPoolExecutor(4) as pool:  # HDFS lets a writer wait
        list(pool.map(write_twelve_files, TABLES))
    stack.kcat("small", good(keen_id="id-5"), good(keen_id="id-12"))
    stack.run("land", TOPIC="small")
    for table in TABLES:
        assert len(deltalake.DeltaTable(f"{stack.hdfs}/warehouse/small/{table}").file_uris()) == 1
        after = stack.table("small", table)
        assert all(row in after for row in before[table])
    ledger = by(stack.table("small", "messages"), "kafka_offset")
    assert [row["reason"] for row in ledger] == [None] * 12 + ["duplicate_of: 0-5", None]
    assert len(stack.table("small", "attempts")) == 13
    assert "nothing new" in stack.run("land", TOPIC="small")
    assert "DIFFERS" not in stack.run("verify", TOPIC="small", DATA="none")
