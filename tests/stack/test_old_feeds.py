"""A feed that older code has landed: the code of today goes on with it, and makes the same rows."""

import shutil
import subprocess

import hdfs_native
import pytest

from messages import good, padded, spoil
from stacks import ROOT, TABLES, output_of

pytestmark = pytest.mark.thorough

OLDER = "f9aa368"  # the last commit before scripts/pipeline/
OLD, NEW = "from_before", "from_today"  # the same records: landed by the older code; by today's


class Older:
    """The scripts of the commit OLDER on a stack, with the packages of today's .venv."""

    def __init__(self, stack, root):
        self.stack, self.root = stack, root
        archive = subprocess.run(
            ["git", "archive", OLDER], cwd=ROOT, check=True, capture_output=True
        )
        root.mkdir()
        subprocess.run(["tar", "-x", "-C", root], input=archive.stdout, check=True)
        (root / ".venv").symlink_to(ROOT / ".venv")

    def run(self, script, **knobs):
        command = ["scripts/lib/env.sh", "python", f"scripts/{script}.py"]
        where = {"RUN_DIR": str(ROOT / self.stack.run_dir)}
        where |= {"KAFKA": self.stack.kafka, "HDFS": self.stack.hdfs, "TOPIC": OLD}
        return output_of(command, ok=True, cwd=self.root, **where, **knobs)


@pytest.fixture
def older(stack, tmp_path):
    known = ["git", "cat-file", "-e", f"{OLDER}^{{commit}}"]
    if (
        not (ROOT / ".git").exists()
        or subprocess.run(known, cwd=ROOT).returncode
        or not shutil.which("tar")
    ):
        pytest.skip(f"this clone lacks the commit {OLDER}, or this machine tar")
    return Older(stack, tmp_path / "older")


def rows(stack, topic):
    """{table: its rows in an order of their own, without the time at which Kafka got a record}"""
    found = {}
    for table in TABLES:
        of_table = stack.table(topic, table)
        for row in of_table:
            row.pop("kafka_timestamp", None)
        found[table] = sorted(of_table, key=repr)
    return found


def group(number):
    """Messages of each verdict, many of them repeats of the groups before."""
    ids = [f"old-{number}-{count}" for count in range(20)]
    return [
        *(good(keen_id=keen_id) for keen_id in ids),
        good(keen_id=ids[0]).replace(b": ", b":  "),  # the same content
        good(keen_id=f"old-{max(0, number - 1)}-1"),
        good(keen_id=f"old-{max(0, number - 1)}-2", exam_name="Another"),  # conflicts
        good(keen_id=ids[3], device="phone"),  # an undeclared field
        spoil("exam_name", ...),
        spoil("sequences.counts.total", 3),
        padded(100_000, f"large-{number}"),
        b"{",
        None,
    ]


def test_a_feed_of_older_code_is_landed_on_reprocessed_backed_up_and_restored(
    stack, older, tmp_path
):
    for topic in (OLD, NEW):
        stack.run("topic", TOPIC=topic)
    for number in (0, 1):
        for topic in (OLD, NEW):
            stack.kcat(topic, *group(number))
        assert "landed in" in older.run("land")
        stack.run("land", TOPIC=NEW)
    assert rows(stack, OLD) == rows(stack, NEW)
    assert len(stack.table(OLD, "messages")) == 2 * len(group(0))
    assert len({row["status"] for row in stack.table(OLD, "messages")}) == 3
    by_older = tmp_path / "by-older.tar"
    older.run("backup", BACKUP=str(by_older))

    # Landing goes on after the older code's ledger and checkpoint.
    assert "nothing new" in stack.run("land", TOPIC=OLD)
    for topic in (OLD, NEW):
        stack.kcat(topic, *group(2))
        stack.run("land", TOPIC=topic)
    expected = rows(stack, NEW)
    assert rows(stack, OLD) == expected and len(expected["messages"]) == 3 * len(group(0))
    assert "rebuilt in" in stack.run("reprocess", TOPIC=OLD)
    assert rows(stack, OLD) == expected
    by_today = tmp_path / "by-today.tar"
    stack.run("backup", TOPIC=OLD, BACKUP=by_today)

    for backup, landed in ((by_older, "landed in"), (by_today, "nothing new")):
        hdfs_native.Client(stack.hdfs).delete(f"/warehouse/{OLD}", recursive=True)
        restored = stack.run("restore", TOPIC=OLD, BACKUP=backup)
        assert "is the one that the feed was landed from" in restored
        assert landed in stack.run("land", TOPIC=OLD)
        assert rows(stack, OLD) == expected
        assert "DIFFERS" not in stack.run("verify", TOPIC=OLD, DATA="none")
    # The older code, too, goes on with what today's has written.
    assert "nothing new" in older.run("land")
    assert rows(stack, OLD) == expected
