"""What publish sends, and which files publish and data refuse."""

import json
import re
import subprocess

import pytest
from kafka import KafkaConsumer

from messages import VALUES
from stacks import KNOWN_SHA256


def test_an_array_arrives_as_it_was_written(stack, tmp_path):
    """Elements over several lines, spelled unlike jq's output, and a torn one at the end."""
    path = tmp_path / "array.json"
    path.write_text(
        '\ufeff[{"keen_id": "a",\n "n": 1.0, "big": 12345678901234567890123},\r\n'
        '{"keen_id": "b", "n": 1e5, "n": "\ufffd"} , 5, {"keen_id": "c'
    )
    (tmp_path / "array.json.truth.json").write_text("{}")
    output = stack.run("publish", ok=False, TOPIC="synthetic_c", DATA=path)
    assert "record 4: " in output and "3 sent" in output
    consumed = subprocess.run(
        ["kcat", "-C", "-b", stack.kafka, "-t", "synthetic_c", "-e", "-q", "-f", "%k|%s\n"],
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    assert consumed.splitlines() == [
        'a|{"keen_id": "a",  "n": 1.0, "big": 12345678901234567890123}',
        'b|{"keen_id": "b", "n": 1e5, "n": "\ufffd"}',
        "|5",
    ]


@pytest.mark.thorough
def test_every_character_arrives_wherever_in_a_long_message_it_stands(stack, tmp_path):
    """jq, kcat and pipes read blocks of 4 and 64 kB.

    Here characters of two to four bytes span each block boundary.
    """
    every = "".join(map(chr, [*range(0x20, 0xD800), *range(0xE000, 0x110000, 7)]))
    every = every.replace("\\", "").replace('"', "")
    records = [
        f'{{"keen_id": "{"x" * shift}", "text": "{text}"}}'.encode()
        for shift in range(1, 5)
        for text in ("\u00e9" * 50_000, "\u65e5" * 50_000, "\U0001f600" * 50_000, every)
    ]
    path = tmp_path / "characters.jsonl"
    path.write_bytes(b"\n".join(records) + b"\n")
    (tmp_path / "characters.jsonl.truth.json").write_text("{}")
    stack.run("publish", TOPIC="synthetic_characters", DATA=path)
    consumer = KafkaConsumer(
        "synthetic_characters",
        bootstrap_servers=stack.kafka,
        auto_offset_reset="earliest",
        consumer_timeout_ms=5000,
    )
    assert [(record.key.decode(), record.value) for record in consumer] == [
        (json.loads(record)["keen_id"], record) for record in records
    ]
    consumer.close()


def test_invented_data_do_not_enter_a_feed_with_real_data(stack, synthetic):
    output = stack.run("publish", ok=False, TOPIC="assessments", DATA=synthetic[0])
    assert "is invented data" in output


def test_a_file_of_somebody_is_not_overwritten_with_invented_data(stack, tmp_path):
    mine = tmp_path / "mine.json"
    mine.write_text("[]")
    assert "was not made up by this" in stack.make("data", ok=False, DATA=mine, SYNTHETIC=5)
    assert mine.read_text() == "[]"


def test_a_typo_in_data_is_no_reason_to_invent_some(stack):
    output = stack.make("data", ok=False, DATA="no-such-file.json")
    assert "no-such-file.json is not there" in output


def test_a_file_that_cannot_be_read_is_not_called_sent(stack):
    # Reading its first byte is an I/O error, for root too.
    output = stack.run("publish", ok=False, TOPIC="unreadable", DATA="/proc/self/mem")
    assert "error: /proc/self/mem cannot be read: Input/output error" in output, output
    assert "nothing was sent" in output, output


def test_a_download_with_another_hash_is_not_taken_unless_told(stack, tmp_path):
    served, wanted = tmp_path / "served.json", tmp_path / "wanted.json"
    served.write_text("[]")
    output = stack.make("data", DATA=wanted, DATA_URL=f"file://{served}")
    assert "gave another file: sha256" in output and "SYNTHETIC" in output
    assert KNOWN_SHA256 in output and not wanted.exists()
    stack.make("data", DATA=wanted, DATA_URL=f"file:///nowhere file://{served}", ANY_HASH=1)
    assert wanted.read_text() == "[]"


def test_publish_verify_and_validate_name_the_shape_and_send_nothing(stack, tmp_path):
    path = tmp_path / "wrapped.json"
    path.write_text(json.dumps({"count": 5, "attempts": VALUES}))
    for target, force in (("validate", ""), ("publish", ""), ("publish", 1)):
        output = stack.run(target, ok=False, TOPIC="other_shape", DATA=path, FORCE=force)
        assert "cannot be sent as it is: the messages lie inside" in output
        assert "jq -c '.attempts[]'" in output
    empty = tmp_path / "empty.json"
    empty.write_text("[]")
    for target in ("validate", "publish"):
        output = stack.run(target, ok=False, TOPIC="other_shape", DATA=empty)
        assert "it holds no record" in output
    for content in ('{"message": "Not Found"}', "[1, 2, 3]", "null"):
        path.write_text(content)
        output = stack.run("publish", ok=False, TOPIC="other_shape", DATA=path)
        assert "none has a keen_id" in output
    assert re.search(r"other_shape +0 +0 +0 +0", stack.run("status"))
