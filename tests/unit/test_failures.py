"""Errors: each foreseeable fault gets the advice that fits it, with the knobs of this run."""

import ast
import errno
import fcntl
import re
import socket
import threading

import deltalake
import duckdb
import kafka
import pyarrow.parquet
import pytest
from deltalake.exceptions import DeltaError
from pyspark.errors import PythonException

from pipeline import errors, script, settings
from pipeline.settings import ROOT
from pipeline.tables.lock import feed_lock

# HDFS's own words, as hdfs-native passes them on.
SPACE = (
    'RPCError("org.apache.hadoop.hdfs.protocol.DSQuotaExceededException", "The DiskSpace quota of '
    "/warehouse/a is exceeded: quota = 1048576 B = 1 MB but diskspace consumed = 34.86 MB"
    '\\n\\tat org.apache.hadoop.hdfs.server.namenode.FSDirectory.updateCount(FSDirectory.java)\\n")'
)
FILES = (
    'RPCError("org.apache.hadoop.hdfs.protocol.NSQuotaExceededException", "The NameSpace quota '
    "(directories and files) of directory /warehouse/a is exceeded: quota=2 file count=11"
    '\\n\\tat x\\n")'
)
BY_HAND = (
    'RPCError("org.apache.hadoop.hdfs.server.namenode.SafeModeException", "Cannot create file/a. '
    'Name node is in safe mode.\\nIt was turned on manually. Use \\"hdfs dfsadmin -safemode '
    'leave\\" to turn safe mode off.\\n\\tat x\\n")'
)
RIGHT = (
    'RPCError("org.apache.hadoop.security.AccessControlException", "Permission denied: user=other, '
    'access=WRITE, inode=\\"/warehouse/a\\":root:supergroup:drwxr-xr-x\\n\\tat x\\n")'
)


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
        (
            RuntimeError(
                "org.apache.kafka.common.errors.TimeoutException: Timed out waiting for a node "
                "assignment. Call: listNodes"
            ),
            "make status",
        ),
        (kafka.errors.TopicAuthorizationFailedError("t"), "no right"),
        (kafka.errors.SaslAuthenticationFailedError("t"), "does not know this name"),
        (
            RuntimeError(
                "RPC error: org.apache.hadoop.security.AccessControlException: Permission denied: "
                "user=other, access=WRITE"
            ),
            "no right",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "ls -ld /x"),
        (RuntimeError(SPACE), "hdfs dfsadmin -clrSpaceQuota /warehouse/a "),
        (DeltaError(f"Generic HdfsObjectStore error: RPC error: {SPACE}"), "SpaceQuota"),
        (PythonException(f"Traceback (most recent call last):\n  File x\nE: {SPACE}"), "SpaceQ"),
        (RuntimeError(FILES), "hdfs dfsadmin -clrQuota /warehouse/a "),
        (RuntimeError(BY_HAND), "hdfs dfsadmin -safemode leave"),
        (RuntimeError(BY_HAND.replace("It was turned on manually", "Resources are low")), "full"),
        (RuntimeError('DataTransferError("All DataNodes failed: []")'), "hdfs fsck /warehouse "),
        (RuntimeError(RIGHT), "hadoop fs -chown USER /warehouse/a "),
        (kafka.errors.MessageSizeTooLargeError("t"), "max.message.bytes"),
        (kafka.errors.NotEnoughReplicasError("t"), "make status"),
        (kafka.errors.PolicyViolationError("t"), "logs/kafka.log"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a b"), "ls -ld 'a b'"),
        (OSError(errno.EMFILE, "Too many open files", "/x"), "ulimit -n"),
        (MemoryError(), "too little memory"),
        (RuntimeError("Caused by: java.lang.OutOfMemoryError: Java heap space"), "too little mem"),
        (ValueError("list index out of range"), None),
    ],
)
def test_an_unforeseen_fault_gets_the_advice_that_fits_its_cause(error, mended, tmp_path):
    found = script.mend(error, settings.read({"RUN_DIR": str(tmp_path)}))
    assert mended in found if mended else found is None


@pytest.mark.parametrize("text", [SPACE, FILES, BY_HAND, RIGHT])
def test_the_reason_of_hdfs_is_given_in_its_own_words(text):
    said = errors.cause(RuntimeError(text))
    assert re.search("quota of|quota .directories|turned on manually|Permission denied", said)
    assert "updateCount" not in said and "\\n" not in said
    trace = f"Job aborted\nTraceback (most recent call last):\n  File x\nRuntimeError: {text}\n"
    assert said == errors.cause(PythonException(trace))


# A command that means a stack, a feed or a file, with no knobs behind it.
WITHOUT_KNOBS = re.compile(
    r"make (setup|up|down|status|topic|publish|consume|land|list|query|verify|reprocess|backup"
    r"|restore|export|shell|pyspark|sql|clean|all)\b(?!-|\$| [A-Z]+=)|make $"
)


def texts(node):
    """Yields the texts below a node. What settings.make and feed.make return is in none of them."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def remedies():
    """Yields (file, text) of the third argument of each Failure, each `then`, each die."""
    for path in (ROOT / "scripts").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and re.search(
                r"(Failure|UsageError|Outage)$", ast.unparse(node.func)
            ):
                if len(node.args) == 3:
                    yield path.name, [*texts(node.args[2])]
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "then":
                yield path.name, [*texts(node.value)]
    for path in (ROOT / "scripts").rglob("*.sh"):
        for found in re.finditer(r"\bdie \d(?:[^\n]*\\\n)*[^\n]*", path.read_text()):
            yield path.name, [found[0]]


def test_each_command_that_an_error_names_has_the_knobs_of_this_run():
    sample = "Failure(a, b, f'type: make land; or {feed.make(\"land\")}; or make {target}')"
    said = texts(ast.parse(sample).body[0].value.args[2])
    assert [*filter(WITHOUT_KNOBS.search, said)] == ["type: make land; or ", "; or make "]
    found = [*remedies()]
    assert len(found) > 80
    assert not [each for each in found if any(map(WITHOUT_KNOBS.search, each[1]))]


def brought_about(tmp_path):
    """Yields exceptions as libraries and the system raise them for what is outside of this code."""
    for each in vars(kafka.errors).values():
        if isinstance(each, type) and issubclass(each, kafka.errors.KafkaError):
            yield each("topic")
    file, table = tmp_path / "file", tmp_path / "table/_delta_log"
    file.write_text("no table")
    table.mkdir(parents=True)
    (table / f"{0:020}.json").write_text('{"commitInfo":')
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for bring_about in (
        lambda: open(file / "x"),
        lambda: open(tmp_path),
        lambda: open(tmp_path / "missing"),
        lambda: open(tmp_path / "circle"),
        lambda: open(tmp_path / ("x" * 300)),
        lambda: (tmp_path / "table").mkdir(),
        lambda: b"x" * 2**60,
        lambda: deltalake.DeltaTable(str(table.parent)),
        lambda: deltalake.DeltaTable(str(tmp_path / "missing")),
        lambda: pyarrow.parquet.read_table(file),
        lambda: duckdb.sql(f"SELECT * FROM read_parquet('{file}')"),
        lambda: socket.create_connection(("127.0.0.1", 9), 1),
    ):
        with pytest.raises(Exception) as caught:
            bring_about()
        yield caught.value


def test_no_fault_from_outside_ends_without_a_mend(tmp_path):
    found = settings.read({"RUN_DIR": str(tmp_path)})
    faults = [*brought_about(tmp_path)]
    assert len(faults) > 150
    assert not [fault for fault in faults if script.mend(fault, found) is None]


def test_a_landing_is_named_that_has_just_taken_the_lock(tmp_path):
    feed = settings.read({"RUN_DIR": str(tmp_path)}).feed()
    path = tmp_path / f"writing-{feed.topic}.lock"
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        threading.Timer(0.3, path.write_text, ["land.py, pid 1"]).start()
        with pytest.raises(errors.Failure) as found, feed_lock(feed):
            pass
    assert found.value.why == "by land.py, pid 1"
