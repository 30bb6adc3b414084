"""A real stack of the tests' own: run folder .run-test, ports of their own, stopped at the end."""
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import deltalake
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
KNOBS = "STACK TOPIC DATA DATA_URL ANY_HASH SYNTHETIC SEED PARTITIONS REPLICATION FORCE YES KAFKA HDFS SPARK_MASTER WAREHOUSE RUN_DIR".split()


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
    """Ours without what the make around us set."""
    return {name: value for name, value in os.environ.items()
            if name not in (*KNOBS, "KNOB_ORIGINS", "MAKEFLAGS", "MAKELEVEL", "PIPELINE_ENV", "JAVA_HOME", "PYTHONPATH", "PYTHONSTARTUP")}


class Stack:
    """The project's Make targets on one stack, and the tables as a foreign reader sees them."""

    def __init__(self, run_dir):
        self.run_dir = run_dir
        port = free_ports(20)
        self.kafka, self.hdfs = f"127.0.0.1:{port}", f"hdfs://127.0.0.1:{port + 10}"

    def make(self, target, ok=True, **knobs):
        """Runs `make target` as a user would, in a clean environment; returns its output (both streams)."""
        command = self.command(target, **knobs)
        done = subprocess.run(command, cwd=ROOT, env=clean_environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=400)
        if ok is not None:
            assert (done.returncode == 0) == ok, f"{' '.join(command)}\n{done.stdout}"
            assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def command(self, target, **knobs):
        return ["make", *target.split(), *(f"{name}={value}" for name, value in
                {"RUN_DIR": self.run_dir, "KAFKA": self.kafka, "HDFS": self.hdfs, **knobs}.items())]

    def kcat(self, topic, value):
        """Sends bytes as one record by real kcat, untouched; None sends a null value."""
        send = ["kcat", "-P", "-b", self.kafka, "-t", topic]
        if value is None:  # kcat skips an empty line, but not one with a key
            subprocess.run([*send, "-Z", "-K", "\t"], input=b"no value\t\n", check=True)
            return
        file = ROOT / self.run_dir / "one-message"
        file.write_bytes(value)
        subprocess.run([*send, str(file)], check=True)

    def table(self, topic, name):
        """All rows of a table, as dictionaries, read from HDFS by deltalake."""
        return deltalake.DeltaTable(f"{self.hdfs}/warehouse/{topic}/{name}").to_pyarrow_table().to_pylist()

    def pids(self):
        return [int(file.read_text().split()[0]) for file in sorted((ROOT / self.run_dir / "pids").iterdir())]


@pytest.fixture(scope="session")
def stack():
    stack = Stack(".run-test")
    if (ROOT / stack.run_dir).exists():  # of a run that was cut off
        stack.make("down", ok=None)
        shutil.rmtree(ROOT / stack.run_dir)
    stack.make("up")
    yield stack
    stack.make("down")
    stack.make("clean", YES=1)


@pytest.fixture(scope="session")
def spark():
    """A session for the pure functions: no Kafka, no HDFS."""
    import tables
    session = tables.session("test", 0)
    session.sparkContext.addPyFile(str(ROOT / "scripts" / "verdict.py"))
    yield session
    session.stop()
