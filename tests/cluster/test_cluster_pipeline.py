"""The pipeline on a secured cluster: the plain stack's tables and answers, by the same targets."""

import re
import shutil

import pytest

import plots
from cluster_stack import differences, exported
from stacks import TABLES, from_a_copy

pytestmark = pytest.mark.timeout(3000)


def test_on_yarn_it_lands_what_the_plain_stack_lands(cluster, pearson, landed, stack, tmp_path):
    plain = exported(stack, pearson, tmp_path / "plain")
    assert {table: differences(landed[table], plain[table]) for table in TABLES} == dict.fromkeys(
        TABLES, [0, 0]
    )
    assert "nothing new" in cluster.make("land", TOPIC=pearson)


def test_on_yarn_every_picture_is_the_plain_stacks(cluster, pearson, stack, tmp_path, monkeypatch):
    used = from_a_copy(cluster, tmp_path / "cluster")  # make plots writes into the project
    shutil.rmtree(used.root / "plots")
    used.make("plots", TOPIC=pearson)
    monkeypatch.setattr(plots, "FOLDER", tmp_path / "plain")
    stack.run("plots", TOPIC=pearson)
    on_yarn, plain = (
        {file.name: file.read_bytes() for file in folder.iterdir()}
        for folder in (used.root / "plots", plots.FOLDER)
    )
    assert on_yarn == plain and len(plain) >= 4


def test_targets_that_look_after_tables(cluster, pearson, landed, tmp_path):
    assert re.search(rf"{pearson} +0 ", cluster.make("status"))
    assert pearson in cluster.make("list", TOPIC=pearson)
    cluster.make("reprocess", TOPIC=pearson)
    after = exported(cluster, pearson, tmp_path / "after")
    assert [differences(landed[table], after[table]) for table in TABLES] == [[0, 0]] * 4


def test_a_restored_feed_is_private_until_the_operator_lets_its_readers_in(
    cluster, pearson, tmp_path
):
    feed = f"/warehouse/{pearson}"
    count = f"deltalake.DeltaTable(settings.hdfs + '{feed}/attempts').count()"
    before = cluster.python("alice", count)
    assert before[0][0] == "done" and cluster.python("bob", count)[0][0] == "refused"
    backup = tmp_path / "feed.tar"
    cluster.make("backup", TOPIC=pearson, BACKUP=backup)
    cluster.python("pipeline", f"hdfs.delete('{feed}', True)")
    assert "only this account reads" in cluster.make("restore", TOPIC=pearson, BACKUP=backup)
    assert "nothing new" in cluster.make("land", TOPIC=pearson)
    for account in "alice", "bob":
        assert cluster.python(account, count)[0][0] == "refused"
    cluster.customer(pearson)
    assert cluster.python("alice", count) == before
    assert cluster.python("bob", count)[0][0] == "refused"
