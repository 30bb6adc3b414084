"""A new optional field of the message: old and new scripts on the same tables."""

import collections
import contextlib
import json
import os
import re
import signal
import subprocess
import time

import deltalake
import hdfs_native
import pytest

from messages import good
from oracle import by
from stacks import TABLES, clean_environment, from_a_copy


@pytest.fixture(scope="module")
def newer(stack, tmp_path_factory):
    """A copy of the project on the same stack, with two more optional fields declared.

    Each is one line in the declaration.
    """
    root = tmp_path_factory.mktemp("newer") / "project"
    copied = from_a_copy(stack, root)
    declaration = root / "scripts/pipeline/message/declaration.py"
    text = declaration.read_text()
    for first_spelled, line in (
        (
            "keen_timestamp",
            'Field("device", TEXT, "what the attempt was made on", required=False),',
        ),
        ("checked", 'Field("hint", BOOLEAN, "a hint was shown", required=False),'),
    ):
        end_of_fields = rf'(?<=,)(?=\s*\),\s*spelled=\(?\s*"{first_spelled} )'
        text, changes = re.subn(end_of_fields, f"\n        {line}", text)
        assert changes == 1
    declaration.write_text(text)
    return copied


def kill_reprocess(stack, topic):
    """Starts make reprocess, and kills it as soon as it has replaced the first table.

    Tries again when it had finished before the kill.
    """

    def version():
        return deltalake.DeltaTable(f"{stack.hdfs}/warehouse/{topic}/options").version()

    for _ in range(5):
        before, limit = version(), time.monotonic() + 300
        reprocess = subprocess.Popen(
            stack.command("reprocess", TOPIC=topic),
            cwd=stack.root,
            env=clean_environment(),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while version() == before:
            assert reprocess.poll() is None and time.monotonic() < limit
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(reprocess.pid, signal.SIGKILL)
        reprocess.wait()
        with contextlib.suppress(FileNotFoundError):
            return hdfs_native.Client(stack.hdfs).get_file_info(f"/warehouse/{topic}/_reprocess")
    raise AssertionError("make reprocess was always done before it could be killed")


def with_hint(message):
    """Sets the undeclared field `hint` in the second option of the first question."""
    message = json.loads(message)
    message["sequences"]["questions"][0]["options"][1]["hint"] = True
    return json.dumps(message).encode()


def test_a_new_field_is_one_line_and_older_and_newer_scripts_do_not_harm_each_others_tables(
    stack, newer
):
    """Old and new messages in one feed; the older scripts refuse the newer tables.

    A reprocess of the newer scripts is killed between two tables.
    """
    stack.run("topic", TOPIC="grows", PARTITIONS=1)
    early = with_hint(good(keen_id="before its time", device="phone"))
    stack.kcat("grows", good(keen_id="old"), early)
    stack.run("land", TOPIC="grows")
    stack.kcat(
        "grows",
        with_hint(good(keen_id="new", device="tablet")),
        good(keen_id="new without"),
        good(keen_id="wrong", device=5),
    )
    # What a landing by the newer scripts leaves when it is killed after its first table.
    hint = deltalake.Field("hint", deltalake.schema.PrimitiveType("boolean"), nullable=True)
    deltalake.DeltaTable(f"{stack.hdfs}/warehouse/grows/options").alter.add_columns([hint])
    output = newer.make("land", TOPIC="grows")
    assert "table attempts: new column device" in output and "options: new column" not in output
    devices = {row["keen_id"]: row["device"] for row in stack.table("grows", "attempts")}
    assert devices == {"old": None, "before its time": None, "new": "tablet", "new without": None}
    hints = collections.Counter(
        (row["keen_id"], row["hint"]) for row in stack.table("grows", "options")
    )
    assert hints == {
        ("old", None): 5,
        ("before its time", None): 5,
        ("new", None): 4,
        ("new", True): 1,
        ("new without", None): 5,
    }
    ledger = by(stack.table("grows", "messages"), "kafka_offset")
    assert ledger[4]["reason"] == "wrong_type: device is a number (5), expected a text"
    # The older scripts stop, and nothing is touched.
    stack.kcat("grows", good(keen_id="later"))
    before = {table: stack.table("grows", table) for table in TABLES}
    for target in ("land", "reprocess"):
        assert re.search(
            "error: table (options|attempts) of feed grows has a column that these scripts "
            "do not know: (hint|device)",
            stack.run(target, ok=False, TOPIC="grows"),
        )
    assert before == {table: stack.table("grows", table) for table in before}
    # The newer ones fill the columns from the ledger, and recover when killed between two tables.
    kill_reprocess(newer, "grows")
    output = newer.make("land", TOPIC="grows")
    assert "an interrupted make reprocess of feed grows comes first" in output
    assert "rebuilt in" in output and "landed in" in output
    devices |= {"before its time": "phone", "later": None}
    assert devices == {row["keen_id"]: row["device"] for row in stack.table("grows", "attempts")}
    hints = {(row["keen_id"], row["hint"]) for row in stack.table("grows", "options")}
    assert {each for each in hints if each[1]} == {("new", True), ("before its time", True)}
    assert "DIFFERS" not in newer.make("verify", TOPIC="grows", DATA="none")
