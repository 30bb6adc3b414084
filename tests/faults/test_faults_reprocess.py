"""Reprocessing is killed while the broker is down."""

import os
import signal
import time

import deltalake
import psutil
import pytest

from faults_feeds import SEED, TABLES, say, synthetic_feed, tables_of
from faults_landings import TRIES, Landing, kill_landing
from faults_reader import Reader
from oracle import by

pytestmark = pytest.mark.thorough

OLD_ID = "accepted-by-an-older-rule"


def leave_as_an_older_version_would(feed, keen_id, spoiled_at, right_at):
    """Changes the feed's tables to what other rules would have made of its records.

    keen_id: id of a message that was sent in a spoiled form and then correctly.
    spoiled_at, right_at: offsets of the two.
    Returns the offset of a second delivery that now counts as the first.
    """
    base = f"{feed.stack.hdfs}/warehouse/{feed.topic}"
    table = {name: deltalake.DeltaTable(f"{base}/{name}") for name in TABLES}
    rows = tables_of(feed)

    def update(name, predicate, **updates):
        table[name].update(predicate=predicate, updates=updates)

    def set_verdict(offset, status, reason="null", **updates):
        predicate = f"kafka_offset = {offset}"
        update("messages", predicate, status=f"'{status}'", reason=reason, **updates)

    mentioned = {
        row["reason"].rsplit(": ", 1)[1]
        for row in rows["messages"]
        if (row["reason"] or "").startswith(("duplicate_of", "conflicts_with"))
    }
    alone = [
        row
        for row in rows["attempts"]
        if f"0-{row['kafka_offset']}" not in mentioned and row["keen_id"] != keen_id
    ]
    refused, changed, copied = alone[:3]
    # Older rules rejected a message that is valid today.
    set_verdict(refused["kafka_offset"], "rejected", "'wrong_type: by an older rule'")
    for name in ("attempts", "questions", "options"):
        table[name].delete(f"keen_id = '{refused['keen_id']}'")
    # They filled a column with wrong values.
    update("options", f"keen_id = '{changed['keen_id']}'", submitted="NOT submitted")
    # They accepted a message that is invalid today. Child rows come first, for readers.
    wrong = next(row for row in rows["messages"] if (row["reason"] or "").startswith("not_json"))
    for name in ("options", "questions", "attempts"):
        frame = table[name].to_pyarrow_table()
        frame = frame.filter([its == copied["keen_id"] for its in frame["keen_id"].to_pylist()])
        for column, value in {"keen_id": OLD_ID, "kafka_offset": wrong["kafka_offset"]}.items():
            if column in frame.column_names:
                index = frame.schema.get_field_index(column)
                values = [[value] * frame.num_rows]
                frame = frame.set_column(index, frame.schema.field(index), values)
        deltalake.write_deltalake(table[name], frame, mode="append")
    set_verdict(wrong["kafka_offset"], "accepted", keen_id=f"'{OLD_ID}'")
    # They accepted the spoiled message, and so rejected the right one, which has one question more.
    its = {row["kafka_offset"]: row for row in rows["messages"] if row["keen_id"] == keen_id}
    assert its[spoiled_at]["status"] == "rejected", its
    assert its[right_at]["status"] == "accepted", its
    assert its[spoiled_at]["reason"].startswith("unknown_result"), its
    questions = next(row["question_count"] for row in rows["attempts"] if row["keen_id"] == keen_id)
    update(
        "attempts",
        f"keen_id = '{keen_id}'",
        kafka_offset=str(spoiled_at),
        question_count=str(questions - 1),
        content_hash=f"'{its[spoiled_at]['content_hash']}'",
    )
    for name in ("questions", "options"):
        table[name].delete(f"keen_id = '{keen_id}' AND question_position = {questions - 1}")
    first_question = f"keen_id = '{keen_id}' AND question_position = 0"
    update("questions", first_question, user_result="'nonsense'")
    set_verdict(spoiled_at, "accepted")
    set_verdict(right_at, "rejected", f"'conflicts_with: 0-{spoiled_at}'")
    # They took a second delivery for the first, as if it had come in an earlier batch.
    again = next(
        row
        for row in rows["messages"]
        if row["status"] == "duplicate"
        and sum(other["keen_id"] == row["keen_id"] for other in rows["messages"]) == 2
    )
    first = next(
        row
        for row in rows["messages"]
        if row["keen_id"] == again["keen_id"] and row["status"] == "accepted"
    )
    later = again["kafka_offset"]
    update("attempts", f"keen_id = '{again['keen_id']}'", kafka_offset=str(later))
    set_verdict(later, "accepted")
    set_verdict(first["kafka_offset"], "duplicate", f"'duplicate_of: 0-{later}'")
    return later


@pytest.mark.timeout(1800)
def test_reprocess_is_killed_while_the_broker_is_away_for_a_minute_of_another_landing(
    stack, tmp_path
):
    feed = synthetic_feed(stack, tmp_path, "rules")
    other = synthetic_feed(stack, tmp_path, "minute", seed=SEED + 1)
    feed.publish(30)
    keen_id, spoiled_at, right_at = feed.send_spoiled_and_right()
    stack.run("land", TOPIC=feed.topic)
    stays = leave_as_an_older_version_would(feed, keen_id, spoiled_at, right_at)
    for _ in range(TRIES):
        other.publish(30)
        minute = Landing(other)
        if minute.wait_for("reading"):
            break
        minute.ended_by_itself()
    else:
        raise AssertionError("no landing was at work when the broker was to go")
    gone = time.monotonic()
    os.kill(stack.service_pids()["kafka"], signal.SIGKILL)
    with Reader(stack, feed.topic) as reader:
        # The first commit to attempts removes those whose child rows change. Then the child rows
        # are written, then these attempts again.
        for step in ("attempts", "options", "attempts"):
            kill_landing(feed, step, target="reprocess")
        assert "rebuilt in" in stack.make("reprocess", TOPIC=feed.topic)
        kafka = stack.service_pids()["kafka"]
        assert not psutil.pid_exists(kafka)  # nothing needed the broker
    reader.check()
    assert [
        (row["status"], (row["reason"] or "").split(":")[0])
        for row in by(stack.table(feed.topic, "messages"), "kafka_offset")
        if row["keen_id"] == keen_id
    ] == [("rejected", "unknown_result"), ("accepted", "")]
    while time.monotonic() < gone + 60:
        time.sleep(1)
    say(f"  the broker was away for {time.monotonic() - gone:.0f} s")
    stack.make("up")
    said = minute.wait()
    assert minute.process.returncode == 0 or "error: landing was interrupted" in said, said
    stack.run("land", TOPIC=other.topic)
    other.check()
    feed.publish(10)
    stack.run("land", TOPIC=feed.topic)  # landing continues
    feed.check(order=lambda record: (record.offset != stays, record.offset))
