"""Starts a real stack of the tests' own: its run folder, its ports and the Make targets on it."""

import contextlib
import copy
import functools
import importlib
import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from unittest import mock

import deltalake
import pexpect
from kafka import KafkaAdminClient
from kafka.errors import TopicAlreadyExistsError

from pipeline import environment, files, script, settings
from pipeline.errors import Failure
from pipeline.publishing import synthetic
from pipeline.settings import ROOT
from pipeline.stack.ports import free_ports

TABLES = ("messages", "attempts", "questions", "options")
LIMIT_S = 240  # for what a test waits for
MESSAGES = 700  # in the file of the fixture `synthetic`
KNOWN_SHA256 = "1f594df822bdb3ef11107c40fd9cf84ba02545364e672a625d58365a82897229"
SET_BY_MAKE = {
    *settings.declared(),
    *("KNOB_ORIGINS", "MAKEFLAGS", "MAKELEVEL", "PIPELINE_ENV"),
    *("USER_HOME", "USER_UMASK", "JAVA_HOME", "PYTHONPATH", "PYTHONSTARTUP"),
}


def clean_environment():
    """Returns the user's environment, without what the make that runs the tests added."""
    kept = {name: value for name, value in os.environ.items() if name not in SET_BY_MAKE}
    return kept | {"HOME": os.environ.get("USER_HOME", "/nowhere")}


def output_of(command, ok, cwd=ROOT, **environment):
    """Runs a command in the user's environment plus `environment`; returns its output.

    ok: whether it must succeed (True) or fail (False).
    """
    done = subprocess.run(
        command,
        cwd=cwd,
        env=clean_environment() | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    assert (done.returncode == 0) == ok and "Traceback" not in done.stdout, done.stdout
    return done.stdout


def answers(said):
    """Returns the lines of the tables in the output of make query."""
    return re.findall(r"^[|+].*", said, re.MULTILINE)


def listens(port):
    """Whether something listens on this port of 127.0.0.1."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_until(true, what, limit_s=LIMIT_S):
    """Waits until true() is; what(): for the message when it never is."""
    limit = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < limit, what()
        time.sleep(0.2)


def type_into(command, prompt, line, answer):
    """Types a line into an interactive shell at its prompt, expects an answer, and leaves."""
    program, *arguments = command
    shell = pexpect.spawn(
        program, arguments, env=clean_environment(), timeout=300, encoding="utf-8", cwd=ROOT
    )
    shell.expect(prompt)
    shell.sendline(line)
    shell.expect(f"[\r\n]{answer}")
    shell.expect(prompt)
    shell.sendeof()
    shell.expect(pexpect.EOF)


class Stack:
    """The project's Make targets on one stack, and its tables as an outside reader sees them."""

    limit_s = 900  # for one target

    def __init__(self, run_dir):
        self.run_dir, self.root = run_dir, ROOT
        port = free_ports(20)
        self.kafka, self.hdfs = f"127.0.0.1:{port}", f"hdfs://127.0.0.1:{port + 10}"
        # time.monotonic() since which all servers are up; infinite while a test has killed one
        self.whole_since = 0

    def make(self, target, ok=True, **knobs):
        """Runs `make target` in a clean environment, and returns its output (both streams).

        ok: whether it must succeed (True) or fail (False); None: either.
        """
        command = self.command(target, **knobs)
        done = subprocess.run(
            command,
            cwd=self.root,
            env=clean_environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=self.limit_s,
        )
        if ok is not None:
            assert (done.returncode == 0) == ok, f"{' '.join(command)}\n{done.stdout}"
            assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def run(self, target, ok=True, **knobs):
        """As `make`, by the quickest way that this stack has: see LocalStack."""
        return self.make(target, ok, **knobs)

    def start(self, target, output, **knobs):
        """Starts `make target` in a session of its own; both streams go to the file `output`."""
        return self._start(self.command(target, **knobs), output)

    def start_slowly(self, target, output, **knobs):
        """As `start`, with a pause before each commit of a batch, in which it can be killed."""
        script = ["python", "tests/slowly.py", f"scripts/{target}.py"]
        return self._start(self.in_shell("--up", *script, **knobs), output)

    def _start(self, command, output):
        with open(output, "wb") as out:
            return subprocess.Popen(
                command,
                cwd=self.root,
                env=clean_environment(),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def command(self, target, **knobs):
        """Returns the command line of `make target` on this stack."""
        knobs = {"RUN_DIR": self.run_dir, "KAFKA": self.kafka, "HDFS": self.hdfs, **knobs}
        return ["make", *target.split(), *(f"{name}={value}" for name, value in knobs.items())]

    def question(self, **knobs):
        """Returns the command line that answers the first question, as `make query` does all."""
        script = ["python", "scripts/query.py", "queries/01_how_many_assessments.sql"]
        return self.in_shell("--hdfs", *script, **knobs)

    def in_shell(self, *command, **knobs):
        """Returns the command line of a command in the environment of make shell."""
        _, _, *knobs = self.command("shell", **knobs)
        return ["env", *knobs, "scripts/env.sh", *command]

    def kcat(self, topic, *values):
        """Publishes each value as one record with kcat, byte for byte and in this order.

        None becomes a null value.
        """
        send = ["kcat", "-P", "-b", self.kafka, "-t", topic]
        for special, group in itertools.groupby(
            values, key=lambda value: value if not value else b"a file"
        ):
            # kcat skips an empty file and an empty line, but not a line with a key
            if special != b"a file":
                subprocess.run(
                    [*send, "-K", "\t", *(["-Z"] if special is None else [])],
                    input=b"no value\t\n" * len(list(group)),
                    check=True,
                )
                continue
            files = []
            for number, value in enumerate(group):
                files.append(ROOT / self.run_dir / f"message-{number}")
                files[-1].write_bytes(value)
            subprocess.run([*send, *files], check=True)  # each file is one record
            for file in files:
                file.unlink()

    def table(self, topic, name):
        """Returns all rows of a table as dictionaries, read from HDFS by deltalake."""
        table = deltalake.DeltaTable(f"{self.hdfs}/warehouse/{topic}/{name}")
        return table.to_pyarrow_table().to_pylist()

    def service_pids(self):
        """Returns {service: pid}, from the pid files that `make up` writes."""
        return {
            file.name: int(file.read_text().split()[0])
            for file in sorted((ROOT / self.run_dir / "pids").iterdir())
            if not file.suffix  # .new: it is being written
        }

    def pids(self):
        return list(self.service_pids().values())


@contextlib.contextmanager
def printed_to(file):
    """Sends what this process and its children print to a file."""
    kept = {number: os.dup(number) for number in (1, 2)}
    for number in kept:
        os.dup2(file.fileno(), number)
    try:
        with (
            contextlib.redirect_stdout(file),
            contextlib.redirect_stderr(file),
            mock.patch.object(sys, "__stderr__", file),
        ):
            yield
    finally:
        for number, copied in kept.items():
            os.dup2(copied, number)
            os.close(copied)


class LocalStack(Stack):
    """The stack of this worker of pytest, whose scripts are called in this process."""

    @functools.cached_property
    def settings(self):
        """The settings of a command on this stack, whose environment this process takes over."""
        where = {"RUN_DIR": self.run_dir, "KAFKA": self.kafka, "HDFS": self.hdfs}
        environ = environment.clean(os.environ | where)
        knobs = settings.read(environ)
        environ |= environment.exported(knobs)
        # As in make follow: otherwise each landing leaves a thread of Py4J behind.
        environ["PYSPARK_PIN_THREAD"] = "false"
        os.environ.update(environment.prepared(knobs, environ, "pytest"))
        settings.load.cache_clear()
        return settings.load()

    def run(self, target, ok=True, arguments=(), **knobs):
        """Calls the script of each target, in a make command's order. Returns what it prints.

        arguments: for the script; all else, and what is asserted: as `make`.
        The scripts of data (synthetic only) and topic, which are shell, are replaced by the library
        and Kafka's client.
        """
        own = {name: self.settings.text(name) for name in ("RUN_DIR", "KAFKA", "HDFS")}
        given = own | {name: str(value) for name, value in knobs.items()}
        given["KNOB_ORIGINS"] = " ".join(f"{name}=command_line" for name in given)
        with tempfile.NamedTemporaryFile("a+", buffering=1) as said:
            with printed_to(said):
                try:
                    for each in target.split():
                        self._call(each, arguments, settings.read(given))
                    succeeded = True
                except Failure as failure:
                    script.report(failure)
                    succeeded = False
            said.seek(0)
            output = said.read()
        assert ok is None or succeeded == ok, f"{target} {knobs}\n{output}"
        return output

    def _call(self, target, arguments, knobs):
        if target == "data":
            synthetic.write(knobs.synthetic, knobs.seed, knobs.data)
            return
        if target in ("topic", "publish"):
            self._create_topic(knobs)
        if target != "topic":
            # The name by which the script knows itself, for its log and the feed's lock.
            with mock.patch.object(sys, "argv", [f"{target}.py", *map(str, arguments)]):
                importlib.import_module(target).main(knobs)

    def _create_topic(self, knobs):
        topic = {"num_partitions": knobs.partitions, "replication_factor": 1}
        topic["configs"] = {"retention.ms": "-1"}
        with (
            contextlib.closing(KafkaAdminClient(bootstrap_servers=self.kafka)) as admin,
            contextlib.suppress(TopicAlreadyExistsError),
        ):
            admin.create_topics({knobs.topic: topic}, wait_for_metadata=True)


def from_a_copy(stack, root):
    """The same stack, whose `make` runs in a copy of the project in the new folder `root`."""
    # With those that no commit has yet included.
    for path in files.of_project(ROOT, "--cached", "--others", "--exclude-standard"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, root / path)
    for installed in (".venv", ".jars"):
        (root / installed).symlink_to(ROOT / installed)
    copied = copy.copy(stack)
    copied.root, copied.run_dir = root, ROOT / stack.run_dir
    return copied


@contextlib.contextmanager
def started(run_dir, kind=Stack):
    """Starts a stack in its own run folder; afterwards stops it and deletes everything."""
    stack = kind(run_dir)
    if (ROOT / stack.run_dir).exists():  # left by an interrupted run
        stack.make("down", ok=None)
        shutil.rmtree(ROOT / stack.run_dir)
    try:
        stack.make("up")
        yield stack
    finally:
        stack.make("down")
        stack.make("clean", YES=1)
