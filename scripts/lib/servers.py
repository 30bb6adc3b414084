"""The servers of the local stack: Kafka broker, HDFS NameNode, HDFS DataNode.

Used by up.py, down.py and status.py to start, find and stop them. In a container of
docker-compose.yml this script becomes the server itself:
    python scripts/lib/servers.py kafka | namenode | datanode

A local server is a plain process in a session of its own. Its output goes to
$RUN_DIR/logs/<server>.log, its pid and ports to $RUN_DIR/pids/<server>.
"""

import argparse
import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

import psutil

import config
import errors
import knobs
import probes
import storage
from errors import Failure
from storage import run_dir

START_LIMIT_S = 180  # a busy machine may need that long; a quiet one needs a tenth
STOP_LIMIT_S = 20


class Service:
    """One server: its command, its ports, and a probe that only a working server answers.

    ports: {port: which knob it comes from}; command: java-tool, kind, main class, arguments;
    heap: the JVM's option for the size of its heap; probe: raises until the server works.
    """

    def __init__(
        self,
        name: str,
        address: str,
        ports: dict[int, str],
        command: list[str],
        heap: str,
        probe: Callable[[], object],
    ):
        self.name, self.address, self.ports = name, address, ports
        self.command, self.heap, self.probe = command, heap, probe
        self.main_class = command[2]
        self.last_error = "no answer at all"
        self.child: subprocess.Popen[bytes] | None = None
        self.failure: Exception | None = None
        self.ready = threading.Event()
        self.log = run_dir("logs", f"{name}.log")
        self.pid_file = run_dir("pids", name)

    def process(self) -> psutil.Process | None:
        """The running process that `make up` started; None when the pid file is out of date."""
        try:
            process = psutil.Process(self.noted()[0])
            command = process.cmdline()
            # After a reboot the pid may belong to another program.
            if config.RUN_DIR in " ".join(command) and self.main_class in command:
                return process
        except (FileNotFoundError, ValueError, IndexError):  # no pid file, or an incomplete one
            pass
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            pass
        return None

    def noted(self) -> list[int]:
        """[pid, port, port, …] of the last start. FileNotFoundError when there was none."""
        return [int(number) for number in self.pid_file.read_text().split()]

    def check_ports(self) -> None:
        """Failure when another program holds one of the ports."""
        for port, origin in self.ports.items():
            holder = port_holder(port)
            if holder is not None:
                raise Failure(
                    f"port {port} is taken, {self.name} cannot have it",
                    f"it comes from {origin}, and is held by {holder}",
                    "stop that program, or choose other ports: make up "
                    "KAFKA=127.0.0.1:19092 HDFS=hdfs://127.0.0.1:18020 RUN_DIR=.run-2",
                )

    def prepare(self) -> None:
        """Formats the server's storage before its first start."""
        storage.format_storage(self.name)

    def start(self) -> None:
        """Starts the server's process and writes its pid file."""
        with open(self.log, "ab") as log:
            # The shell waits on stdin until its pid file is written, then execs the server.
            # On end of input it exits, so that no server runs untracked.
            self.child = subprocess.Popen(
                ["sh", "-c", 'read -r _ && exec "$@" < /dev/null', "sh", *self.command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | java_options(self.heap),
            )
        with self.child.stdin as go:
            pid_and_ports = " ".join(map(str, [self.child.pid, *self.ports]))
            storage.write_atomically(self.pid_file, pid_and_ports)
            go.write(b"the pid is noted\n")

    def listens(self) -> bool:
        """Whether each of its ports accepts a connection. Otherwise last_error says which not."""
        try:
            for port in self.ports:
                socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError as error:
            self.last_error = f"port {port}: {error}"
            return False

    def bring_up(self, start: bool) -> None:
        """Prepares and starts the server if `start`, then probes it until it answers.

        Runs in a thread of its own. The result is `ready`, or the exception in `failure`.
        """
        try:
            if start:
                self.prepare()
                self.start()
            while not self.answers():
                time.sleep(0.1)  # between two probes
            self.ready.set()
        except Exception as error:
            self.failure = error

    def answers(self) -> bool:
        """Whether the server works. Otherwise last_error says why not."""
        try:
            # The clients' backoff grows while nothing listens yet; this check has none.
            if not self.listens():
                return False
            self.probe()
            return True
        except Exception as error:  # each client has exceptions of its own
            self.last_error = errors.cause(error)
            return False

    def fail(self, what: str) -> NoReturn:
        """Prints the end of the server's log, and raises a Failure."""
        tail = self.log.read_text(errors="replace").splitlines()[-20:] if self.log.exists() else []
        print("\n".join(f"    {line[:200]}" for line in tail), file=sys.stderr)
        raise Failure(
            f"{self.name} {what}",
            f"the end of its log is above; all of it: {self.log}",
            f"mend what the log says, then: "
            f"make {'serve' if self.name == 'serve' else 'up'}{knobs.of_stack()}",
        )


def port_holder(port: int) -> str | None:
    """Which program listens on this port of 127.0.0.1, in words; None when the port is free."""
    with socket.socket() as attempt:
        # With SO_REUSEADDR a port whose connections have just closed counts as free.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            attempt.bind(("127.0.0.1", port))
            return None
    try:
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr.port == port and found.pid:
                process = psutil.Process(found.pid)
                return f"pid {process.pid} ({' '.join(process.cmdline())[:100] or process.name()})"
    except psutil.Error:  # some systems list connections only for root
        pass
    return "a process of another user"


def java_options(heap: str) -> dict[str, str]:
    """The environment variables that scripts/bin/java-tool reads for a server."""
    return {"JAVA_TOOL_LOG": "log4j2.properties", "JAVA_TOOL_OPTS": heap}


def commands() -> dict[str, tuple[list[str], str]]:
    """{server: (its command, the JVM's option for the size of its heap)}"""
    kafka_settings = str(run_dir("conf", "kafka", "server.properties"))
    datanode = "org.apache.hadoop.hdfs.server.datanode.DataNode"
    # Retries its NameNode 5 times a second for START_LIMIT_S; by default it would pause for 5 s.
    retries = f"-Dipc.client.connect.max.retries={START_LIMIT_S * 5}"
    return {
        "kafka": (["java-tool", "kafka", "kafka.Kafka", kafka_settings], "-Xmx512m"),
        "namenode": (["java-tool", "hdfs", storage.NAMENODE], "-Xmx256m"),
        "datanode": (["java-tool", "hdfs", datanode, retries], "-Xmx256m"),
    }


def services() -> list[Service]:
    """The three servers of the stack."""
    env = os.environ
    kafka, hdfs = env["KAFKA"], env["HDFS"]
    kafka_ports = {
        int(env["KAFKA_PORT"]): f"KAFKA={kafka}",
        int(env["CONTROLLER_PORT"]): f"KAFKA={kafka} (the next port)",
    }
    namenode_ports = {
        int(env["HDFS_PORT"]): f"HDFS={hdfs}",
        int(env["NAMENODE_HTTP_PORT"]): f"HDFS={hdfs} (its port + 1)",
    }
    datanode_ports = {
        int(env["DATANODE_PORT"]): f"HDFS={hdfs} (its port + 2)",
        int(env["DATANODE_HTTP_PORT"]): f"HDFS={hdfs} (its port + 3)",
        int(env["DATANODE_IPC_PORT"]): f"HDFS={hdfs} (its port + 4)",
    }
    datanode = f"127.0.0.1:{env['DATANODE_PORT']}"
    run = commands()
    return [
        Service("kafka", kafka, kafka_ports, *run["kafka"], probes.probe_kafka),
        Service("namenode", hdfs, namenode_ports, *run["namenode"], probes.probe_namenode),
        Service("datanode", datanode, datanode_ports, *run["datanode"], probes.probe_datanode),
    ]


def spark_server() -> Service:
    """The server of make serve, which is not part of the stack of make up."""
    ports = {
        int(config.CONNECT_PORT): "Spark Connect (derived from HDFS)",
        int(config.JDBC_PORT): "JDBC (derived from HDFS)",
    }
    script = os.path.join(config.ROOT, "scripts/lib/spark_server.py")
    command = [os.path.join(config.ROOT, "scripts/lib/env.sh"), "python", script, config.RUN_DIR]
    address = f"127.0.0.1:{config.CONNECT_PORT}, :{config.JDBC_PORT}"
    return Service("serve", address, ports, command, "", probes.probe_spark_server)


def startable() -> list[Service]:
    """The servers that this run folder may have started: with STACK=cluster only the last one."""
    return [*(services() if config.STACK == "local" else ()), spark_server()]


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Serializes make up and make down of one stack: waits until no other one runs."""
    with open(run_dir("stack.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(
                "another make up or down of this stack is at work; waiting for it", file=sys.stderr
            )
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def serve(name: str) -> None:
    """Replaces this process by the server, in a container whose log is the server's output."""
    # In a container the DataNode has a volume of its own, without the NameNode's folder.
    if name != "datanode":
        storage.check_storage()
    storage.format_storage(name)
    command, heap = commands()[name]
    os.environ.update(java_options(heap))
    os.execvp(command[0], command)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Becomes this server.")
    parser.add_argument("server", choices=commands())
    with errors.report_failures():
        serve(parser.parse_args().server)
