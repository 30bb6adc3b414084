"""Error messages: the last line names the command that repairs this very fault."""

import re

import deltalake
import pytest

from messages import FIVE, LINES, good
from stacks import ROOT, output_of


@pytest.mark.thorough
def test_the_last_line_of_an_error_mends_this_very_fault(stack, tmp_path):
    """Each command is run as it is printed, so it must name the knobs of this run."""
    data = tmp_path / "my lines.jsonl"
    data.write_bytes(LINES)

    def mended_by(command, target):
        output = stack.run(target, ok=False, TOPIC="mends", DATA=data)
        last = output.rstrip().splitlines()[-1].strip()
        found = last[last.index("make ") :]
        assert found.startswith(f"make {command} "), output
        output_of(["bash", "-c", found], ok=True)

    mended_by("publish", "land")
    mended_by("land", "verify")
    deltalake.DeltaTable(f"{stack.hdfs}/warehouse/mends/options").delete("keen_id = 'shape-1'")
    mended_by("reprocess", "verify")
    stack.kcat("mends", FIVE[0])
    mended_by("land", "verify")
    data.write_bytes(good() + b"\n" + LINES)
    mended_by("publish", "verify")
    mended_by("land", "verify")
    stack.run("verify", TOPIC="mends", DATA=data)

    data.write_bytes(b"not JSON\n" + LINES)
    output = stack.run("verify", ok=False, TOPIC="mends", DATA=data)
    assert "records of the file cannot be sent: mend them; make validate" in output
    deltalake.DeltaTable(f"{stack.hdfs}/warehouse/mends/messages").delete("kafka_offset = 1")
    output = stack.run("verify", ok=False, TOPIC="mends", DATA="none")
    assert "move the feed aside: make shell" in output and "make reprocess" not in output
    missing = "no such file or directory: the feed was never landed here, type: make land"
    assert missing in stack.make("list", ok=False, TOPIC="never_landed")


def test_an_account_without_a_right_is_named(stack):
    command = stack.command("status", STACK="cluster")
    output = output_of(command, ok=False, HADOOP_USER_NAME="somebody")
    assert "refuses this account" in output and "user=somebody" in output
    assert "this account has no right to that" in output and "FSPermissionChecker" not in output
    assert "hadoop fs -chown USER /" in output


@pytest.mark.parametrize(
    "setting, said",
    [
        ("ssl.keystore.location=/x.jks", "ssl.keystore.type is 'JKS', not PEM"),
        (
            "ssl.truststore.type=PEM\nssl.truststore.location=/no/ca.pem",
            "ssl.truststore.location=/no/ca.pem: [Errno 2] No such file",
        ),
        (
            "ssl.keystore.type=PEM\nssl.keystore.location=README.md",
            "ssl.keystore.location=README.md: [SSL",
        ),
    ],
)
def test_a_certificate_of_a_cluster_that_cannot_be_read_is_named(stack, tmp_path, setting, said):
    settings = tmp_path / "client.properties"
    settings.write_text(f"security.protocol=SSL\n{setting}\n")
    output = stack.make("list", ok=False, STACK="cluster", CLIENT_CONF=tmp_path)
    assert f"error: CLIENT_CONF={tmp_path} cannot be used\n" in output
    assert said in output


def test_a_topic_that_cannot_be_created(stack):
    output = stack.make("topic", ok=False, TOPIC="copies", REPLICATION=3)
    command = re.search(r"make topic .*", output)[0]
    assert command.endswith("TOPIC=copies REPLICATION=1")
    output_of(["bash", "-c", command], ok=True)


def test_a_tilde_that_the_shell_left_alone_and_a_folder_for_a_file(stack, tmp_path):
    restore = stack.command("restore", TOPIC="nothing_here", BACKUP="~/no.tar")
    output = output_of(restore, ok=False, HOME=str(tmp_path))
    assert "there is no file" in output and f"{tmp_path}/no.tar" in output
    assert "error: DATA is " in stack.make("validate", ok=False, DATA="~somebody/x")
    assert "a folder" in stack.make("backup", ok=False, BACKUP=tmp_path)
    assert "is a folder" in stack.make("data", ok=False, DATA=tmp_path, DATA_URL="file:///nowhere")
    assert "is a folder" in stack.run("publish", ok=False, DATA=tmp_path)
    assert not [path for path in ROOT.iterdir() if path.name.startswith("~")]
