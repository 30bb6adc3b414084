"""A real stack of the tests' own: run folder .run-test, ports of their own, stopped at the end."""
import contextlib
import hashlib
import itertools
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import deltalake
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
KNOWN_SHA256 = "1f594df822bdb3ef11107c40fd9cf84ba02545364e672a625d58365a82897229"
KNOBS = re.search(r"^KNOBS := (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()


def free_ports(count):
    """The first of so many ports in a row that nobody holds."""
    for first in range(21000, 32000, 100):  # below the ports that the system gives to outgoing connections
        sockets = []
        try:
            for port in range(first, first + count):
                sockets.append(socket.socket())
                sockets[-1].bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
    raise OSError("no free ports")


def clean_environment():
    """The user's, without what the make around us set."""
    ours = *KNOBS, "KNOB_ORIGINS", "MAKEFLAGS", "MAKELEVEL", "PIPELINE_ENV", "OWN_ENVIRONMENT", "USER_HOME", "JAVA_HOME", "PYTHONPATH", "PYTHONSTARTUP"
    return {name: value for name, value in os.environ.items() if name not in ours} | {"HOME": os.environ.get("USER_HOME", "/nowhere")}


class Stack:
    """The project's Make targets on one stack, and the tables as a foreign reader sees them."""

    def __init__(self, run_dir):
        self.run_dir, self.root = run_dir, ROOT
        port = free_ports(20)
        self.kafka, self.hdfs = f"127.0.0.1:{port}", f"hdfs://127.0.0.1:{port + 10}"
        self.whole_since = 0  # time.monotonic() since which all of its servers live; infinite while a test has killed one

    def make(self, target, ok=True, **knobs):
        """Runs `make target` as a user would, in a clean environment; returns its output (both streams)."""
        command = self.command(target, **knobs)
        done = subprocess.run(command, cwd=self.root, env=clean_environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=900)
        if ok is not None:
            assert (done.returncode == 0) == ok, f"{' '.join(command)}\n{done.stdout}"
            assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def command(self, target, **knobs):
        return ["make", *target.split(), *(f"{name}={value}" for name, value in
                {"RUN_DIR": self.run_dir, "KAFKA": self.kafka, "HDFS": self.hdfs, **knobs}.items())]

    def kcat(self, topic, *values):
        """Sends each value as one record by real kcat, byte for byte and in this order; None is sent as a null value."""
        send = ["kcat", "-P", "-b", self.kafka, "-t", topic]
        for special, group in itertools.groupby(values, key=lambda value: value if not value else b"a file"):
            if special != b"a file":  # kcat skips an empty file and an empty line, but not a line with a key
                subprocess.run([*send, "-K", "\t", *(["-Z"] if special is None else [])], input=b"no value\t\n" * len(list(group)), check=True)
                continue
            files = []
            for number, value in enumerate(group):
                files.append(ROOT / self.run_dir / f"message-{number}")
                files[-1].write_bytes(value)
            subprocess.run([*send, *files], check=True)  # each file is one record
            for file in files:
                file.unlink()

    def table(self, topic, name):
        """All rows of a table, as dictionaries, read from HDFS by deltalake."""
        return deltalake.DeltaTable(f"{self.hdfs}/warehouse/{topic}/{name}").to_pyarrow_table().to_pylist()

    def service_pids(self):
        """{service: pid}, as `make up` noted them."""
        return {file.name: int(file.read_text().split()[0]) for file in sorted((ROOT / self.run_dir / "pids").iterdir())}

    def pids(self):
        return list(self.service_pids().values())


@contextlib.contextmanager
def started(run_dir):
    """A stack of its own while it lasts; nothing is left of it."""
    stack = Stack(run_dir)
    if (ROOT / stack.run_dir).exists():  # of a run that was cut off
        stack.make("down", ok=None)
        shutil.rmtree(ROOT / stack.run_dir)
    try:
        stack.make("up")
        yield stack
    finally:
        stack.make("down")
        stack.make("clean", YES=1)


@pytest.fixture(scope="session")
def stack():
    with started(".run-test") as stack:
        yield stack


@pytest.fixture(scope="session")
def real_file():
    path = pathlib.Path(os.environ["DATA"])
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != KNOWN_SHA256:
        if os.environ.get("REAL_DATA") == "required":
            pytest.fail(f"{path} is not the real file")
        pytest.skip("the real file is not here: make test DATA=/path/to/it, or DATA_URL=…")
    return path
