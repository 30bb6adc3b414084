"""Hostile values in knobs, file names and messages do nothing, and nobody else has access."""

import http.server
import re
import stat
import subprocess
import threading
import unicodedata

import psutil
import pytest

from corpus_landing import is_this_machine, landed_corpus, listening  # noqa: F401
from hostile import HOSTILE, HOSTILE_TO_MAKE
from messages import good
from stacks import ROOT, clean_environment, output_of


@pytest.mark.thorough
def test_what_was_published_cannot_command_the_terminal(stack, corpus):
    """No output contains control characters, bidirectional overrides or line ends from messages."""
    said = {
        "land": corpus[0],
        **{
            target: stack.make(target, TOPIC="corpus", DATA="none.json")
            for target in ("consume", "query", "verify")
        },
    }
    for target, text in said.items():
        bad = {
            c
            for c in text
            if c != "\n"
            and (unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp"))
        }
        assert not bad, (target, bad)
    assert (
        r"\x1b]0;owned\a\x1b[2J\x9b31m\b\x7f" in said["query"]
        and r"Learning \u202etiG\u202c" in said["query"]
    )
    assert r"key \x1b]0;key\x07\x9b31m," in said["consume"]
    assert (
        r"\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b31m\x7f\u202edenrut" in said["consume"]
        and r"\x9b31mred\x9d0;owned\x9c" in said["consume"]
    )
    assert max(map(len, said["query"].splitlines())) < 500  # whatever the length of a name


def test_only_this_machine_is_listened_to(stack, corpus):
    servers = [psutil.Process(pid) for pid in stack.pids()]
    tree = [*servers, *(child for server in servers for child in server.children(recursive=True))]
    ports = [
        connection
        for server in servers
        for connection in server.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(ports) >= 7
    heard = listening(tree) | corpus[1]
    # The driver's JVM, and the Python that talks to it.
    assert {"java"} < {program for program, _ in corpus[1]}
    assert {ip for _, ip in heard if not is_this_machine(ip)} == set()


def test_the_run_folder_is_for_its_owner_only(stack, corpus, tmp_path):
    assert stat.S_IMODE((ROOT / stack.run_dir).stat().st_mode) == 0o700
    mine = tmp_path / "made by hand".replace(" ", "-")
    mine.mkdir(mode=0o755)
    stack.make("setup", RUN_DIR=mine)
    assert stat.S_IMODE(mine.stat().st_mode) == 0o700
    for file in (ROOT / stack.run_dir / "logs").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


CHECKED = (
    "STACK CLUSTER TOPIC ANY_HASH SYNTHETIC SEED PARTITIONS REPLICATION FORCE SKIP_EXPIRED YES "
    "KILLS MESSAGES RUNS BASELINE KAFKA HDFS SPARK_MASTER WAREHOUSE"
).split()


# tests/unit/test_settings.py checks each value for each knob. The target here is setup, because it
# would start no server if a value were accepted.
@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_in_the_environment_is_named_and_nothing_runs(value):
    done = subprocess.run(
        ["scripts/env.sh", "touch", "owned"],
        cwd=ROOT,
        env={**clean_environment(), "TOPIC": value},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout == ""
    first, second, _ = done.stderr.splitlines()
    assert first.startswith("error: TOPIC is ") and "the environment" in second
    assert done.stderr.replace("\n", "").isprintable()
    assert not (ROOT / "owned").exists()


@pytest.mark.parametrize("value", HOSTILE_TO_MAKE)
@pytest.mark.parametrize("knobs", [["TOPIC"], CHECKED], ids=["TOPIC", "all"])
def test_a_hostile_value_on_the_command_line_of_make_is_named_and_nothing_runs(knobs, value):
    said = output_of(["make", "setup", *(f"{knob}={value}" for knob in knobs)], ok=False)
    first, second, *_ = said.splitlines()
    assert first.startswith(f"error: {knobs[0]} is ") and "the make command line" in second
    assert not (ROOT / "owned").exists()


@pytest.mark.parametrize("knob, value", [("KAFKA", "0.0.0.0:29092"), ("RUN_DIR", "a b")])
def test_a_knob_that_does_not_fit_is_named(knob, value):
    said = output_of(["make", "setup", f"{knob}={value}"], ok=False)
    assert said.startswith(f"error: {knob} is ")
    assert not (ROOT / value).exists()


def test_a_file_name_is_never_run(stack, tmp_path):
    data = tmp_path / "a; touch owned $(touch owned) `touch owned` 'x' \"y\" ü.json"
    data.write_bytes(b"[" + good() + b"]")
    assert re.search(r"^accepted +1$", stack.make("validate", DATA=data), re.MULTILINE)
    assert not (ROOT / "owned").exists()


def test_a_password_in_an_address_is_neither_shown_nor_in_a_process_list(stack, tmp_path):
    """The server reads this machine's process list while it answers."""
    seen = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(
                (
                    self.headers["Authorization"],
                    self.path,
                    [
                        line
                        for process in psutil.process_iter()
                        for line in cmdline(process)
                        if "s3cret" in line
                    ],
                )
            )
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
        environment = {
            **clean_environment(),
            "DATA_URL": f"http://user:s3cret@127.0.0.1:{server.server_port}/file.json?token=s3cret",
            "http_proxy": "http://127.0.0.1:9",  # where nothing listens
        }
        done = subprocess.run(
            stack.command("data", DATA=tmp_path / "got.json", ANY_HASH=1),
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        server.shutdown()
    assert done.returncode == 0 and (tmp_path / "got.json").read_text() == "[]", done.stderr
    assert seen == [("Basic dXNlcjpzM2NyZXQ=", "/file.json?token=s3cret", [])]
    assert "s3cret" not in done.stdout + done.stderr and "//…@127.0.0.1" in done.stderr
