"""HDFS refuses something: each target gives its reason, and the command that mends it."""

import re

import hdfs_native
import pytest

from messages import good
from stacks import output_of

pytestmark = pytest.mark.thorough

FOLDER = "/warehouse/refused"
NO_CAUSE = "please report"


@pytest.fixture(scope="module", name="feed")
def the_feed(stack):
    stack.run("topic", TOPIC="refused")
    stack.kcat("refused", good())
    stack.run("land", TOPIC="refused")
    return {"TOPIC": "refused"}


def dfsadmin(stack, *arguments):
    output_of(stack.in_shell("hdfs", "dfsadmin", *arguments), ok=True)


@pytest.mark.parametrize(
    "refusal, reason",
    [
        (["-setSpaceQuota", "1m", FOLDER], f"quota of {FOLDER} is exceeded"),
        (["-setQuota", "2", FOLDER], f"of directory {FOLDER} is exceeded"),
        (["-safemode", "enter"], "It was turned on manually"),
    ],
)
def test_what_hdfs_refuses_is_mended_by_the_command_that_the_error_names(
    stack, feed, refusal, reason
):
    stack.kcat(feed["TOPIC"], good(keen_id=reason))
    dfsadmin(stack, *refusal)
    for target in ("land", "reprocess") + ("follow",) * ("quota" in reason):
        output = stack.run(target, ok=False, **feed)
        assert reason in output and NO_CAUSE not in output
    dfsadmin(stack, *re.search(r"hdfs dfsadmin (-\w+ [a-z/]+)", output.splitlines()[-1])[1].split())
    stack.run("land reprocess verify", **feed, DATA="none")


def test_a_restore_that_is_refused_is_done_when_the_command_was_typed(stack, feed, tmp_path):
    stack.run("backup", **feed, BACKUP=tmp_path / "refused.tar")
    hdfs_native.Client(stack.hdfs).delete(FOLDER, recursive=True)
    dfsadmin(stack, "-setSpaceQuota", "1m", "/warehouse")
    output = stack.make("restore", ok=False, **feed, BACKUP=tmp_path / "refused.tar")
    assert "quota of /warehouse is exceeded" in output and NO_CAUSE not in output
    dfsadmin(stack, *re.search(r"hdfs dfsadmin (-clr\w+ [a-z/]+)", output)[1].split())
    stack.run("restore verify", **feed, BACKUP=tmp_path / "refused.tar", DATA="none")
