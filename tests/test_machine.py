"""At home on anybody's machine: what a user's shell, home folder and system have set, files of other shapes, topics of
another make, SQL of one's own. Where a case needs root or a namespace that this machine does not give, it is skipped."""
import bz2
import errno
import gzip
import json
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import zipfile

import deltalake
import hdfs_native
import kafka
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType

import conftest
import feed
import messages
import records
from conftest import ROOT

FIVE = [messages.good(keen_id=f"shape-{number}") for number in range(5)]
VALUES = [json.loads(each) for each in FIVE]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, or mount something")


def said(command, ok, cwd=ROOT, **environment):
    """What a command says in the user's environment with these settings; whether it fails is checked."""
    done = subprocess.run(command, cwd=cwd, env=conftest.clean_environment() | environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=300)
    assert (done.returncode == 0) == ok and "Traceback" not in done.stdout, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def checkout():
    """The files of this checkout as git has them, with Windows line ends wherever git would write such; not set up."""
    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o755)  # other users come here, too
        folder = pathlib.Path(parent) / "checkout"
        subprocess.run(["git", "-c", "core.autocrlf=true", "clone", "--quiet", ROOT, folder], check=True)
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        yield folder


# --- settings -------------------------------------------------------------------------------------

@pytest.mark.parametrize("setting", [
    "CDPATH=.:/", "PYSPARK_SUBMIT_ARGS=--master local[2]", "PYSPARK_DRIVER_PYTHON_OPTS=notebook", "SPARK_REMOTE=sc://nowhere", "SPARK_HOME=/nowhere", "PYTHONSAFEPATH=1",
    "PYTHONHOME=/usr", "PYTHONOPTIMIZE=2", "PYTHONPATH=/nowhere", "PYTHONWARNINGS=error", "MAKEFLAGS=-j", "BASH_ENV=/nowhere", "SHELLOPTS=xtrace", "_JAVA_OPTIONS=-Xmx1m",
    "JAVA_TOOL_OPTIONS=-Dno=matter", "CLASSPATH=/nowhere", "HADOOP_OPTS=-wrong", "HADOOP_CONF_DIR=/nowhere", "HADOOP_USER_NAME=somebody", "KAFKA_OPTS=-wrong", "TMPDIR=/nowhere",
    "LC_ALL=tr_TR.UTF-8", "TZ=Asia/Kathmandu", "POSIXLY_CORRECT=1", "GREP_OPTIONS=-v", "HOME=/nowhere", "COLUMNS=1"])
def test_a_setting_of_the_users_reaches_no_tool(stack, setting):
    name, _, value = setting.partition("=")
    own = said(stack.command("status"), ok=True)
    assert re.sub(r"\d+ MB", "MB", said(stack.command("status"), ok=True, **{name: value})) == re.sub(r"\d+ MB", "MB", own)


def test_no_file_of_the_home_folder_reaches_kcat_jq_curl_or_bash(stack, tmp_path):
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config/kcat.conf").write_text("security.protocol=SASL_SSL\nsasl.mechanisms=PLAIN\nsasl.username=KEY\nsasl.password=SECRET\n")
    (tmp_path / ".jq").write_text("syntax error")
    (tmp_path / ".curlrc").write_text("--no-such-option\n")
    (tmp_path / ".bashrc").write_text("exit 9\n")
    lines = tmp_path / "lines.jsonl"
    lines.write_bytes(b"\n".join(FIVE))
    out = said(stack.command("data publish consume", TOPIC="dot_files", DATA=tmp_path / "got.jsonl", DATA_URL=f"file://{lines}", ANY_HASH=1), ok=True, HOME=str(tmp_path))
    assert "0 messages before, 5 after: 5 sent" in out
    shell = subprocess.run(stack.command("shell"), input="kcat -C -b $KAFKA -t dot_files -e -q | wc -l\n", cwd=ROOT, env=conftest.clean_environment() | {"HOME": str(tmp_path)}, text=True, capture_output=True)
    assert shell.stdout.splitlines()[-1].strip() == "5", shell


def test_make_runs_its_targets_one_after_the_other(stack, tmp_path):
    lines = tmp_path / "lines.jsonl"
    lines.write_bytes(b"\n".join(FIVE))
    out = said([*stack.command("topic publish consume", TOPIC="in_order", DATA=lines), "-j4"], ok=True)
    assert out.index("scripts/topic.sh") < out.index("scripts/publish.sh") < out.index("scripts/consume.sh")


# --- the machine ----------------------------------------------------------------------------------

def test_a_clone_with_windows_line_ends_and_one_without_permissions(checkout):
    assert b"\r" not in (checkout / "scripts/env.sh").read_bytes()
    assert "The pipeline, in order" in said(["make"], ok=True, cwd=checkout)
    scripts = [path for path in checkout.glob("scripts/**/*") if path.is_file() and os.access(path, os.X_OK)]
    for path in scripts:
        path.chmod(0o644)
    out = said(["make", "status"], ok=False, cwd=checkout)
    assert "error: the scripts are not executable" in out and "type: chmod +x scripts/*.sh scripts/bin/* .ci/run" in out
    subprocess.run("umask 022; chmod +x scripts/*.sh scripts/bin/* .ci/run", shell=True, cwd=checkout, check=True)
    assert "The pipeline, in order" in said(["make"], ok=True, cwd=checkout)
    assert not subprocess.run(["git", "status", "--porcelain"], cwd=checkout, text=True, capture_output=True).stdout


@needs_root
def test_a_user_number_without_a_name_and_a_run_folder_of_somebody_else(checkout):
    out = said(["setpriv", "--reuid", "54321", "--clear-groups", "make", "status"], ok=False, cwd=checkout)
    assert "error: the user number 54321 has no name" in out and "useradd --uid 54321" in out
    (checkout / ".run").mkdir(mode=0o700)
    shutil.chown(checkout, "nobody")
    out = said(["setpriv", "--reuid", "nobody", "--clear-groups", "make", "status"], ok=False, cwd=checkout)
    assert "error: the run folder .run is not yours to write in" in out and "its owner is root" in out and "chown -R" in out
    shutil.chown(checkout, "root")
    (checkout / ".run").rmdir()


@needs_root
def test_too_little_disk_is_named_before_anything_is_fetched(checkout, tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=50m", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["git", "clone", "--quiet", checkout, tmp_path / "small"], check=True)
        out = said(["make", "setup"], ok=False, cwd=tmp_path / "small")
        assert "error: the disk is too full for the Python packages" in out and "clone to another disk" in out
        assert not (tmp_path / "small/.venv").exists()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_host_name_that_nobody_knows():
    if subprocess.run(["unshare", "--uts", "true"], capture_output=True).returncode:
        pytest.skip("this machine gives no namespace with a host name of its own")
    stack = conftest.Stack(".run-host")
    try:
        out = said(["unshare", "--uts", "sh", "-c", 'hostname laptop.invalid; "$@"', "sh", *stack.command("up status")], ok=True)
        assert out.count(" answered after ") == 3
    finally:
        stack.make("down")
        stack.make("clean", YES=1)


def test_a_tmp_where_nothing_may_be_executed_and_a_home_that_is_read_only(stack, tmp_path):
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("this machine gives no mount namespace")
    data = ROOT / stack.run_dir / "five.jsonl"
    data.write_bytes(b"\n".join(FIVE))
    inside = """set -e
        mount --bind "$1" /mnt
        mount -t tmpfs -o noexec tmpfs /tmp
        mkdir -p "$1" /tmp/home
        mount --bind /mnt "$1"   # where the checkout lies below /tmp
        mount -t tmpfs -o ro tmpfs /tmp/home
        cd "$1"; shift
        HOME=/tmp/home exec "$@" """
    out = said(["unshare", "--mount", "sh", "-c", inside, "sh", str(ROOT), *stack.command("publish land verify query", TOPIC="read_only", DATA=data)], ok=True)
    assert "5 sent" in out and "DIFFERS" not in out and "== 01_" in out


def test_what_set_up_has_not_made_is_not_made_by_a_command(tmp_path):
    out = said(["scripts/env.sh", "python", "-V"], ok=False, RUN_DIR=str(tmp_path / "new"))
    assert "has not run yet" in out and "type: make setup" in out
    assert not (tmp_path / "new").exists()


def test_the_last_line_of_an_error_mends_this_very_fault(stack):
    """A difference between tables, one between topic and ledger, and tables that are not there."""
    stack.make("topic", TOPIC="mends")
    stack.kcat("mends", *FIVE)
    stack.make("land", TOPIC="mends")
    deltalake.DeltaTable(f"{stack.hdfs}/warehouse/mends/options").delete("keen_id = 'shape-1'")
    assert stack.make("verify", ok=False, TOPIC="mends", DATA="none").rstrip().splitlines()[-2].strip() == "tables do not agree with the ledger: make reprocess"
    stack.make("reprocess", TOPIC="mends")
    stack.make("verify", TOPIC="mends", DATA="none")
    stack.kcat("mends", FIVE[0])
    assert stack.make("verify", ok=False, TOPIC="mends", DATA="none").rstrip().splitlines()[-2].strip() == "the topic is not landed as it is now: make land"
    stack.make("land", TOPIC="mends")
    stack.make("verify", TOPIC="mends", DATA="none")
    assert "no such file or directory: the feed was never landed here, type: make land" in stack.make("list", ok=False, TOPIC="never_landed")


@pytest.mark.parametrize("error, mended", [
    (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
    (RuntimeError("File /x could only be written to 0 of the 1 minReplication nodes"), "the disk is full"),
    (RuntimeError("RPC error: Connection refused (os error 111)"), "make status"),
    (kafka.errors.KafkaConnectionError("no answer"), "make status"),
    (ValueError("list index out of range"), None)])
def test_a_fault_that_nobody_foresaw_sends_nobody_to_the_wrong_place(error, mended):
    found = feed.mend(error, feed.cause(error))
    assert mended in found if mended else found is None


def test_a_tilde_that_the_shell_left_alone_and_a_folder_for_a_file(stack, tmp_path):
    assert "there is no file" in said(stack.command("restore", TOPIC="nothing_here", BACKUP="~/no.tar"), ok=False, HOME=str(tmp_path))
    assert f"{tmp_path}/no.tar" in said(stack.command("restore", TOPIC="nothing_here", BACKUP="~/no.tar"), ok=False, HOME=str(tmp_path))
    assert "error: DATA is " in stack.make("validate", ok=False, DATA="~somebody/x")
    assert "a folder" in stack.make("backup", ok=False, BACKUP=tmp_path)
    assert "is a folder" in stack.make("data", ok=False, DATA=tmp_path, DATA_URL="file:///nowhere")
    assert "is a folder" in stack.make("publish", ok=False, DATA=tmp_path)
    assert not [path for path in ROOT.iterdir() if path.name.startswith("~")]


# --- files of another shape -----------------------------------------------------------------------

ARRAY, LINES = json.dumps(VALUES).encode(), b"\n".join(FIVE)
READ = {
    "array.json": ARRAY, "lines.jsonl": LINES, "crlf.jsonl": LINES.replace(b"\n", b"\r\n"), "cr.jsonl": LINES.replace(b"\n", b"\r"), "bom.jsonl": b"\xef\xbb\xbf" + LINES,
    "array.json.gz": gzip.compress(ARRAY), "no-suffix": gzip.compress(LINES), "pretty-array.json": json.dumps(VALUES, indent=2).encode(),
    "pretty.json": b"\n".join(json.dumps(value, indent=2).encode() for value in VALUES), "together.json": b"".join(FIVE), "blanks.json": b"\n\n  " + b" ".join(FIVE) + b"\n",
    "sequence.json": b"".join(b"\x1e" + each + b"\n" for each in FIVE)}


@pytest.mark.parametrize("name", READ)
def test_a_file_that_can_be_read_without_a_guess_is_read(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(READ[name])
    found = list(records.file_records(str(path)))
    assert [json.loads(record) for _, record, _, _ in found] == VALUES and all(why is None for _, _, why, _ in found)


def zipped(tmp_path):
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        archive.writestr("array.json", ARRAY)
    return (tmp_path / "made.zip").read_bytes()


# What the command that is named must make of it; None: there is none.
CHANGED = {
    "wrapped.json": (json.dumps({"count": 5, "attempts": VALUES}).encode(), "inside of other values, each at .attempts[]", VALUES),
    "wrapped.json.gz": (gzip.compress(json.dumps({"attempts": VALUES}).encode()), ".attempts[]", VALUES),
    "envelopes.json": (json.dumps([{"payload": {"before": None, "after": value}} for value in VALUES]).encode(), ".payload.after", VALUES),
    "twice-encoded.jsonl": (b"\n".join(json.dumps(each.decode()).encode() for each in FIVE), "fromjson", VALUES),
    "utf-16.json": (ARRAY.decode().encode("utf-16"), "UTF-16", VALUES), "utf-16-be.jsonl": (LINES.decode().encode("utf-16-be"), "UTF-16", VALUES),
    "archive.zip": (zipped, "a zip archive", VALUES), "array.json.xz": (lzma.compress(ARRAY), "compressed by xz", VALUES), "lines.bz2": (bz2.compress(LINES), "bzip2", VALUES),
    "empty.json": (b"", "holds no record", None), "empty-array.json": (b" [ ]\n", "holds no record", None), "blank.json": (b"\n \n", "holds no record", None),
    "page.json": (b"\n<!DOCTYPE html><html><body>404</body></html>", "HTML", None), "table.csv": (b"keen_id,exam_name\n1,Git\n", "CSV", None),
    "semicolons.csv": (b"keen_id;exam_name\n1;Git\n2;Git\n", "CSV", None)}


@pytest.mark.parametrize("name", CHANGED)
def test_a_file_of_another_shape_is_named_with_the_command_that_mends_it(name, tmp_path):
    content, words, values = CHANGED[name]
    path = tmp_path / name
    path.write_bytes(content(tmp_path) if callable(content) else content)
    with pytest.raises(records.OtherShape) as caught:
        list(records.file_records(str(path)))
    assert words in caught.value.what and str(path) in caught.value.what
    if values:
        command, _, new = caught.value.then.partition("; then name that file: DATA=")
        program = command.split()[0]
        if not shutil.which(program):
            pytest.skip(f"there is no {program} here")
        subprocess.run(command, shell=True, check=True)
        assert [json.loads(record) for _, record, _, _ in records.file_records(new)] == values


def test_publish_verify_and_validate_name_the_shape_and_send_nothing(stack, tmp_path):
    path = tmp_path / "wrapped.json"
    path.write_bytes(CHANGED["wrapped.json"][0])
    for target in ("validate", "publish", "publish FORCE=1"):
        out = stack.make(target, ok=False, TOPIC="other_shape", DATA=path)
        assert "cannot be sent as it is: the messages lie inside" in out and "jq -c '.attempts[]'" in out
    empty = tmp_path / "empty.json"
    empty.write_text("[]")
    for target in ("validate", "publish"):
        assert "it holds no record" in stack.make(target, ok=False, TOPIC="other_shape", DATA=empty)
    assert re.search(r"other_shape +0 +0 +0 +0", stack.make("status"))


def test_a_damaged_gzip_file_gives_what_can_be_read_and_names_the_rest(tmp_path):
    path = tmp_path / "damaged.gz"
    path.write_bytes(gzip.compress(LINES * 1000)[:-2000])
    *read, last = records.file_records(str(path))
    assert len(read) > 100 and last[1] is None and "the gzip file is damaged" in last[2]


# --- topics of another make -----------------------------------------------------------------------

def test_a_topic_with_every_codec_is_landed_and_one_feeds_trouble_hides_no_other(stack, tmp_path):
    stack.make("topic", TOPIC="codecs")
    codecs = "none", "gzip", "snappy", "lz4", "zstd"
    for codec, value in zip(codecs, FIVE, strict=True):
        subprocess.run(["kcat", "-P", "-b", stack.kafka, "-t", "codecs", "-z", codec], input=value, check=True)
    lines = tmp_path / "lines.jsonl"
    lines.write_bytes(LINES)
    assert "nothing to publish: all 5 messages" in stack.make("publish", TOPIC="codecs", DATA=lines)
    assert stack.make("consume", TOPIC="codecs").splitlines()[-1].strip() == "5"
    stack.make("land", TOPIC="codecs")
    assert {row["keen_id"] for row in stack.table("codecs", "attempts")} == {value["keen_id"] for value in VALUES}
    assert "DIFFERS" not in stack.make("verify", TOPIC="codecs", DATA=lines)
    with KafkaProducer(bootstrap_servers=stack.kafka) as producer:
        producer.send("codecs", b"x").get(30)
    assert re.search(r"codecs +0 +6 +5 +1", stack.make("status"))


def test_large_records_are_landed_backed_up_and_restored_into_a_new_topic(stack, tmp_path):
    stack.make("topic", TOPIC="large")
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "large", {"max.message.bytes": "10000000", "message.timestamp.type": "LogAppendTime"})])
    many = dict(VALUES[0], keen_id="large", sequences=dict(VALUES[0]["sequences"], questions=VALUES[0]["sequences"]["questions"] * 4000))
    del many["sequences"]["counts"]
    value = json.dumps(many).encode()
    assert len(value) > 2_000_000
    with KafkaProducer(bootstrap_servers=stack.kafka, max_request_size=20_000_000) as producer:
        for key, each in ((None, value), (b"\xff\xfe\0", FIVE[1]), (b"k", None)):
            producer.send("large", key=key, value=each, headers=[("h", b"\xff\0")]).get(60)
    stack.make("land", TOPIC="large")
    ledger = stack.table("large", "messages")
    stack.make("backup", TOPIC="large", BACKUP=tmp_path / "large.tar")
    admin.delete_topics(["large"])
    while "large" in admin.list_topics():
        time.sleep(0.2)
    hdfs_native.Client(stack.hdfs).delete("/warehouse/large", recursive=True)
    stack.make("restore", TOPIC="large", BACKUP=tmp_path / "large.tar")
    described = stack.make("topic", TOPIC="large")
    assert "max.message.bytes=10000000" in described and "message.timestamp.type=LogAppendTime" in described
    assert "nothing new" in stack.make("land", TOPIC="large")
    assert stack.table("large", "messages") == ledger and len(ledger) == 3
    admin.close()


def test_what_a_compacted_topic_has_dropped_is_a_note(stack):
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    admin.create_topics({"compacted": {"num_partitions": 1, "replication_factor": 1, "configs": {
        "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "100", "delete.retention.ms": "0", "max.compaction.lag.ms": "100"}}}, wait_for_metadata=True)
    admin.close()

    def kcat(*arguments, keyed=b""):
        return subprocess.run(["kcat", *arguments, "-b", stack.kafka, "-t", "compacted", "-q"], input=keyed, check=True, capture_output=True).stdout

    five = b"\n".join(b"%d\t%s" % (number, each) for number, each in enumerate(FIVE)) + b"\n"
    kcat("-P", "-K", "\t", keyed=five)
    stack.make("land", TOPIC="compacted")
    for _ in range(2):
        kcat("-P", "-K", "\t", keyed=five)
    time.sleep(1)  # more than segment.ms
    # Another record closes the segment; then Kafka drops what has a newer one with its key: five that are landed, five that are not.
    kcat("-P", "-K", "\t", keyed=b"other\t" + FIVE[0])
    limit = time.monotonic() + 120
    while kcat("-C", "-e", "-f", ".").count(b".") > 6:
        assert time.monotonic() < limit
        time.sleep(1)
    assert "DIFFERS" in stack.make("verify", ok=False, TOPIC="compacted", DATA="none")  # six are not landed yet
    stack.make("land", TOPIC="compacted")
    out = stack.make("verify", TOPIC="compacted", DATA="none")
    assert "DIFFERS" not in out and "has dropped 5 records after they were landed (they are in the ledger), and 5 before (they are lost" in out, out


# --- SQL of one's own -----------------------------------------------------------------------------

def test_a_question_that_cannot_be_answered_hides_no_other(stack, tmp_path):
    stack.make("topic", TOPIC="own_sql")
    stack.kcat("own_sql", *FIVE)
    stack.make("land", TOPIC="own_sql")
    texts = {
        "01_twice": "-- One name twice?\nSELECT a.keen_id, q.keen_id FROM attempts a JOIN questions q ON a.keen_id = q.keen_id LIMIT 1;", "02_wrong": "SELEC 1",
        "03_none": "SELECT keen_id FROM attempts WHERE false", "04_wide": "SELECT " + ", ".join(f"{n} AS c{n}" for n in range(1000)), "05_drop": "DROP TABLE own_sql.attempts",
        "06_delete": "DELETE FROM own_sql.attempts", "07_zero": "SELECT 1/0", "08_name": "SELECT nothing FROM attempts", "09_empty": "", "10_two": "SELECT 1; SELECT 2",
        "11_insert": "WITH one AS (SELECT * FROM own_sql.attempts) INSERT INTO own_sql.attempts SELECT * FROM one", "12_last": "SELECT count(*) AS attempts FROM own_sql.attempts"}
    paths = []
    for name, text in texts.items():
        paths.append(tmp_path / f"{name}.sql")
        paths[-1].write_text(text)
    out = said(["scripts/env.sh", "python", "scripts/query.py", *paths], ok=False, RUN_DIR=stack.run_dir, KAFKA=stack.kafka, HDFS=stack.hdfs, TOPIC="own_sql")
    part = dict(re.findall(r"^== (\w+), feed own_sql\n(.*?)(?=^== |^error: )", out, re.MULTILINE | re.DOTALL))
    assert list(part) == list(texts)
    assert "shape-" in part["01_twice"] and "no row" in part["03_none"] and "the first 40 of 1,000 columns" in part["04_wide"] and re.search(r"^\|5 +\|$", part["12_last"], re.MULTILINE)
    wrong = {"02_wrong": "PARSE_SYNTAX_ERROR", "05_drop": "it is no question", "06_delete": "it is no question", "07_zero": "DIVIDE_BY_ZERO", "08_name": "UNRESOLVED_COLUMN",
             "09_empty": "PARSE_EMPTY_STATEMENT", "10_two": "PARSE_SYNTAX_ERROR", "11_insert": "it is no question"}
    for name, words in wrong.items():
        assert f"error in {tmp_path}/{name}.sql: " in part[name] and words in part[name], part[name]
    assert f"error: {len(wrong)} of the questions could not be answered" in out
    assert len(stack.table("own_sql", "attempts")) == 5
