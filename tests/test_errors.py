"""Error messages: the last line names the command that repairs this very fault."""

import errno

import deltalake
import kafka
import pytest

import errors
from messages import FIVE
from stacks import ROOT, output_of


def test_the_last_line_of_an_error_mends_this_very_fault(stack):
    """Covers tables that differ from the ledger, a ledger behind the topic, missing tables."""

    def remedy():
        output = stack.make("verify", ok=False, TOPIC="mends", DATA="none")
        return output.rstrip().splitlines()[-2].strip()

    stack.make("topic", TOPIC="mends")
    stack.kcat("mends", *FIVE)
    stack.make("land", TOPIC="mends")
    deltalake.DeltaTable(f"{stack.hdfs}/warehouse/mends/options").delete("keen_id = 'shape-1'")
    assert remedy() == "tables do not agree with the ledger: make reprocess"
    stack.make("reprocess", TOPIC="mends")
    stack.make("verify", TOPIC="mends", DATA="none")
    stack.kcat("mends", FIVE[0])
    assert remedy() == "the topic is not landed as it is now: make land"
    stack.make("land", TOPIC="mends")
    stack.make("verify", TOPIC="mends", DATA="none")
    missing = "no such file or directory: the feed was never landed here, type: make land"
    assert missing in stack.make("list", ok=False, TOPIC="never_landed")


@pytest.mark.parametrize(
    "error, mended",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (
            RuntimeError("File /x could only be written to 0 of the 1 minReplication nodes"),
            "the disk is full",
        ),
        (RuntimeError("RPC error: Connection refused (os error 111)"), "make status"),
        (kafka.errors.KafkaConnectionError("no answer"), "make status"),
        (ValueError("list index out of range"), None),
    ],
)
def test_an_unforeseen_fault_gets_the_advice_that_fits_its_cause(error, mended):
    found = errors.mend(error, errors.cause(error))
    assert mended in found if mended else found is None


def test_a_tilde_that_the_shell_left_alone_and_a_folder_for_a_file(stack, tmp_path):
    restore = stack.command("restore", TOPIC="nothing_here", BACKUP="~/no.tar")
    output = output_of(restore, ok=False, HOME=str(tmp_path))
    assert "there is no file" in output and f"{tmp_path}/no.tar" in output
    assert "error: DATA is " in stack.make("validate", ok=False, DATA="~somebody/x")
    assert "a folder" in stack.make("backup", ok=False, BACKUP=tmp_path)
    assert "is a folder" in stack.make("data", ok=False, DATA=tmp_path, DATA_URL="file:///nowhere")
    assert "is a folder" in stack.make("publish", ok=False, DATA=tmp_path)
    assert not [path for path in ROOT.iterdir() if path.name.startswith("~")]
