"""Bad input, sent byte for byte by real kcat and landed for real; and nobody let in. All on one landing of the corpus."""
import http.server
import ipaddress
import json
import re
import socket
import stat
import subprocess
import threading
import time
import unicodedata

import jsonschema_rs
import psutil
import pytest

import conftest
import dictionary
import file_in_topic
import validate
import verdict
from messages import CASES, good, padded

FORMAT = json.loads((conftest.ROOT / "assessment-attempt.schema.json").read_text())
# These come first in the topic, where make consume shows them.
SHOWN = ["commands-to-the-terminal", "commands-to-the-terminal-in-8-bits"]
NAMES = SHOWN + [name for name in CASES if name not in SHOWN]


def listening(processes):
    """{(program, address)} that these processes listen on, as the kernel says: TCP, UDP, both versions of IP."""
    found = set()
    for process in processes:
        try:
            program = process.name()
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN or (connection.type == socket.SOCK_DGRAM and not connection.raddr):
                    found.add((program, connection.laddr.ip))
        except psutil.NoSuchProcess:
            pass
    return found


def is_this_machine(address):
    address = ipaddress.ip_address(address)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


@pytest.fixture(scope="module")
def corpus(stack, tmp_path_factory):
    """A message with a hostile key, then every case, a good message behind each, landed in one go: what land printed,
    what listened meanwhile, and the ledger's rows by offset."""
    stack.make("topic", TOPIC="corpus", PARTITIONS=1)
    subprocess.run(["kcat", "-P", "-b", stack.kafka, "-t", "corpus", "-K", "\t"], input=b"\x1b]0;key\x07\xc2\x9b31m\t" + good(keen_id="good-key") + b"\n", check=True)
    values = []
    for number, name in enumerate(NAMES):
        values += [CASES[name][0], good(keen_id=f"good-{number}")] if number else [CASES[name][0]]
    stack.kcat("corpus", *values)
    heard = set()
    log = tmp_path_factory.mktemp("corpus") / "land.log"
    with open(log, "w") as output:
        landing = subprocess.Popen(stack.command("land", TOPIC="corpus"), cwd=conftest.ROOT, env=conftest.clean_environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        while landing.poll() is None:
            heard |= listening(psutil.Process(landing.pid).children(recursive=True))
            time.sleep(0.5)
    assert landing.returncode == 0, log.read_text()
    rows = sorted(stack.table("corpus", "messages"), key=lambda row: row["kafka_offset"])
    cases = dict(zip(NAMES, [rows[1], *rows[2::2]], strict=True))
    return log.read_text(), heard, rows, cases


def test_each_case_gets_its_verdict_and_its_bytes_are_kept(corpus):
    _, _, rows, cases = corpus
    assert len(CASES) >= 80 and len(rows) == 2 * len(CASES)
    for name, row in cases.items():
        value, reason = CASES[name]
        assert row["value"] == value, name
        if reason is None:
            assert (row["status"], row["reason"]) == ("accepted", None), name
        else:
            assert row["status"] == "rejected" and row["reason"].startswith(reason), (name, row["reason"])


def test_the_good_messages_between_the_bad_ones_are_landed(stack, corpus):
    log, _, rows, _ = corpus
    assert [(row["keen_id"], row["status"]) for row in [rows[0], *rows[3::2]]] == [("good-key", "accepted")] + [(f"good-{number}", "accepted") for number in range(1, len(CASES))]
    assert rows[0]["key"] == b"\x1b]0;key\x07\xc2\x9b31m"
    attempts = stack.table("corpus", "attempts")
    accepted = sum(reason is None for _, reason in CASES.values()) + len(CASES)
    assert len(attempts) == len({row["keen_id"] for row in attempts}) == accepted
    assert re.search(rf" {accepted:,} +0 +{len(rows) - accepted:,} ", log), log
    by_id = {row["keen_id"]: row for row in attempts}
    sql = by_id["'; DROP TABLE attempts; --"]
    assert (sql["exam_name"], sql["base_exam_id"], sql["question_count"]) == ("'; DROP TABLE attempts; --", "'; DROP TABLE attempts; --", 2)
    assert by_id["../../../../etc/passwd\0.json"]["exam_name"] == "../../../../etc/passwd\0.json"
    assert by_id["made-3"]["question_count"] > 2000
    assert len([row for row in stack.table("corpus", "questions") if row["keen_id"] == "made-3"]) == by_id["made-3"]["question_count"]
    assert not (conftest.ROOT / "owned").exists()  # what the shell fragments would have made


def test_validate_gives_the_same_verdict_as_land(stack, corpus, tmp_path):
    """Each reason in full, from a folder of messages; and through make, from lines and from an array."""
    landed = {name: row["reason"] for name, row in corpus[3].items()}
    for name in NAMES:
        if CASES[name][0] is not None:  # a file cannot be a tombstone
            (tmp_path / name).write_bytes(CASES[name][0])
    assert {where: reason for where, reason, _, _ in validate.judged(tmp_path)} == {name: landed[name] for name in NAMES if name != "a-tombstone"}
    said = stack.make("validate", ok=False, DATA=tmp_path)
    counted = {word: int(number.replace(",", "")) for word, number in re.findall(r"^(\w+) +([\d,]+)$", said, re.MULTILINE)}
    expected = {}
    for name, (value, reason) in CASES.items():
        if value is not None:
            word = "accepted" if reason is None else reason.partition(":")[0]
            expected[word] = expected.get(word, 0) + 1
    assert counted == expected
    assert f"{sum(expected.values()) - expected['accepted']:,} of the {sum(expected.values()):,} records" in said


def test_validate_names_line_or_element_and_every_place(stack, tmp_path):
    bad = json.loads(good())
    del bad["exam_name"]
    bad["sequences"]["attempt"], bad["sequences"]["questions"][1]["id"] = "1", 5
    lines = tmp_path / "lines.jsonl"
    lines.write_bytes(good() + b"\n\n" + json.dumps(bad).encode() + b"\r\n" + good()[:-1] + b"\n" + padded(1_200_000, "large"))
    said = stack.make("validate", ok=False, DATA=lines)
    assert "  line 3: missing: exam_name is absent\n    and 2 more: sequences.questions[1].id, sequences.attempt\n" in said
    assert "  line 4: not_json: Expecting ',' delimiter" in said and "  line 5: too_large: it has 1,200,000 bytes, 990,000 can be sent" in said
    assert "error: 3 of the 4 records" in said
    array = tmp_path / "array.json"
    array.write_bytes(b"[" + good() + b",\n" + json.dumps(bad).encode() + b",\n" + CASES["a-key-twice"][0] + b"]\n[" + good() + b"]")
    said = stack.make("validate", ok=False, DATA=array)
    assert "  element 2: missing: exam_name is absent" in said and "  element 3: not_json: the key" in said
    assert "  element 4: not_json: something follows the end of the array" in said
    array.write_bytes(b"[" + CASES["a-number-of-5000-digits-in-an-unknown-field"][0] + b", " + good() + b"]")
    assert re.search(r"^accepted +2$", stack.make("validate", DATA=array), re.MULTILINE)
    assert "none.json is not there" in stack.make("validate", ok=False, DATA=tmp_path / "none.json")


def test_what_is_over_the_brokers_limit_is_refused_by_name_and_nothing_of_it_arrives(stack, corpus, tmp_path):
    """By publish before it is sent; by kcat; by the broker, where a client's own limit is set higher."""
    end = len(corpus[2])
    for option in ([], ["-X", "message.max.bytes=5000000"]):
        (tmp_path / "large").write_bytes(padded(1_200_000, "large"))
        sent = subprocess.run(["kcat", "-P", "-b", stack.kafka, "-t", "corpus", *option, tmp_path / "large"], capture_output=True, text=True)
        assert sent.returncode != 0 and "Message size too large" in sent.stderr
    data = tmp_path / "large.jsonl"
    data.write_bytes(padded(1_200_000, "large"))
    said = stack.make("publish", ok=False, TOPIC="corpus", DATA=data)
    assert "record 1: it has 1,200,000 bytes, 990,000 can be sent" in said and "0 sent" in said
    consumed = subprocess.run(["kcat", "-C", "-b", stack.kafka, "-t", "corpus", "-o", "beginning", "-e", "-q", "-f", ".\n"], capture_output=True, check=True).stdout
    assert consumed.count(b".") == end


def test_verify_names_the_unknown_fields_and_how_often_they_came(stack, corpus):
    said = stack.make("verify", TOPIC="corpus", DATA="none.json")
    assert "DIFFERS" not in said
    section = said.split("fields that nobody declared (10 fields)\n")[1]
    assert re.findall(r"^(\S.*\S) +(\d+)$", section, re.MULTILINE) == [
        ("browser", "2"), ("big", "1"), ("device", "1"), ("padding", "1"), (r"sequences.\x1b[2J\x00", "1"), ("sequences.counts.skipped", "1"), ("sequences.questions[].hint", "1"),
        ("sequences.questions[].options[].at2", "1"), ("sequences.score", "1"), ("sequences.shuffled", "1")]


def test_what_was_published_cannot_command_the_terminal(stack, corpus):
    """No output holds a control character, one that turns the line round, or a line end of a message's own."""
    said = {"land": corpus[0], **{target: stack.make(target, TOPIC="corpus", DATA="none.json") for target in ("consume", "query", "verify")}}
    for target, text in said.items():
        bad = {c for c in text if c != "\n" and (unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp"))}
        assert not bad, (target, bad)
    assert r"\x1b]0;owned\a\x1b[2J\x9b31m\b\x7f" in said["query"] and r"Learning \u202etiG\u202c" in said["query"]
    assert r"key \x1b]0;key\x07\x9b31m," in said["consume"]
    assert r"\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b31m\x7f\u202edenrut" in said["consume"] and r"\x9b31mred\x9d0;owned\x9c" in said["consume"]
    assert max(map(len, said["query"].splitlines())) < 500  # whatever the length of a name


def test_only_this_machine_is_listened_to(stack, corpus):
    servers = [psutil.Process(pid) for pid in stack.pids()]
    tree = [*servers, *(child for server in servers for child in server.children(recursive=True))]
    assert sum(connection.status == psutil.CONN_LISTEN for server in servers for connection in server.net_connections("tcp")) >= 7
    heard = listening(tree) | corpus[1]
    assert {"java"} < {program for program, _ in corpus[1]}  # the driver's JVM, and a Python that talks to it
    assert {ip for _, ip in heard if not is_this_machine(ip)} == set()


def test_a_process_that_listens_to_everybody_would_be_noticed():
    with socket.socket(socket.AF_INET6) as anybody, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        anybody.bind(("::", 0))
        anybody.listen()
        datagrams.bind(("0.0.0.0", 0))
        assert {ip for _, ip in listening([psutil.Process()]) if not is_this_machine(ip)} >= {"::", "0.0.0.0"}


def test_the_run_folder_is_for_its_owner_only(stack, corpus, tmp_path):
    assert stat.S_IMODE((conftest.ROOT / stack.run_dir).stat().st_mode) == 0o700
    mine = tmp_path / "made by hand".replace(" ", "-")
    mine.mkdir(mode=0o755)
    stack.make("setup", RUN_DIR=mine)
    assert stat.S_IMODE(mine.stat().st_mode) == 0o700
    for file in (conftest.ROOT / stack.run_dir / "logs").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


# What a stranger may try in a knob. What it would do is harmless: it makes a file, which must not be there afterwards.
HOSTILE = ["a; touch owned", "a && touch owned", "$(touch owned)", "`touch owned`", "$(shell touch owned)", "a\ntouch owned", "| touch owned", "../x", "a b", "ünïcode",
           "-rf", "a'b", 'a"b', "a\x1b[31m", "*", "{a,b}", "~root", "%s", "a\\b"]
CHECKED = "STACK CLUSTER TOPIC ANY_HASH SYNTHETIC SEED PARTITIONS REPLICATION FORCE SKIP_EXPIRED YES KILLS MESSAGES RUNS BASELINE KAFKA HDFS SPARK_MASTER WAREHOUSE".split()


@pytest.mark.parametrize("knob", CHECKED)
def test_a_hostile_value_of_a_knob_is_named_and_nothing_runs(stack, knob):
    """Each value by the environment, straight to what checks the knobs; two of them through make as well."""
    environment = {**conftest.clean_environment(), "KNOB_ORIGINS": f"{knob}=environment"}
    defaults = dict(re.findall(r"^([A-Z_]+) \?= ?(.*)", (conftest.ROOT / "Makefile").read_text(), re.MULTILINE))
    for value in HOSTILE:
        done = subprocess.run(["scripts/env.sh", "touch", "owned"], cwd=conftest.ROOT, env={**defaults, **environment, knob: value}, capture_output=True, text=True)
        assert done.returncode == 2 and f"error: {knob} is " in done.stderr and "the environment" in done.stderr, (value, done.stderr)
        assert "\x1b" not in done.stderr
    for value in HOSTILE[0], HOSTILE[4]:
        said = stack.make("topic", ok=False, **{knob: value})
        assert f"error: {knob} is " in said and "the make command line" in said and "kafka-topics" not in said
    assert not (conftest.ROOT / "owned").exists()


@pytest.mark.parametrize("knob, value", [("TOPIC", "Assessments"), ("TOPIC", "a" * 101), ("KAFKA", "0.0.0.0:29092"), ("KAFKA", "127.0.0.1:99999"), ("HDFS", "hdfs://example.org:8020"), ("PARTITIONS", "0"),
                                         ("WAREHOUSE", "/a/../b"), ("WAREHOUSE", "relative"), ("STACK", "cloud"), ("RUN_DIR", ".run,x"), ("RUN_DIR", "a b"), ("RUN_DIR", "a;b")])
def test_a_knob_that_does_not_fit_is_named(stack, knob, value):
    said = stack.make("topic", ok=False, **{knob: value})
    assert "error: " in said and "kafka-topics" not in said and (f"{knob} is " in said or "port" in said)


def test_a_file_name_is_never_run(stack, tmp_path):
    data = tmp_path / "a; touch owned $(touch owned) `touch owned` 'x' \"y\" ü.json"
    data.write_bytes(b"[" + good() + b"]")
    assert re.search(r"^accepted +1$", stack.make("validate", DATA=data), re.MULTILINE)
    assert not (conftest.ROOT / "owned").exists()


def test_a_password_in_an_address_is_neither_shown_nor_in_a_process_list(stack, tmp_path):
    """The server looks into the machine's process list while it answers."""
    seen = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.headers["Authorization"], self.path, [line for process in psutil.process_iter() for line in cmdline(process) if "s3cret" in line]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_):
            pass

    def cmdline(process):
        try:
            return process.cmdline()
        except psutil.Error:
            return []

    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {**conftest.clean_environment(), "DATA_URL": f"http://user:s3cret@127.0.0.1:{server.server_port}/file.json?token=s3cret", "no_proxy": "*"}
        done = subprocess.run(stack.command("data", DATA=tmp_path / "got.json", ANY_HASH=1), cwd=conftest.ROOT, env=environment, capture_output=True, text=True, timeout=60)
        server.shutdown()
    assert done.returncode == 0 and (tmp_path / "got.json").read_text() == "[]", done.stderr
    assert seen == [("Basic dXNlcjpzM2NyZXQ=", "/file.json?token=s3cret", [])]
    assert "s3cret" not in done.stdout + done.stderr and "//…@127.0.0.1" in done.stderr


@pytest.mark.parametrize("spoil", [
    lambda message: message.replace(b'"attempt":', b'"attempt": 1, "attempt":'),
    lambda message: message.replace(b'"attempt": 1', b'"attempt": 1.00000000000000000001'),
    lambda message: message.replace(b'"attempt": 1', b'"attempt": "1"'),
    lambda message: b"\xef\xbb\xbf" + message,
    lambda message: message.decode().encode("utf-16"),
])
def test_a_message_that_was_mended_is_not_taken_for_the_one_that_was_refused(spoil):
    """Or make publish would find the file to be in the topic, and never send it."""
    message = good()
    bad = spoil(message)
    assert bad != message and verdict.examine(bad)[0] is not None and verdict.examine(message)[0] is None
    assert file_in_topic.fingerprint(bad) != file_in_topic.fingerprint(message)


def test_a_message_is_the_same_in_another_spelling():
    message = good()
    for other in (message.replace(b": ", b":  "), message.replace(b'"attempt": 1', b'"attempt": 1.0'), message.replace(b'"attempt": 1', b'"attempt": 10e-1'), message.replace(b"keen_id", rb"\u006been_id", 1)):
        assert other != message and file_in_topic.fingerprint(other) == file_in_topic.fingerprint(message)


# --- the published format -------------------------------------------------------------------------

def test_the_published_format_is_that_of_the_declaration():
    """The file that customers read is what make dictionary writes; and it names the contract's required fields."""
    jsonschema_rs.meta.validate(FORMAT)
    assert (conftest.ROOT / dictionary.SCHEMA).read_text() == dictionary.json_schema()
    sequences = FORMAT["properties"]["sequences"]
    question = sequences["properties"]["questions"]["items"]
    assert set(FORMAT["required"]) == set(FORMAT["properties"]) - {"certification"}
    assert set(sequences["required"]) == {"questions", "attempt", "id"} and sequences["properties"]["questions"]["minItems"] == 1
    assert set(question["required"]) == {"id", "options"} and set(question["properties"]["options"]["items"]["required"]) == {"id", "checked"}
    assert len(sequences["properties"]["counts"]["required"]) == 7
    assert set(question["properties"]["user_result"]["enum"]) == {"correct", "incorrect", "missed_some", "unanswered", None}


def test_the_formats_own_example_is_accepted():
    assert verdict.examine(json.dumps(FORMAT["examples"][0]).encode())[0] is None


# What the format's description says that it cannot say.
NOT_SAID = {"max-attempts-no-whole-number", "max-attempts-beyond-32-bits", "before-1970", "before-1970-by-its-zone", "the-year-10000-by-its-zone", "an-epoch-in-the-year-10000", "a-number-near-nothing"}


@pytest.mark.parametrize("name", [name for name, (_, reason) in CASES.items() if reason is None or reason.split(":")[0] not in ("empty", "not_utf8", "not_json")])
def test_the_format_refuses_what_land_rejects_and_nothing_that_it_accepts(name):
    value, reason = CASES[name]
    # Python reads no integer of more than 4,300 digits; a shorter one is as good here.
    fits = validate.FORMAT.is_valid(json.loads(value, parse_int=lambda digits: int(digits[:4000])))
    assert fits == (reason is None or reason.startswith("counts_disagree") or name in NOT_SAID)
