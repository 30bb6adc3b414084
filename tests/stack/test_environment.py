"""Independence of the user's environment: settings, home folder, machine, other run folders.

Cases are skipped when they need root or a namespace and this machine does not give it.
"""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile

import pytest

from messages import LINES
from stacks import ROOT, Stack, clean_environment, output_of, type_into

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become another user, or mount something"
)
CHMOD = "chmod +x scripts/*.sh scripts/bin/* .ci/*"


@pytest.fixture(scope="module")
def clone():
    """A clone of this repository, not set up.

    Files have Windows line ends wherever git would write them.
    """
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone: it has no .git")
    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o755)  # for the other users in these tests
        folder = pathlib.Path(parent) / "checkout"
        clone = ["git", "-c", "core.autocrlf=true", "clone", "--quiet", ROOT, folder]
        subprocess.run(clone, check=True)
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        yield folder


@pytest.fixture
def checkout(clone):
    """The clone, without what an earlier test has set up in it."""
    yield clone
    shutil.rmtree(clone / ".run", ignore_errors=True)


# --- settings -------------------------------------------------------------------------------------


SETTINGS = [
    "CDPATH=.:/",
    "PYSPARK_SUBMIT_ARGS=--master local[2]",
    "PYSPARK_DRIVER_PYTHON_OPTS=notebook",
    "SPARK_REMOTE=sc://nowhere",
    "SPARK_HOME=/nowhere",
    "PYTHONSAFEPATH=1",
    "PYTHONHOME=/usr",
    "PYTHONOPTIMIZE=2",
    "PYTHONPATH=/nowhere",
    "PYTHONWARNINGS=error",
    "MAKEFLAGS=-j",
    "BASH_ENV=/nowhere",
    "SHELLOPTS=xtrace",
    "_JAVA_OPTIONS=-Xmx1m",
    "JAVA_TOOL_OPTIONS=-Dno=matter",
    "CLASSPATH=/nowhere",
    "HADOOP_OPTS=-wrong",
    "HADOOP_CONF_DIR=/nowhere",
    "HADOOP_USER_NAME=somebody",
    "KAFKA_OPTS=-wrong",
    "TMPDIR=/nowhere",
    "LC_ALL=tr_TR.UTF-8",
    "TZ=Asia/Kathmandu",
    "POSIXLY_CORRECT=1",
    "GREP_OPTIONS=-v",
    "HOME=/nowhere",
    "COLUMNS=1",
]


@pytest.mark.thorough
def test_a_setting_of_the_users_reaches_no_tool(stack):
    def status(*settings):
        output = output_of(stack.command("status"), ok=True, **dict(settings))
        # Without memory, the age of what is not landed, and a set-up of other tests in this folder.
        return re.sub(r"[\d,]+ (MB|s)\b|setup: another set-up .*\n", "", output)

    without = status()
    for setting in SETTINGS:
        assert status(setting.split("=", 1)) == without, setting


@pytest.mark.thorough
def test_all_settings_at_once_reach_no_step(stack, tmp_path, monkeypatch):
    """With 256 open files as well, the limit that a Mac begins with."""
    lines = tmp_path / "lines.jsonl"
    lines.write_bytes(LINES)
    for setting in SETTINGS:
        monkeypatch.setenv(*setting.split("=", 1))
    monkeypatch.setenv("USER_HOME", "/nowhere")  # HOME, for clean_environment
    limited = ["bash", "-c", 'ulimit -S -n 256; exec "$@"', "bash"]
    command = stack.command("publish land verify", TOPIC="settings", DATA=lines)
    output = output_of([*limited, *command], ok=True)
    output += output_of([*limited, *stack.question(TOPIC="settings")], ok=True)
    assert "5 sent" in output and "DIFFERS" not in output and "== 01_" in output
    for target, prompt, line in (
        ("pyspark", ">>> ", "print('rows:', spark.table('settings.attempts').count())"),
        ("sql", "spark-sql .*> ", "SELECT concat('rows: ', count(*)) FROM settings.attempts;"),
    ):
        type_into(stack.command(target, TOPIC="settings"), prompt, line, "rows: 5")


def test_two_commands_for_two_accounts_of_a_cluster_do_not_mix_their_settings(stack, tmp_path):
    for account in ("ours", "theirs"):
        (tmp_path / account).mkdir()
        (tmp_path / account / "spark-defaults.conf").write_text(f"spark.app.name {account}")
    meanwhile = 'CLIENT_CONF=$0 scripts/env.sh true && cat "$SPARK_SETTINGS"'
    said = output_of(
        ["scripts/env.sh", "bash", "-c", meanwhile, tmp_path / "theirs"],
        ok=True,
        RUN_DIR=stack.run_dir,
        STACK="cluster",
        CLIENT_CONF=tmp_path / "ours",
    )
    assert "spark.app.name ours" in said and "theirs" not in said


def test_a_command_for_a_cluster_leaves_the_settings_of_the_local_stack(stack):
    meanwhile = "STACK=cluster HDFS=hdfs://elsewhere:8020 scripts/env.sh true"
    command = [
        "scripts/env.sh",
        "bash",
        "-c",
        f"{meanwhile}; cat $HADOOP_CONF_DIR/core-site.xml",
    ]
    said = output_of(command, ok=True, RUN_DIR=stack.run_dir)
    assert "fs.defaultFS" in said and "elsewhere" not in said


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_closed_stream_is_no_error(stack, closed):
    output_of(["bash", "-c", f'"$@" {closed}', "bash", *stack.command("status")], ok=True)


def test_of_pips_settings_only_those_are_read_that_name_a_source(checkout, tmp_path):
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/pip/pip.conf").write_text(
        "[global]\nuser = true\nno-deps = true\nindex-url = file:///no/such/index\n"
    )
    output = output_of(["make", "setup"], ok=False, cwd=checkout, HOME=str(tmp_path))
    assert "--user" not in output and "/no/such/index" in output
    assert "error: the Python packages could not be installed" in output
    assert not (checkout / ".venv").exists()


def with_shim(folder, program):
    """The PATH with a program first on it that does not start."""
    shim = folder / program
    shim.write_text("#!/bin/sh\necho error while loading shared libraries >&2\nexit 127\n")
    shim.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_a_python3_that_does_not_start_is_named(checkout, tmp_path):
    path = with_shim(tmp_path, "python3")
    output = output_of(["make", "setup"], ok=False, cwd=checkout, PATH=path)
    assert "error: python3 does not start: error while loading shared libraries" in output
    assert f"it is {tmp_path}/python3" in output and not (checkout / ".venv").exists()


@pytest.mark.parametrize("program", ["kcat", "jq", "curl"])
def test_a_program_that_is_here_and_does_not_run_is_named(checkout, tmp_path, program):
    path = with_shim(tmp_path, program)
    output = output_of(["make", "setup"], ok=False, cwd=checkout, PATH=path)
    assert f"error: {program} does not run: error while loading shared libraries" in output
    assert f"it is {tmp_path}/{program}" in output and f"reinstall {program}" in output
    assert not (checkout / ".venv").exists()


def test_a_java_that_does_not_run_any_more_is_replaced_by_one_that_does(stack, tmp_path):
    remembered = ROOT / stack.run_dir / "java_home"
    works = remembered.read_text()
    (tmp_path / "bin").mkdir()
    with_shim(tmp_path / "bin", "java")
    remembered.write_text(f"{tmp_path}\n")
    try:
        assert "everything is in place" in stack.make("setup")
        assert remembered.read_text() == works
    finally:
        remembered.write_text(works)


def test_docker_that_does_not_answer_is_named(tmp_path):
    path = with_shim(tmp_path, "docker")
    output = output_of(["make", "up", "STACK=docker"], ok=False, PATH=path)
    assert "error: Docker does not answer" in output and "start it" in output


@pytest.mark.thorough
def test_no_file_of_the_home_folder_reaches_kcat_jq_curl_or_bash(stack, tmp_path):
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config/kcat.conf").write_text(
        "security.protocol=SASL_SSL\nsasl.mechanisms=PLAIN\n"
        "sasl.username=KEY\nsasl.password=SECRET\n"
    )
    (tmp_path / ".jq").write_text("syntax error")
    (tmp_path / ".curlrc").write_text("--no-such-option\n")
    (tmp_path / ".bashrc").write_text("exit 9\n")
    lines = tmp_path / "lines.jsonl"
    lines.write_bytes(LINES)
    knobs = {"DATA": tmp_path / "got.jsonl", "DATA_URL": f"file://{lines}", "ANY_HASH": 1}
    command = stack.command("data publish consume", TOPIC="dot_files", **knobs)
    output = output_of(command, ok=True, HOME=str(tmp_path))
    assert "0 messages before, 5 after: 5 sent" in output
    shell = subprocess.run(
        stack.command("shell"),
        input="kcat -C -b $KAFKA -t dot_files -e -q | wc -l\n",
        cwd=ROOT,
        env=clean_environment() | {"HOME": str(tmp_path)},
        text=True,
        capture_output=True,
    )
    assert shell.stdout.splitlines()[-1].strip() == "5", shell


@pytest.mark.thorough
def test_make_runs_its_targets_one_after_the_other(stack, tmp_path):
    lines = tmp_path / "lines.jsonl"
    lines.write_bytes(LINES)
    command = stack.command("topic publish consume", TOPIC="in_order", DATA=lines)
    output = output_of([*command, "-j4"], ok=True)
    topic, publish, consume = (
        output.index(f"scripts/{name}") for name in ("topic.sh", "publish.py", "consume.sh")
    )
    assert topic < publish < consume


# --- the machine ----------------------------------------------------------------------------------


def test_a_clone_with_windows_line_ends_and_one_without_permissions(checkout):
    assert b"\r" not in (checkout / "scripts/env.sh").read_bytes()
    assert "The pipeline" in output_of(["make"], ok=True, cwd=checkout)
    for path in checkout.glob("scripts/**/*"):
        if path.is_file() and os.access(path, os.X_OK):
            path.chmod(0o644)
    output = output_of(["make", "status"], ok=False, cwd=checkout)
    assert "error: the scripts are not executable" in output and f"type: {CHMOD}" in output
    subprocess.run(f"umask 022; {CHMOD}", shell=True, cwd=checkout, check=True)
    assert "The pipeline" in output_of(["make"], ok=True, cwd=checkout)
    assert not subprocess.run(
        ["git", "status", "--porcelain"], cwd=checkout, text=True, capture_output=True
    ).stdout


@needs_root
def test_a_user_number_without_a_name_and_a_run_folder_of_somebody_else(checkout):
    def status_as(user):
        command = ["setpriv", "--reuid", user, "--clear-groups", "make", "status"]
        return output_of(command, ok=False, cwd=checkout)

    output = status_as("54321")
    assert "error: the user number 54321 has no name" in output and "useradd --uid 54321" in output
    (checkout / ".run").mkdir(mode=0o700)
    shutil.chown(checkout, "nobody")
    output = status_as("nobody")
    assert "error: the run folder .run is not yours to write in" in output
    assert "its owner is root" in output and "chown -R" in output
    shutil.chown(checkout, "root")


@needs_root
def test_too_little_disk_is_named_before_anything_is_fetched(checkout, tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=50m", "tmpfs", tmp_path]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["git", "clone", "--quiet", checkout, tmp_path / "small"], check=True)
        output = output_of(["make", "setup"], ok=False, cwd=tmp_path / "small")
        assert "error: the disk is too full for the Python packages" in output
        assert "clone to another disk" in output
        assert not (tmp_path / "small/.venv").exists()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.thorough
def test_a_host_name_that_nobody_knows():
    if subprocess.run(["unshare", "--uts", "true"], capture_output=True).returncode:
        pytest.skip("this machine gives no namespace with a host name of its own")
    stack = Stack(".run-host")
    rename = ["unshare", "--uts", "sh", "-c", 'hostname laptop.invalid; "$@"', "sh"]
    try:
        output = output_of([*rename, *stack.command("up status")], ok=True)
        assert output.count(" answered after ") == 3
    finally:
        stack.make("down")
        stack.make("clean", YES=1)


@pytest.mark.thorough
def test_a_tmp_where_nothing_may_be_executed_and_a_home_that_is_read_only(stack):
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("this machine gives no mount namespace")
    data = ROOT / stack.run_dir / "five.jsonl"
    data.write_bytes(LINES)
    inside = """set -e
        mount --bind "$1" /mnt
        mount -t tmpfs -o noexec tmpfs /tmp
        mkdir -p "$1" /tmp/home
        mount --bind /mnt "$1"   # where the checkout lies below /tmp
        mount -t tmpfs -o ro tmpfs /tmp/home
        cd "$1"; shift
        HOME=/tmp/home exec "$@" """
    command = stack.command("publish land verify", TOPIC="read_only", DATA=data)
    namespace = ["unshare", "--mount", "sh", "-c", inside, "sh", str(ROOT)]
    output = output_of([*namespace, *command], ok=True)
    output += output_of([*namespace, *stack.question(TOPIC="read_only")], ok=True)
    assert "5 sent" in output and "DIFFERS" not in output and "== 01_" in output


def test_a_clone_and_a_run_folder_where_nothing_may_be_executed(checkout):
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("this machine gives no mount namespace")
    inside = 'mount --bind "$1" "$1" && mount -o remount,bind,noexec "$1" && cd "$1" && make status'
    command = ["unshare", "--mount", "sh", "-c", inside, "sh", str(checkout)]
    output = output_of(command, ok=False)
    assert "error: the scripts are not executable" in output
    assert "noexec" in output and "clone to another place" in output
    inside = "mount -t tmpfs -o noexec tmpfs /mnt && make setup RUN_DIR=/mnt/run"
    output = output_of(["unshare", "--mount", "sh", "-c", inside], ok=False, cwd=checkout)
    assert "error: the run folder /mnt/run is on a file system that lets nothing" in output


def test_what_set_up_has_not_made_is_not_made_by_a_command(tmp_path):
    command = ["scripts/env.sh", "python", "-V"]
    output = output_of(command, ok=False, RUN_DIR=str(tmp_path / "new"))
    assert "has not run yet" in output and "type: make setup" in output
    assert not (tmp_path / "new").exists()


def test_a_limit_of_the_address_space_is_named_before_java_starts(stack):
    land = shlex.join(stack.command("land"))
    output = output_of(["bash", "-c", f"ulimit -v 2500000; {land}"], ok=False)
    assert "2,500,000 kB of address space" in output and "ulimit -v unlimited" in output


@pytest.mark.parametrize("umask, mode", [("022", 0o644), ("027", 0o640)])
def test_a_data_file_has_the_rights_of_the_users_umask(stack, tmp_path, umask, mode):
    """The containers of docker-compose.yml read it as another user."""
    (tmp_path / "source").write_text("[]")
    file = tmp_path / "folder/data.json"
    knobs = {"DATA": file, "DATA_URL": f"file://{tmp_path}/source", "ANY_HASH": 1}
    output_of(["sh", "-c", f"umask {umask}; {shlex.join(stack.command('data', **knobs))}"], ok=True)
    assert file.stat().st_mode & 0o777 == mode
