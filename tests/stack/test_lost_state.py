"""What landing does when a table or the topic is gone, or older scripts left a batch behind."""

import dataclasses

import deltalake
import hdfs_native
import pytest
from kafka import KafkaAdminClient, TopicPartition

from messages import good
from oracle import by
from pipeline.errors import Failure
from pipeline.landing import follow
from stacks import MESSAGES, TABLES, wait_until


def test_a_lost_table_is_named_and_a_lost_ledger_costs_no_other_table(stack):
    stack.run("topic", TOPIC="lost")
    stack.kcat("lost", good())
    stack.run("land", TOPIC="lost")
    client = hdfs_native.Client(stack.hdfs)
    before = {table: stack.table("lost", table) for table in TABLES}
    for table, message in (
        ("options", "the table options is gone, the ledger is there"),
        ("messages", "the ledger (table messages) is gone"),
    ):
        client.rename(f"/warehouse/lost/{table}", f"/warehouse/away_{table}")
        for target in ("land", "verify"):
            assert message in stack.run(target, ok=False, TOPIC="lost", DATA="none")
        client.rename(f"/warehouse/away_{table}", f"/warehouse/lost/{table}")
    assert before == {table: stack.table("lost", table) for table in before}
    assert "nothing new" in stack.run("land", TOPIC="lost")


def test_verify_sees_a_row_that_was_taken_away(stack):
    stack.run("topic", TOPIC="robbed")
    stack.kcat("robbed", good(), good(keen_id="second"))
    stack.run("land", TOPIC="robbed")
    assert "DIFFERS" not in stack.run("verify", TOPIC="robbed", DATA="none")
    for table, column in (
        ("options", "option_position"),
        ("questions", "question_position"),
        ("attempts", "attempt"),
        ("messages", "kafka_offset"),
    ):
        delta = deltalake.DeltaTable(f"{stack.hdfs}/warehouse/robbed/{table}")
        whole = delta.version()
        row = f"keen_id = 'second' and {column} = 1"
        assert delta.delete(row)["num_deleted_rows"] > 0
        assert "DIFFERS by" in stack.run("verify", ok=False, TOPIC="robbed", DATA="none"), table
        delta.restore(whole)
    assert "DIFFERS" not in stack.run("verify", TOPIC="robbed", DATA="none")


@pytest.mark.thorough
def test_what_an_interrupted_batch_of_older_scripts_left_is_deleted(stack, synthetic):
    """Older scripts landed by a streaming query with a checkpoint. The batch was interrupted after
    its attempts were committed."""
    path, _, _ = synthetic
    stack.run("publish land", TOPIC="synthetic_lost", DATA=path)
    before = {table: stack.table("synthetic_lost", table) for table in TABLES}
    folder = f"{stack.hdfs}/warehouse/synthetic_lost"
    checkpoint = "/warehouse/synthetic_lost/_checkpoint"
    client = hdfs_native.Client(stack.hdfs)
    client.mkdirs(checkpoint, create_parent=True)
    # Such a batch leaves rows of an attempt whose offset is beyond the ledger's end.
    for table in ("options", "questions", "attempts"):
        delta = deltalake.DeltaTable(f"{folder}/{table}")
        frame = delta.to_pyarrow_table().slice(0, 1)
        changed = {"keen_id": "half-written"}
        if table == "attempts":
            changed["kafka_offset"] = MESSAGES
        for name, value in changed.items():
            at = frame.schema.get_field_index(name)
            frame = frame.set_column(at, frame.schema.field(name), [[value]])
        deltalake.write_deltalake(delta, frame, mode="append")
    stack.kcat("synthetic_lost", good(keen_id="half-written"))
    stack.run("land", TOPIC="synthetic_lost")
    assert checkpoint not in [each.path for each in client.list_status("/warehouse/synthetic_lost")]
    for table, key, number in (
        ("attempts", "kafka_offset", 1),
        ("questions", "question_position", 2),
        ("options", "option_position", 5),
    ):
        after = stack.table("synthetic_lost", table)
        others = [row for row in after if row["keen_id"] != "half-written"]
        assert by(others, "keen_id", key) == by(before[table], "keen_id", key)
        assert len(after) - len(others) == number
    assert "DIFFERS" not in stack.run("verify", TOPIC="synthetic_lost", DATA=path)


@pytest.mark.thorough
def test_a_deleted_and_a_recreated_topic_stop_landing(stack):
    stack.run("topic", TOPIC="recreated")
    stack.kcat("recreated", good())
    stack.run("land", TOPIC="recreated")
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    admin.delete_topics(["recreated"])
    wait_until(lambda: "recreated" not in admin.list_topics(), lambda: "the topic is still there")
    admin.close()
    gone = f"topic recreated is landed, and no longer on {stack.kafka}"
    assert gone in stack.run("land", ok=False, TOPIC="recreated")
    with pytest.raises(Failure, match=gone):  # it does not wait for a first publish
        of_topic = dataclasses.replace(stack.settings, topic="recreated")
        follow.Follower(of_topic, lambda *_: None).poll()
    stack.run("topic", TOPIC="recreated")
    before = stack.table("recreated", "messages")
    # More records than were landed, so that the offsets alone do not show it.
    for _ in range(len(before) + 1):
        stack.kcat("recreated", good())
    output = stack.run("land", ok=False, TOPIC="recreated")
    assert "it was deleted and recreated" in output and "hadoop fs -mv" in output
    assert stack.table("recreated", "messages") == before


@pytest.mark.thorough
def test_a_feed_with_expired_and_empty_records_is_restored_into_a_new_topic(stack, tmp_path):
    """Offsets whose records are gone, and a record without key and value, are replayed, too."""
    stack.run("topic", TOPIC="gaps")
    stack.kcat("gaps", good(), good(keen_id="second"), None, b"", good(keen_id="last"))
    backup = tmp_path / "gaps.tar"
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    try:
        admin.delete_records({TopicPartition("gaps", 0): 1})
        assert "SKIP_EXPIRED=1" in stack.run("land", ok=False, TOPIC="gaps")
        stack.run("land", TOPIC="gaps", SKIP_EXPIRED=1)
        before = {table: stack.table("gaps", table) for table in TABLES}
        stack.run("backup", TOPIC="gaps", BACKUP=backup)
        admin.delete_topics(["gaps"])
    finally:
        admin.close()
    hdfs_native.Client(stack.hdfs).delete("/warehouse/gaps", recursive=True)
    assert "sent the ledger's records" in stack.run("restore", TOPIC="gaps", BACKUP=backup)
    assert {table: stack.table("gaps", table) for table in TABLES} == before
    assert "nothing new" in stack.run("land", TOPIC="gaps")
    assert "DIFFERS" not in stack.run("verify", TOPIC="gaps", DATA="none")
