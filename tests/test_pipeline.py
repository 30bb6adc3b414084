"""The Make targets on a real broker, a real HDFS and real Spark; the tables read back by another reader than Spark."""
import collections
import contextlib
import copy
import fractions
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import time

import deltalake
import hdfs_native
import pexpect
import psutil
import pytest
from kafka import KafkaConsumer, KafkaProducer

import conftest
from messages import good
from oracle import by, moment, truth_rows

MESSAGES = 700


def rows(stack, topic, table, *without):
    return [{name: value for name, value in row.items() if name not in without} for row in stack.table(topic, table)]


@pytest.fixture(scope="module")
def synthetic(stack, tmp_path_factory):
    """A synthetic file, published and landed once: (path, its truth, its truth row by row)."""
    path = tmp_path_factory.mktemp("data") / "made up.json"  # with a blank, as files of people have
    stack.make("data", SYNTHETIC=MESSAGES, SEED=7, DATA=path)
    for target in ("publish", "land"):
        stack.make(target, TOPIC="synthetic_a", DATA=path)
    truth = json.loads(pathlib.Path(f"{path}.truth.json").read_text())
    lines = [json.loads(line) for line in pathlib.Path(f"{path}.truth.rows.jsonl").read_text().splitlines()]
    return path, truth, lines


def test_synthetic_tables_equal_the_truth_row_by_row(stack, synthetic):
    _, truth, lines = synthetic
    attempts, questions, options, messages, first = [], [], [], [], {}
    for offset, line in enumerate(lines):
        status, reason = ("duplicate", f"duplicate_of: 0-{first[line['keen_id']]}") if line["keen_id"] in first else ("accepted", None)
        first.setdefault(line["keen_id"], offset)
        messages.append({"kafka_partition": 0, "kafka_offset": offset, "key": line["keen_id"].encode(), "keen_id": line["keen_id"], "status": status, "reason": reason})
        if status == "duplicate":
            continue
        attempt, its_questions, its_options = truth_rows(line)
        attempts.append({**attempt, "kafka_partition": 0, "kafka_offset": offset})
        questions += its_questions
        options += its_options

    assert len(attempts) == truth["attempts"] and len(questions) == truth["questions"] and len(options) == truth["options"]
    assert truth["duplicates"] > 0  # or this would not test them
    assert by(rows(stack, "synthetic_a", "attempts", "content_hash"), "keen_id") == by(attempts, "keen_id")
    assert by(rows(stack, "synthetic_a", "questions"), "keen_id", "question_position") == by(questions, "keen_id", "question_position")
    assert by(rows(stack, "synthetic_a", "options"), "keen_id", "question_position", "option_position") == by(options, "keen_id", "question_position", "option_position")
    assert by(rows(stack, "synthetic_a", "messages", "value", "kafka_timestamp", "content_hash"), "kafka_offset") == messages


def sat_again(attempts):
    """The keen_ids of the attempts that begin within a minute after another attempt at the same exam ended."""
    ended = collections.defaultdict(list)
    for attempt in attempts:
        ended[attempt["base_exam_id"]].append((attempt["keen_timestamp"], attempt["keen_id"]))
    return {attempt["keen_id"] for attempt in attempts for end, other in ended[attempt["base_exam_id"]]
            if other != attempt["keen_id"] and 0 <= (attempt["started_at"] - end).total_seconds() <= 60}


@pytest.fixture(scope="module")
def answers(stack, synthetic):
    """What make query shows: {number of the question: its rows, each a list of cells}."""
    said = stack.make("query", TOPIC="synthetic_a")
    headers = re.findall(r"^== .*", said, re.MULTILINE)
    assert len(headers) == len(list(pathlib.Path("queries").glob("*.sql"))) and all("SYNTHETIC" in header for header in headers)
    shown = re.split(r"^== .*\n", said, flags=re.MULTILINE)[1:]
    return {int(header.split()[1][:2]): [[cell.strip() for cell in line.strip("|").split("|")] for line in answer.splitlines() if line.startswith("|")][1:]
            for header, answer in zip(headers, shown, strict=True)}


def test_answers_equal_the_truth_and_say_that_they_are_synthetic(answers, synthetic):
    _, truth, lines = synthetic
    made = [truth_rows(line)[:2] for line in lines if line["attempt"]]
    attempts, questions = [attempt for attempt, _ in made], [question for _, its in made for question in its]
    names = truth["attempts_by_exam_name"]
    assert answers[1][0][:4] == [str(truth[name]) for name in ("messages", "duplicates")] + ["0", str(truth["attempts"])]
    assert answers[1][0][5] == str(len(names))
    assert answers[2] == [["synthetic_a", "0", "0", str(MESSAGES - 1), str(MESSAGES)]]
    git = [attempt for attempt in attempts if attempt["exam_name"] == "Learning Git"]
    first = len(git) - len({attempt["keen_id"] for attempt in git} & sat_again(attempts))
    assert 0 < first < len(git) == truth["learning_git"]["attempts"]  # or this would not tell the readings apart
    assert answers[3] == [[str(number) for number in (len(git), first, len({attempt["user_exam_id"] for attempt in git}), truth["learning_git"]["messages"])]]
    assert [[row[1], int(row[3])] for row in answers[4] if row[0] == "by name"] == [[name, truth["least_common"]["attempts"]] for name in truth["least_common"]["exam_names"]]
    assert [row[2] for row in answers[5] if row[:2] == ["by name", "1"]] == truth["most_common"]["exam_names"]
    by_name = {row[2]: int(row[4]) for row in answers[5] if row[0] == "by name"}
    assert by_name == {name: names[name] for name in by_name} and min(by_name.values()) >= sorted(names.values())[-5]
    # The hardest questions: the worst ten, and those that are as hard as the tenth.
    answered = collections.Counter((question["question_id"], question["exam_name"]) for question in questions if question["user_result"] not in (None, "unanswered"))
    hardest = sorted((fractions.Fraction(each["correct"], each["answers"]), each["question_id"], each["exam_name"], each["answers"], each["correct"])
                     for each in truth["results_by_question"] if each["answers"] >= 30)
    assert len(hardest) > 10
    expected = [[str(1 + sum(other[0] < share for other in hardest)), question_id, exam_name, str(results), pytest.approx(float(100 * share), abs=0.051), pytest.approx(100 * correct / answered[question_id, exam_name], abs=0.051)]
                for share, question_id, exam_name, results, correct in hardest if sum(other[0] < share for other in hardest) < 10]
    assert by_place([[*row[:4], float(row[4]), float(row[5])] for row in answers[6]]) == by_place(expected)


def by_place(rows):
    """Rows of the hardest questions: by rank, id and name."""
    return sorted(rows, key=lambda row: (int(row[0]), *row[1:3]))


def test_sittings_again_equal_the_truth(answers, synthetic):
    _, truth, lines = synthetic
    attempts = [truth_rows(line)[0] for line in lines if line["attempt"]]
    again = sat_again(attempts)
    assert 0 < len(again) < len(attempts)
    assert answers[12][0][:4] == ["all exams", str(len(attempts)), str(len(attempts) - len(again)), str(len(again))]
    its_again = collections.Counter(attempt["exam_name"] for attempt in attempts if attempt["keen_id"] in again)
    names = truth["attempts_by_exam_name"]
    assert len(answers[12]) >= 11
    assert [row[:4] for row in answers[12][1:]] == [[name, str(names[name]), str(names[name] - its_again[name]), str(its_again[name])] for name in (row[0] for row in answers[12][1:])]
    assert min(int(row[1]) for row in answers[12]) >= sorted(names.values())[-10]
    # The means of the scores, from the rows that the truth gives for them.
    for cell, is_again in ((4, False), (5, True)):
        scores = [attempt["correct"] / attempt["total"] for attempt in attempts if attempt["total"] is not None and (attempt["keen_id"] in again) == is_again]
        assert float(answers[12][0][cell]) == pytest.approx(100 * sum(scores) / len(scores), abs=0.051)


def test_publishing_and_landing_again_changes_nothing(stack, synthetic):
    path, _, _ = synthetic
    before = {table: stack.table("synthetic_a", table) for table in ("messages", "attempts", "questions", "options")}
    assert "nothing to publish: all 700 messages" in stack.make("publish", TOPIC="synthetic_a", DATA=path)
    assert "nothing new: all 700 records" in stack.make("land", TOPIC="synthetic_a")
    assert before == {table: stack.table("synthetic_a", table) for table in before}
    assert "DIFFERS" not in stack.make("verify", TOPIC="synthetic_a", DATA=path)


def test_a_file_sent_twice_adds_duplicate_rows_and_nothing_else(stack, synthetic):
    path, _, _ = synthetic
    before = {table: stack.table("synthetic_a", table) for table in ("attempts", "questions", "options")}
    old = {row["keen_id"]: row["kafka_offset"] for row in stack.table("synthetic_a", "attempts")}
    assert "700 messages before, 1400 after: 700 sent" in stack.make("publish", TOPIC="synthetic_a", DATA=path, FORCE=1)
    stack.make("land", TOPIC="synthetic_a")
    assert before == {table: stack.table("synthetic_a", table) for table in before}
    new = [row for row in stack.table("synthetic_a", "messages") if row["kafka_offset"] >= MESSAGES]
    assert len(new) == MESSAGES and {row["status"] for row in new} == {"duplicate"}
    assert all(row["reason"] == f"duplicate_of: 0-{old[row['keen_id']]}" for row in new)
    assert "DIFFERS" not in stack.make("verify", TOPIC="synthetic_a", DATA=path)


def test_two_feeds_side_by_side_one_of_three_partitions_from_lines_with_a_torn_one(stack, synthetic, tmp_path):
    untouched = stack.table("synthetic_a", "messages")
    path = tmp_path / "lines.jsonl"
    stack.make("data", SYNTHETIC=90, SEED=3, DATA=path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[40] = lines[40][:200] + b"\n"                         # a torn line
    lines[60] = b'{"keen_id": "caf\xe9"}\n'                     # no UTF-8
    lines[70] = lines[70].replace(b'"attempt": 1,', b'"attempt": 12345678901234567890123,')  # jq would round it
    path.write_bytes(b"".join(lines))
    said = stack.make("publish", ok=False, TOPIC="synthetic_b", DATA=path, PARTITIONS=3)
    assert "0 messages before, 88 after: 88 sent" in said
    assert "record 41: it is not JSON" in said and "record 61: it is not UTF-8: byte 16 is 0xe9" in said and "2 record(s)" in said
    said = stack.make("publish", TOPIC="synthetic_b", DATA=path)
    assert "nothing to publish: all 88 messages" in said and "2 record(s) of it cannot be sent" in said  # all that can be sent is there
    stack.make("land", TOPIC="synthetic_b")
    messages = stack.table("synthetic_b", "messages")
    assert sorted(row["value"] for row in messages) == sorted(line.rstrip(b"\n") for number, line in enumerate(lines) if number not in (40, 60))
    assert len({row["kafka_partition"] for row in messages}) == 3
    assert [row["reason"] for row in messages if row["status"] == "rejected"] == ["wrong_type: sequences.attempt is a number (12345678901234567890123), expected a whole number of 32 bits"]
    assert stack.table("synthetic_a", "messages") == untouched
    # verify names what is in the file but not in the topic
    assert "DIFFERS by -2 (the first: number 41, 61)" in stack.make("verify", ok=False, TOPIC="synthetic_b", DATA=path)


def test_an_array_arrives_as_it_was_written(stack, tmp_path):
    """Elements over several lines, in another spelling than jq's; a torn one at the end."""
    path = tmp_path / "array.json"
    path.write_text('\ufeff[{"keen_id": "a",\n "n": 1.0, "big": 12345678901234567890123},\r\n{"keen_id": "b", "n": 1e5, "n": "\ufffd"} , 5, {"keen_id": "c')
    (tmp_path / "array.json.truth.json").write_text("{}")
    said = stack.make("publish", ok=False, TOPIC="synthetic_c", DATA=path)
    assert "record 4: " in said and "3 sent" in said
    consumed = subprocess.run(["kcat", "-C", "-b", stack.kafka, "-t", "synthetic_c", "-e", "-q", "-f", "%k|%s\n"], text=True, capture_output=True, check=True).stdout
    assert consumed.splitlines() == ['a|{"keen_id": "a",  "n": 1.0, "big": 12345678901234567890123}', 'b|{"keen_id": "b", "n": 1e5, "n": "\ufffd"}', "|5"]


def test_every_character_arrives_wherever_in_a_long_message_it_stands(stack, tmp_path):
    """jq, kcat and pipes read in pieces of 4 and 64 kB: a character of two to four bytes lies across each of their edges."""
    every = "".join(map(chr, [*range(0x20, 0xd800), *range(0xe000, 0x110000, 7)])).replace("\\", "").replace('"', "")
    records = [f'{{"keen_id": "{"x" * shift}", "text": "{text}"}}'.encode() for shift in range(1, 5) for text in ("\u00e9" * 50_000, "\u65e5" * 50_000, "\U0001f600" * 50_000, every)]
    path = tmp_path / "characters.jsonl"
    path.write_bytes(b"\n".join(records) + b"\n")
    (tmp_path / "characters.jsonl.truth.json").write_text("{}")
    stack.make("publish", TOPIC="synthetic_characters", DATA=path)
    consumer = KafkaConsumer("synthetic_characters", bootstrap_servers=stack.kafka, auto_offset_reset="earliest", consumer_timeout_ms=5000)
    assert [(record.key.decode(), record.value) for record in consumer] == [(json.loads(record)["keen_id"], record) for record in records]
    consumer.close()


def test_what_was_accepted_in_another_run_is_looked_up_there_though_another_program_rewrote_the_tables(stack):
    stack.make("topic", TOPIC="bad_input", PARTITIONS=1)
    stack.kcat("bad_input", good(keen_id="id-0"))
    stack.make("land", TOPIC="bad_input")
    for table in ("messages", "attempts", "questions", "options"):  # every row into new files, by delta-rs
        assert deltalake.DeltaTable(f"{stack.hdfs}/warehouse/bad_input/{table}").update(updates={"keen_id": "keen_id"})["num_updated_rows"] > 0
    stack.kcat("bad_input", good(keen_id="id-0"))
    stack.kcat("bad_input", good(keen_id="id-0", exam_name="Other"))
    stack.make("land", TOPIC="bad_input")
    assert [row["reason"] for row in by(stack.table("bad_input", "messages"), "kafka_offset")] == [None, "duplicate_of: 0-0", "conflicts_with: 0-0"]
    assert len(stack.table("bad_input", "attempts")) == 1
    assert "DIFFERS" not in stack.make("verify", TOPIC="bad_input", DATA="none")


def test_a_lost_table_is_named_and_a_lost_ledger_costs_no_other_table(stack):
    import hdfs_native
    client = hdfs_native.Client(stack.hdfs)
    before = {table: stack.table("bad_input", table) for table in ("messages", "attempts", "questions", "options")}
    for table, said in (("options", "the table options is gone, the ledger is there"), ("messages", "the ledger (table messages) is gone")):
        client.rename(f"/warehouse/bad_input/{table}", f"/warehouse/away_{table}")
        for target in ("land", "verify"):
            assert said in stack.make(target, ok=False, TOPIC="bad_input", DATA="none")
        client.rename(f"/warehouse/away_{table}", f"/warehouse/bad_input/{table}")
    assert before == {table: stack.table("bad_input", table) for table in before}
    assert "nothing new" in stack.make("land", TOPIC="bad_input")


def test_a_stack_killed_outright_comes_up_again_with_its_data(stack, synthetic):
    before = stack.table("synthetic_a", "attempts")
    pids = stack.pids()
    assert len(pids) == 3
    scratch = conftest.ROOT / stack.run_dir / "tmp"
    assert {str(pid) for pid in pids} <= set(os.listdir(scratch))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)  # a power cut; the pid files stay
    assert "down" in stack.make("status")
    stack.make("up")
    assert not set(stack.pids()) & set(pids)
    assert stack.table("synthetic_a", "attempts") == before
    said = stack.make("status")
    assert re.search(r"synthetic_a +0 +1,400 +1,400 +0\n", said), said
    limit = time.monotonic() + 30  # until whoever inherited them has taken note of their end
    while {str(pid) for pid in pids} & set(os.listdir(scratch)):  # any command removes what the dead left
        assert time.monotonic() < limit
        stack.make("status")


def test_a_server_whose_pid_cannot_be_noted_is_not_left_running(stack):
    os.kill(stack.service_pids()["kafka"], signal.SIGKILL)
    in_the_way = conftest.ROOT / stack.run_dir / "pids" / "kafka.new"  # as a full disk would be
    in_the_way.mkdir()
    try:
        assert "error: " in stack.make("up", ok=False)
        commands = [process.info["cmdline"] or () for process in psutil.process_iter(["cmdline"])]
        assert not [command for command in commands if "kafka.Kafka" in command and stack.run_dir in " ".join(command)]
    finally:
        in_the_way.rmdir()
    stack.make("up")


def listens(address):
    host, port = address.split(":")
    with socket.socket() as attempt:
        return attempt.connect_ex((host, int(port))) == 0


def test_a_landing_beside_a_make_up_that_is_not_done_waits_for_it(stack):
    """The NameNode listens again, but no DataNode has come back to it: nothing can be written yet."""
    stack.make("topic", TOPIC="beside_up")
    stack.kcat("beside_up", good())
    pids = stack.service_pids()
    run = {"cwd": conftest.ROOT, "env": conftest.clean_environment(), "stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "text": True}
    try:
        os.kill(pids["datanode"], signal.SIGSTOP)
        os.kill(pids["namenode"], signal.SIGKILL)
        up = subprocess.Popen(stack.command("up"), stdout=subprocess.DEVNULL, **run)
        limit = time.monotonic() + 60
        while stack.service_pids()["namenode"] == pids["namenode"] or not listens(stack.hdfs.removeprefix("hdfs://")):
            assert time.monotonic() < limit, "the new NameNode does not listen"
            time.sleep(0.2)
        land = subprocess.Popen(stack.command("land", TOPIC="beside_up"), stdout=subprocess.PIPE, **run)
        said = ""
        while "waiting for it" not in said:
            line = land.stdout.readline()
            assert line, said
            said += line
    finally:
        os.kill(pids["datanode"], signal.SIGCONT)
    assert up.wait(120) == 0
    said += land.communicate(timeout=120)[0]
    assert land.returncode == 0, said
    assert len(stack.table("beside_up", "attempts")) == 1


def test_a_landing_without_its_checkpoint_goes_on_behind_the_ledger(stack, synthetic):
    """The checkpoint is lost, and with it the note of a batch that was cut off after its attempts were written."""
    import hdfs_native
    path, _, _ = synthetic
    before = {table: stack.table("synthetic_a", table) for table in ("messages", "attempts", "questions", "options")}
    hdfs_native.Client(stack.hdfs).delete("/warehouse/synthetic_a/_checkpoint", recursive=True)
    # What such a batch leaves: rows of an attempt beyond the ledger's end.
    for table in ("options", "questions", "attempts"):
        delta = deltalake.DeltaTable(f"{stack.hdfs}/warehouse/synthetic_a/{table}")
        frame = delta.to_pyarrow_table().slice(0, 1)
        frame = frame.set_column(frame.schema.get_field_index("keen_id"), frame.schema.field("keen_id"), [["half-written"]])
        if table == "attempts":
            frame = frame.set_column(frame.schema.get_field_index("kafka_offset"), frame.schema.field("kafka_offset"), [[1400]])
        deltalake.write_deltalake(delta, frame, mode="append")
    stack.kcat("synthetic_a", good(keen_id="half-written"))
    stack.make("land", TOPIC="synthetic_a")
    for table, key in (("attempts", "kafka_offset"), ("questions", "question_position"), ("options", "option_position")):
        after = stack.table("synthetic_a", table)
        assert by([row for row in after if row["keen_id"] != "half-written"], "keen_id", key) == by(before[table], "keen_id", key)
        assert len([row for row in after if row["keen_id"] == "half-written"]) == {"attempts": 1, "questions": 2, "options": 5}[table]
    assert "DIFFERS" not in stack.make("verify", TOPIC="synthetic_a", DATA=path)


def test_repeats_across_partitions_and_against_the_order_of_offsets(stack):
    """In one batch: of each id the message with the smallest (time, partition, offset) is accepted, wherever Spark's tasks find it."""
    stack.make("topic", TOPIC="order", PARTITIONS=3)
    rng, records = random.Random(3), []
    with contextlib.closing(KafkaProducer(bootstrap_servers=stack.kafka, acks="all")) as producer:
        for number in range(400):
            keen_id, name, time_ms, partition = f"id-{rng.randrange(150)}", rng.choice(["Learning Git", "Learning Git", "Another"]), 1517000000000 + rng.randrange(40), rng.randrange(3)
            questions = good(keen_id=keen_id, exam_name=name)
            sent = producer.send("order", value=questions, partition=partition, timestamp_ms=time_ms).get(30)
            records.append((time_ms, partition, sent.offset, keen_id, name))
    stack.make("land", TOPIC="order")
    expected, first = {}, {}
    for time_ms, partition, offset, keen_id, name in sorted(records):
        position, its_name = first.setdefault(keen_id, (f"{partition}-{offset}", name))
        expected[partition, offset] = (("accepted", None) if position == f"{partition}-{offset}" else
                                       ("duplicate", f"duplicate_of: {position}") if name == its_name else ("rejected", f"conflicts_with: {position}"))
    assert {(row["kafka_partition"], row["kafka_offset"]): (row["status"], row["reason"]) for row in stack.table("order", "messages")} == expected
    attempts = stack.table("order", "attempts")
    assert {row["keen_id"]: (f"{row['kafka_partition']}-{row['kafka_offset']}", row["exam_name"]) for row in attempts} == first and len(attempts) == len(first)
    for table, rows_an_attempt in (("questions", 2), ("options", 5)):
        children = collections.Counter((row["keen_id"], row["exam_name"]) for row in stack.table("order", table))
        assert children == {(keen_id, name): rows_an_attempt for keen_id, (_, name) in first.items()}
    assert "DIFFERS" not in stack.make("verify", TOPIC="order", DATA="none")


def test_small_files_are_put_together_and_no_row_changes(stack):
    """Twelve files of one attempt each, as twelve small landings leave them, and one landing more."""
    stack.make("topic", TOPIC="small", PARTITIONS=1)
    stack.kcat("small", *(good(keen_id=f"id-{number}") for number in range(12)))
    stack.make("land", TOPIC="small")
    tables, before = ("messages", "attempts", "questions", "options"), {}
    for table in tables:
        delta = deltalake.DeltaTable(f"{stack.hdfs}/warehouse/small/{table}")
        frame = delta.to_pyarrow_table()
        before[table] = frame.to_pylist()
        for number in range(12):
            its = frame.filter([keen_id == f"id-{number}" for keen_id in frame["keen_id"].to_pylist()])
            deltalake.write_deltalake(delta, its, mode="append" if number else "overwrite")
        assert len(delta.file_uris()) == 12
    stack.kcat("small", good(keen_id="id-5"), good(keen_id="id-12"))
    stack.make("land", TOPIC="small")
    for table in tables:
        assert len(deltalake.DeltaTable(f"{stack.hdfs}/warehouse/small/{table}").file_uris()) == 1
        after = stack.table("small", table)
        assert all(row in after for row in before[table])
    assert [row["reason"] for row in by(stack.table("small", "messages"), "kafka_offset")] == [None] * 12 + ["duplicate_of: 0-5", None]
    assert len(stack.table("small", "attempts")) == 13
    assert "nothing new" in stack.make("land", TOPIC="small")
    assert "DIFFERS" not in stack.make("verify", TOPIC="small", DATA="none")


@pytest.fixture(scope="module")
def newer(stack, tmp_path_factory):
    """A copy of the project on the same stack, with two more optional fields: one line each in the declaration."""
    root = tmp_path_factory.mktemp("newer") / "project"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=conftest.ROOT, capture_output=True, check=True, text=True).stdout.split("\0")[:-1]
    for path in tracked:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(conftest.ROOT / path, root / path)
    (root / ".venv").symlink_to(conftest.ROOT / ".venv")
    declaration = root / "scripts" / "message.py"
    text = declaration.read_text()
    for end, line in (('), spelled="keen_timestamp max', '    Field("device", TEXT, "what the attempt was made on", required=False),\n'), ('), spelled="checked', '    Field("hint", BOOLEAN, "a hint was shown", required=False),\n')):
        assert text.count(end) == 1
        text = text.replace(end, line + end)
    declaration.write_text(text)
    copied = copy.copy(stack)
    copied.root, copied.run_dir = root, conftest.ROOT / stack.run_dir
    return copied


def kill_reprocess(stack, topic):
    """Starts make reprocess and kills it as soon as it has replaced the first table; again when it was done by then."""
    def version():
        return deltalake.DeltaTable(f"{stack.hdfs}/warehouse/{topic}/options").version()

    for _ in range(5):
        before, limit = version(), time.monotonic() + 300
        reprocess = subprocess.Popen(stack.command("reprocess", TOPIC=topic), cwd=stack.root, env=conftest.clean_environment(), start_new_session=True,
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while version() == before:
            assert reprocess.poll() is None and time.monotonic() < limit
        with contextlib.suppress(ProcessLookupError):
            os.killpg(reprocess.pid, signal.SIGKILL)
        reprocess.wait()
        with contextlib.suppress(FileNotFoundError):
            return hdfs_native.Client(stack.hdfs).get_file_info(f"/warehouse/{topic}/_reprocess")
    raise AssertionError("make reprocess was always done before it could be killed")


def test_a_new_field_is_one_line_and_older_and_newer_scripts_do_not_harm_each_others_tables(stack, newer):
    """Old and new messages in one feed; the older scripts stop before they touch it; a run that was killed between two tables."""
    def with_hint(message):
        message = json.loads(message)
        message["sequences"]["questions"][0]["options"][1]["hint"] = True
        return json.dumps(message).encode()

    stack.make("topic", TOPIC="grows", PARTITIONS=1)
    stack.kcat("grows", good(keen_id="old"), with_hint(good(keen_id="before its time", device="phone")))
    stack.make("land", TOPIC="grows")
    stack.kcat("grows", with_hint(good(keen_id="new", device="tablet")), good(keen_id="new without"), good(keen_id="wrong", device=5))
    # What a landing by the newer scripts leaves when it is killed after its first table.
    deltalake.DeltaTable(f"{stack.hdfs}/warehouse/grows/options").alter.add_columns([deltalake.Field("hint", deltalake.schema.PrimitiveType("boolean"), nullable=True)])
    said = newer.make("land", TOPIC="grows")
    assert "table attempts: new column device" in said and "options: new column" not in said
    devices = {row["keen_id"]: row["device"] for row in stack.table("grows", "attempts")}
    assert devices == {"old": None, "before its time": None, "new": "tablet", "new without": None}
    hints = collections.Counter((row["keen_id"], row["hint"]) for row in stack.table("grows", "options"))
    assert hints == {("old", None): 5, ("before its time", None): 5, ("new", None): 4, ("new", True): 1, ("new without", None): 5}
    assert [row["reason"] for row in by(stack.table("grows", "messages"), "kafka_offset")][4] == "wrong_type: device is a number (5), expected a text"
    # The older scripts stop, and nothing is touched.
    stack.kcat("grows", good(keen_id="later"))
    before = {table: stack.table("grows", table) for table in ("messages", "attempts", "questions", "options")}
    for target in ("land", "reprocess"):
        assert re.search("error: table (options|attempts) of feed grows has a column that these scripts do not know: (hint|device)", stack.make(target, ok=False, TOPIC="grows"))
    assert before == {table: stack.table("grows", table) for table in before}
    # The newer ones fill the column from the ledger, and continue, though they are killed between two tables.
    kill_reprocess(newer, "grows")
    said = newer.make("land", TOPIC="grows")
    assert "an interrupted make reprocess of feed grows comes first" in said and "rebuilt in" in said and "landed in" in said
    assert {row["keen_id"]: row["device"] for row in stack.table("grows", "attempts")} == devices | {"before its time": "phone", "later": None}
    assert {(row["keen_id"], row["hint"]) for row in stack.table("grows", "options") if row["hint"]} == {("new", True), ("before its time", True)}
    assert "DIFFERS" not in newer.make("verify", TOPIC="grows", DATA="none")


def test_transactions_are_landed_when_they_are_committed(stack):
    """What ends a transaction takes an offset and is no record; what was aborted, or is not committed yet, was never published."""
    stack.make("topic", TOPIC="transactions")
    producer, other = (KafkaProducer(bootstrap_servers=stack.kafka, transactional_id=name, acks="all", enable_idempotence=True) for name in ("first", "other"))
    with contextlib.closing(producer), contextlib.closing(other):
        producer.init_transactions()
        other.init_transactions()

        def send(sender, *keen_ids):
            sender.begin_transaction()
            for keen_id in keen_ids:
                sender.send("transactions", good(keen_id=keen_id))
            sender.flush()

        send(producer, "first", "second")
        producer.commit_transaction()
        send(producer, "aborted", "aborted too")
        producer.abort_transaction()
        stack.make("land", TOPIC="transactions")
        assert "nothing new" in stack.make("land", TOPIC="transactions")
        send(other, "open")
        send(producer, "behind it")
        producer.commit_transaction()
        assert "nothing new" in stack.make("land", TOPIC="transactions")
        other.commit_transaction()
    stack.make("land", TOPIC="transactions")
    assert [row["keen_id"] for row in by(stack.table("transactions", "messages"), "kafka_offset")] == ["first", "second", "open", "behind it"]
    assert "DIFFERS" not in stack.make("verify", TOPIC="transactions", DATA="none")


def test_a_topic_deleted_and_made_anew_stops_landing(stack):
    from kafka import KafkaAdminClient
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    admin.delete_topics(["bad_input"])
    admin.close()
    limit = time.monotonic() + 30
    while "Created topic" not in stack.make("topic", ok=None, TOPIC="bad_input"):
        assert time.monotonic() < limit
    before = stack.table("bad_input", "messages")
    for _ in range(len(before) + 1):  # longer than what was landed: offsets alone would not tell
        stack.kcat("bad_input", good())
    said = stack.make("land", ok=False, TOPIC="bad_input")
    assert "it was deleted and made anew" in said and "hadoop fs -mv" in said
    assert stack.table("bad_input", "messages") == before


def test_sql_and_pyspark_open_with_the_tables(stack, synthetic):
    attempts = len(stack.table("synthetic_a", "attempts"))
    for target, prompt, line in (("sql", "spark-sql .*> ", "SELECT concat('rows: ', count(*)) FROM synthetic_a.attempts;"),
                                 ("pyspark", ">>> ", "print('rows:', spark.table('synthetic_a.attempts').count())")):
        make, *arguments = stack.command(target, TOPIC="synthetic_a")
        shell = pexpect.spawn(make, arguments, cwd=conftest.ROOT, env=conftest.clean_environment(), timeout=120, encoding="utf-8")
        shell.expect(prompt)
        shell.sendline(line)
        shell.expect(f"rows: {attempts}")
        shell.expect(prompt)
        shell.sendeof()
        shell.expect(pexpect.EOF)


def test_list_and_consume_show_what_is_there(stack, synthetic):
    said = stack.make("list", TOPIC="synthetic_a")
    assert all(f"/warehouse/synthetic_a/{table}" in said for table in ("messages", "attempts", "questions", "options"))
    said = stack.make("consume", TOPIC="synthetic_a")
    assert said.rstrip().endswith(str(len(stack.table("synthetic_a", "messages")))) and '"keen_timestamp"' in said


def test_clean_removes_no_folder_of_somebody_else(stack, tmp_path):
    (tmp_path / "photo").write_text("mine")
    for where in "local", "docker":
        assert "holds something already" in stack.make("setup", ok=False, RUN_DIR=tmp_path, STACK=where)
    assert "is no run folder" in stack.make("clean", ok=False, RUN_DIR=tmp_path, YES=1)
    assert (tmp_path / "photo").exists()


def test_a_running_stack_is_not_mistaken_for_one_on_other_ports(stack):
    assert "runs on other ports" in stack.make("topic", ok=False, KAFKA="127.0.0.1:20998")


def test_a_port_that_is_taken_is_named_with_its_holder(stack):
    other = conftest.Stack(".run-test-2")
    holder = subprocess.Popen(["python3", "-c", f"import socket, time; s = socket.socket(); s.bind(('127.0.0.1', {other.kafka.split(':')[1]})); s.listen(); print('ready', flush=True); time.sleep(100)"], stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        said = other.make("up", ok=False)
        assert f"is taken" in said and f"pid {holder.pid}" in said and f"KAFKA={other.kafka}" in said
    finally:
        holder.kill()
        holder.wait()
        other.make("down", ok=None)
        other.make("clean", YES=1)


def test_invented_data_do_not_enter_a_feed_with_real_data(stack, synthetic):
    assert "is invented data" in stack.make("publish", ok=False, TOPIC="assessments", DATA=synthetic[0])


def test_a_file_of_somebody_is_not_overwritten_with_invented_data(stack, tmp_path):
    mine = tmp_path / "mine.json"
    mine.write_text("[]")
    assert "was not made up by this" in stack.make("data", ok=False, DATA=mine, SYNTHETIC=5)
    assert mine.read_text() == "[]"


def test_a_typo_in_data_is_no_reason_to_invent_some(stack):
    assert "no-such-file.json is not there" in stack.make("data", ok=False, DATA="no-such-file.json")


def test_a_file_that_cannot_be_read_is_not_called_sent(stack):
    said = stack.make("publish", ok=False, TOPIC="unreadable", DATA="/proc/self/mem")  # its first byte is an I/O error, for root too
    assert "error: /proc/self/mem cannot be read: Input/output error" in said and "nothing was sent" in said, said


def test_a_download_with_another_hash_is_not_taken_unless_told(stack, tmp_path):
    served, wanted = tmp_path / "served.json", tmp_path / "wanted.json"
    served.write_text("[]")
    said = stack.make("data", DATA=wanted, DATA_URL=f"file://{served}")
    assert "gave another file: sha256" in said and "SYNTHETIC" in said and conftest.KNOWN_SHA256 in said and not wanted.exists()
    stack.make("data", DATA=wanted, DATA_URL=f"file:///nowhere file://{served}", ANY_HASH=1)
    assert wanted.read_text() == "[]"


# --- the real file ------------------------------------------------------------------------------

def test_the_real_file_lands_right_in_every_row(stack, real_file):
    """The oracle is a flattening in plain Python, from the file, by the words of the contract."""
    for target in ("publish", "land"):
        stack.make(target, DATA=real_file.resolve())
    records = json.loads(real_file.read_text())
    attempts, questions, options, statuses, first = [], [], [], [], {}
    for offset, m in enumerate(records):
        if m["keen_id"] in first:
            statuses.append((offset, m["keen_id"], "duplicate", f"duplicate_of: 0-{first[m['keen_id']]}"))
            continue
        first[m["keen_id"]] = offset
        statuses.append((offset, m["keen_id"], "accepted", None))
        s, c = m["sequences"], m["sequences"].get("counts", {})
        attempts.append({
            **{name: m[name] for name in ("keen_id", "user_exam_id", "base_exam_id", "exam_name")},
            **{name: moment(m[name]) for name in ("started_at", "keen_timestamp", "keen_created_at")},
            "certification": {"true": True, "false": False, None: None}[m["certification"]], "max_attempts": int(float(m["max_attempts"])),
            "attempt": s["attempt"], "sequences_id": s["id"],
            **{name: c.get(name) for name in ("total", "correct", "incorrect", "incomplete", "unanswered", "submitted", "all_correct")},
            "question_count": len(s["questions"]), "kafka_partition": 0, "kafka_offset": offset})
        for place, q in enumerate(s["questions"]):
            exam = {"keen_id": m["keen_id"], "base_exam_id": m["base_exam_id"], "exam_name": m["exam_name"], "question_position": place, "question_id": q["id"]}
            questions.append({**exam, **{name: q.get(name) for name in ("user_result", "user_correct", "user_incomplete", "user_submitted")}, "option_count": len(q["options"])})
            for number, o in enumerate(q["options"]):
                options.append({**exam, "option_position": number, "option_id": o["id"], "checked": o["checked"], "clicked_at": moment(o.get("at")),
                                "submitted": o.get("submitted", 0) == 1, "correct": o.get("correct", False)})

    assert (len(records), len(attempts), len(questions), len(options)) == (3280, 3242, 14555, 55112)
    assert by(rows(stack, "assessments", "attempts", "content_hash"), "kafka_offset") == attempts
    assert by(rows(stack, "assessments", "questions"), "keen_id", "question_position") == by(questions, "keen_id", "question_position")
    assert by(rows(stack, "assessments", "options"), "keen_id", "question_position", "option_position") == by(options, "keen_id", "question_position", "option_position")
    ledger = by(stack.table("assessments", "messages"), "kafka_offset")
    assert [(r["kafka_offset"], r["keen_id"], r["status"], r["reason"]) for r in ledger] == statuses
    assert [json.loads(r["value"]) for r in ledger] == records
    assert all(r["key"].decode() == m["keen_id"] for r, m in zip(ledger, records))
    assert len({r["content_hash"] for r in ledger}) == 3242
    assert "DIFFERS" not in stack.make("verify", DATA=real_file.resolve())


def test_the_synthetic_data_have_the_form_and_the_shares_of_the_real(stack, real_file, tmp_path):
    made = tmp_path / "like-the-real.json"
    stack.make("data", SYNTHETIC=3280, SEED=11, DATA=made)

    def form(path):
        records = json.loads(path.read_text())
        keys, share = collections.Counter(), collections.Counter()
        for m in records:
            keys["message", tuple(m)] += 1
            keys["sequences", tuple(m["sequences"])] += 1
            keys["counts", tuple(m["sequences"].get("counts", ()))] += 1
            share["certification is null"] += m["certification"] is None
            share["no counts"] += "counts" not in m["sequences"]
            for q in m["sequences"]["questions"]:
                share["questions"] += 1
                keys["question", tuple(q)] += 1
                share["result", q.get("user_result")] += 1
                for o in q["options"]:
                    share["options"] += 1
                    keys["option", tuple(o)] += 1
        share["delivered again"] = len(records) - len({m["keen_id"] for m in records})
        share["exams"], share["names"] = len({m["base_exam_id"] for m in records}), len({m["exam_name"] for m in records})
        share["exams whose certification is null"] = len({m["base_exam_id"] for m in records if m["certification"] is None})
        once = {m["keen_id"]: m for m in records}.values()
        share["sat again within a minute"] = len(sat_again([m | {name: moment(m[name]) for name in ("started_at", "keen_timestamp")} for m in once]))
        questions = {(m["exam_name"], q["id"]) for m in records for q in m["sequences"]["questions"]}
        share["question ids"], share["questions by exam and id"] = len({key for _, key in questions}), len(questions)
        share["ids of sequences"] = len({m["sequences"]["id"] for m in records})
        return path.read_bytes(), set(keys), share

    (real, real_keys, real_share), (text, keys, share) = form(real_file), form(made)
    assert keys == real_keys
    assert text[:20] == real[:20] and text[-3:] == real[-3:] and text.count(b"\n") == 1
    for name, number in real_share.items():  # within half and twice; small numbers may be off by more
        assert number / 2 - 4 <= share[name] <= 2 * number + 4, (name, number, share[name])
