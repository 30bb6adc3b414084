"""Bad messages: what landing and make validate say of each, on a real stack."""

import json
import re
import subprocess

from corpus_landing import NAMES, landed_corpus  # noqa: F401
from messages import CASES, good, padded
from pipeline.publishing import validation
from stacks import ROOT


def test_each_case_gets_its_verdict_and_its_bytes_are_kept(corpus):
    _, _, rows, cases = corpus
    assert len(CASES) >= 80 and len(rows) == 2 * len(CASES)
    for name, row in cases.items():
        value, reason = CASES[name]
        assert row["value"] == value, name
        if reason is None:
            assert (row["status"], row["reason"]) == ("accepted", None), name
        else:
            assert row["status"] == "rejected" and row["reason"].startswith(reason), (
                name,
                row["reason"],
            )


def test_the_good_messages_between_the_bad_ones_are_landed(stack, corpus):
    log, _, rows, _ = corpus
    assert [(row["keen_id"], row["status"]) for row in [rows[0], *rows[3::2]]] == [
        ("good-key", "accepted")
    ] + [(f"good-{number}", "accepted") for number in range(1, len(CASES))]
    assert rows[0]["key"] == b"\x1b]0;key\x07\xc2\x9b31m"
    attempts = stack.table("corpus", "attempts")
    accepted = sum(reason is None for _, reason in CASES.values()) + len(CASES)
    assert len(attempts) == len({row["keen_id"] for row in attempts}) == accepted
    assert re.search(rf" {accepted:,} +0 +{len(rows) - accepted:,} ", log), log
    by_id = {row["keen_id"]: row for row in attempts}
    sql = by_id["'; DROP TABLE attempts; --"]
    assert (sql["exam_name"], sql["base_exam_id"], sql["question_count"]) == (
        "'; DROP TABLE attempts; --",
        "'; DROP TABLE attempts; --",
        2,
    )
    assert by_id["../../../../etc/passwd\0.json"]["exam_name"] == "../../../../etc/passwd\0.json"
    assert by_id["made-3"]["question_count"] > 2000
    assert (
        len([row for row in stack.table("corpus", "questions") if row["keen_id"] == "made-3"])
        == by_id["made-3"]["question_count"]
    )
    assert not (ROOT / "owned").exists()  # the shell fragments would create it


def test_validate_gives_the_same_verdict_as_land(stack, corpus, tmp_path):
    """Compares the full reasons on a folder of messages; then the counts that make prints."""
    landed = {name: row["reason"] for name, row in corpus[3].items()}
    for name in NAMES:
        if CASES[name][0] is not None:  # a file cannot be a tombstone
            (tmp_path / name).write_bytes(CASES[name][0])
    assert {record.where: reason for record, reason in validation.judged(tmp_path)} == {
        name: landed[name] for name in NAMES if name != "a-tombstone"
    }
    said = stack.run("validate", ok=False, DATA=tmp_path)
    counted = {
        word: int(number.replace(",", ""))
        for word, number in re.findall(r"^(\w+) +([\d,]+)$", said, re.MULTILINE)
    }
    expected = {}
    for value, reason in CASES.values():
        if value is not None:
            word = "accepted" if reason is None else reason.partition(":")[0]
            expected[word] = expected.get(word, 0) + 1
    assert counted == expected
    total = sum(expected.values())
    assert f"{total - expected['accepted']:,} of the {total:,} records" in said


def test_validate_names_line_or_element_and_every_place(stack, tmp_path):
    bad = json.loads(good())
    del bad["exam_name"]
    bad["sequences"]["attempt"], bad["sequences"]["questions"][1]["id"] = "1", 5
    lines = tmp_path / "lines.jsonl"
    spoiled = json.dumps(bad).encode()
    lines.write_bytes(
        good() + b"\n\n" + spoiled + b"\r\n" + good()[:-1] + b"\n" + padded(1_200_000, "large")
    )
    said = stack.run("validate", ok=False, DATA=lines)
    assert (
        "  line 3: missing: exam_name is absent\n"
        "    and 2 more: sequences.questions[1].id, sequences.attempt\n" in said
    )
    assert (
        "  line 4: not_json: Expecting ',' delimiter" in said
        and "  line 5: too_large: it has 1,200,000 bytes, 990,000 can be sent" in said
    )
    assert "error: 3 of the 4 records" in said
    array = tmp_path / "array.json"
    elements = b",\n".join([good(), spoiled, CASES["a-key-twice"][0]])
    array.write_bytes(b"[" + elements + b"]\nand more")
    said = stack.run("validate", ok=False, DATA=array)
    assert (
        "  element 2: missing: exam_name is absent" in said
        and "  element 3: not_json: the key" in said
    )
    assert "  element 4: not_json: something follows the end of the array" in said
    array.write_bytes(
        b"[" + CASES["a-number-of-5000-digits-in-an-unknown-field"][0] + b", " + good() + b"]"
    )
    assert re.search(r"^accepted +2$", stack.run("validate", DATA=array), re.MULTILINE)
    assert "none.json is not there" in stack.make("validate", ok=False, DATA=tmp_path / "none.json")


def test_what_is_over_the_brokers_limit_is_refused_by_name_and_nothing_of_it_arrives(
    stack, corpus, tmp_path
):
    """Refused by kcat, by the broker if a client's limit is higher, and by publish."""
    end = len(corpus[2])
    for option in ([], ["-X", "message.max.bytes=5000000"]):
        (tmp_path / "large").write_bytes(padded(1_200_000, "large"))
        sent = subprocess.run(
            ["kcat", "-P", "-b", stack.kafka, "-t", "corpus", *option, tmp_path / "large"],
            capture_output=True,
            text=True,
        )
        assert sent.returncode != 0 and "Message size too large" in sent.stderr
    data = tmp_path / "large.jsonl"
    data.write_bytes(padded(1_200_000, "large"))
    said = stack.run("publish", ok=False, TOPIC="corpus", DATA=data)
    assert "record 1: it has 1,200,000 bytes, 990,000 can be sent" in said and "0 sent" in said
    consume = ["kcat", "-C", "-b", stack.kafka, "-t", "corpus"]
    consumed = subprocess.run(
        [*consume, "-o", "beginning", "-e", "-q", "-f", ".\n"], capture_output=True, check=True
    ).stdout
    assert consumed.count(b".") == end


def test_verify_names_the_unknown_fields_and_how_often_they_came(stack, corpus):
    said = stack.run("verify", TOPIC="corpus", DATA="none.json")
    assert "DIFFERS" not in said
    section = said.split("undeclared fields (10 fields)\n")[1]
    assert re.findall(r"^(\S.*\S) +(\d+)$", section, re.MULTILINE) == [
        ("browser", "2"),
        ("big", "1"),
        ("device", "1"),
        ("padding", "1"),
        (r"sequences.\x1b[2J\x00", "1"),
        ("sequences.counts.skipped", "1"),
        ("sequences.questions[].hint", "1"),
        ("sequences.questions[].options[].at2", "1"),
        ("sequences.score", "1"),
        ("sequences.shuffled", "1"),
    ]
