"""The servers of the local stack: Kafka broker, HDFS NameNode, HDFS DataNode.

A local server is a plain process in a session of its own. Its output goes to
$RUN_DIR/logs/<server>.log, its pid and ports to $RUN_DIR/pids/<server>.

In a container of docker-compose.yml this module becomes the server itself:
    python -m pipeline.stack.servers kafka | namenode | datanode
"""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, NoReturn

import psutil

from pipeline import errors, files, script
from pipeline.errors import Failure
from pipeline.settings import Settings
from pipeline.stack import storage
from pipeline.stack.ports import port_holder
from pipeline.stack.probes import Probe, probe_datanode, probe_kafka, probe_namenode

START_LIMIT_S = 180  # a busy machine may need that long; a quiet one needs a tenth
STOP_LIMIT_S = 20


@dataclass(eq=False)
class Service:
    """One server: its command, its ports, and a probe that only a working server answers."""

    settings: Settings
    name: str
    address: str
    ports: dict[int, str]  # {port: which knob it comes from}
    command: list[str]
    main_class: str  # the argument of its command that tells its process from others
    heap: str  # the JVM's option for the size of its heap
    probe: Probe  # raises until the server works

    last_error: str = field(default="no answer at all", init=False)
    child: subprocess.Popen[bytes] | None = field(default=None, init=False)
    failure: Exception | None = field(default=None, init=False)
    ready: threading.Event = field(default_factory=threading.Event, init=False)

    @property
    def log(self) -> pathlib.Path:
        return self.settings.in_run_dir("logs", f"{self.name}.log")

    @property
    def pid_file(self) -> pathlib.Path:
        return self.settings.in_run_dir("pids", self.name)

    @property
    def java_options(self) -> dict[str, str]:
        """The environment variables that scripts/bin/java-tool reads for a server."""
        return {"JAVA_TOOL_LOG": "log4j2.properties", "JAVA_TOOL_OPTS": self.heap}

    def process(self) -> psutil.Process | None:
        """The running process that `make up` started; None when the pid file is out of date."""
        # No pid file, or an incomplete one; no such process, or one of another user.
        with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
            process = psutil.Process(self.noted()[0])
            command = process.cmdline()
            # After a reboot the pid may belong to another program.
            if str(self.settings.in_run_dir()) in " ".join(command) and self.main_class in command:
                return process
        return None

    def noted(self) -> list[int]:
        """[pid, port, port, …] of the last start. FileNotFoundError when there was none."""
        return [int(number) for number in self.pid_file.read_text().split()]

    def has_its_ports(self) -> bool:
        """Whether it was started with the ports that are wanted."""
        return self.noted()[1:] == list(self.ports)

    def check_ports(self) -> None:
        """Failure when the server runs on other ports, or another program holds one of them."""
        knobs = self.settings
        if self.process():
            if not self.has_its_ports():
                raise Failure(
                    f"{self.name} of this run folder runs on other ports",
                    f"it was started with {self.noted()[1:]}, now wanted are {list(self.ports)} "
                    f"(KAFKA={knobs.kafka}, HDFS={knobs.hdfs})",
                    f"use the old KAFKA and HDFS; or stop it first: {knobs.make('down')}; "
                    "or have a second stack: RUN_DIR=.run-2",
                )
            return
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
        storage.format_storage(self.settings, self.name)

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
                env=os.environ | self.java_options,
            )
        assert self.child.stdin
        with self.child.stdin as go:
            files.replace(self.pid_file, " ".join(map(str, [self.child.pid, *self.ports])))
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
            self.probe(self.settings)
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
            "mend what the log says, then: "
            f"{self.settings.make('serve' if self.name == 'serve' else 'up')}",
        )


def services(settings: Settings) -> list[Service]:
    """The three servers of the stack."""

    def java(
        name: str, address: str, ports: dict[int, str], probe: Probe, heap: str, *command: str
    ) -> Service:
        started = ["java-tool", *command]
        return Service(settings, name, address, ports, started, command[1], heap, probe)

    ports, kafka, hdfs = settings.ports, f"KAFKA={settings.kafka}", f"HDFS={settings.hdfs}"
    kafka_ports = {ports.kafka: kafka, ports.controller: f"{kafka} (the next port)"}
    namenode_ports = {ports.namenode: hdfs, ports.namenode_http: f"{hdfs} (its port + 1)"}
    datanode_ports = {
        port: f"{hdfs} (its port + {number})"
        for number, port in enumerate((ports.datanode, ports.datanode_http, ports.datanode_ipc), 2)
    }
    broker = "kafka", "kafka.Kafka", str(settings.in_run_dir("conf/kafka/server.properties"))
    # Retries its NameNode 5 times a second for START_LIMIT_S; by default it would pause for 5 s.
    retries = f"-Dipc.client.connect.max.retries={START_LIMIT_S * 5}"
    namenode = "hdfs", storage.NAMENODE
    datanode = "hdfs", "org.apache.hadoop.hdfs.server.datanode.DataNode", retries
    here = f"127.0.0.1:{ports.datanode}"
    return [
        java("kafka", settings.kafka, kafka_ports, probe_kafka, "-Xmx512m", *broker),
        java("namenode", settings.hdfs, namenode_ports, probe_namenode, "-Xmx256m", *namenode),
        java("datanode", here, datanode_ports, probe_datanode, "-Xmx256m", *datanode),
    ]


# --- make up and make down ------------------------------------------------------------------------


def one_at_a_time(settings: Settings) -> contextlib.AbstractContextManager[IO[str]]:
    """Serializes make up and make down of one stack: waits until no other one runs."""
    notice = "another make up or down of this stack is at work; waiting for it"
    path = settings.in_run_dir("stack.lock")
    return files.locked(path, lambda _: print(notice, file=sys.stderr))


def start(stack: Sequence[Service], settings: Settings, quiet: bool = False) -> None:
    """Starts the servers of the stack that do not run, and waits until all answer.

    quiet: prints nothing when all of them run already.
    """
    # The lock comes first: a server that another make up has just started listens before it works.
    with one_at_a_time(settings):
        # Called by every target: returns early when the stack is healthy.
        # Another stack may listen on the ports that are wanted.
        if quiet and all(
            service.process() and service.has_its_ports() and service.listens() for service in stack
        ):
            return
        settings.print()
        begin = time.monotonic()
        new = [service for service in stack if not service.process()]
        for service in sorted(stack, key=new.__contains__):  # those that run first
            service.check_ports()
        storage.check_storage(settings)
        # One thread per service: they start in parallel, and none that hangs blocks the limit.
        for service in stack:
            threading.Thread(target=service.bring_up, args=[service in new], daemon=True).start()
        wait_until_ready(stack, new, begin)


def wait_until_ready(stack: Sequence[Service], new: Sequence[Service], begin: float) -> None:
    """Waits for each service, and prints a line as it gets ready.

    new: those that did not run before. Failure when one ends, or does not answer within
    START_LIMIT_S of `begin`.
    """
    waiting = list(stack)
    while waiting:
        for service in list(waiting):
            if service.ready.wait(0.05):
                took = f"answered after {time.monotonic() - begin:.1f} s"
                how = took if service in new else "was running, and answers"
                pid = service.noted()[0]
                print(f"  {service.name:<9} {service.address:<27} pid {pid:<8} {how}", flush=True)
                waiting.remove(service)
            elif service.failure:
                raise service.failure
            # process() does not find a new server at first: it is still a shell.
            elif (
                service.child and service.child.poll() is not None
                if service in new
                else not service.process()
            ):
                service.fail("ended while it was starting")
            elif time.monotonic() - begin > START_LIMIT_S:
                service.fail(f"did not answer within {START_LIMIT_S} s: {service.last_error}")


def stop(stack: Sequence[Service], settings: Settings) -> None:
    """Stops those servers of the stack that run, the last one first."""
    with one_at_a_time(settings):
        found = [(service, service.process()) for service in reversed(stack)]
        running = [(service, process) for service, process in found if process]
        if not running and settings.stack == "cluster":
            print("nothing to stop: with STACK=cluster the services are not this project's")
        elif not running:
            print(f"nothing of the stack in {settings.in_run_dir()} is running")
        for _, process in running:
            process.send_signal(signal.SIGTERM)
        for service, process in running:
            how = "was gone"
            with contextlib.suppress(psutil.NoSuchProcess):
                try:
                    process.wait(STOP_LIMIT_S)
                    how = "stopped"
                except psutil.TimeoutExpired:
                    process.kill()
                    process.wait(STOP_LIMIT_S)
                    how = f"killed: it did not stop within {STOP_LIMIT_S} s"
            service.pid_file.unlink(missing_ok=True)
            print(f"  {service.name:<9} pid {process.pid:<8} {how}", flush=True)


def print_table(stack: Sequence[Service]) -> None:
    """Prints a line for each server of this stack; the one of make serve only when it runs."""
    print(f"{'service':<9} {'address':<27} {'pid':>7} {'memory':>8}  log")
    total = 0
    for service in stack:
        process, memory = service.process(), 0
        if process:
            whole = [process, *process.children(recursive=True)]
            memory = sum(each.memory_info().rss for each in whole)
        elif service.name == "serve":
            continue
        total += memory
        log = f"{service.settings.run_dir}/logs/{service.name}.log"
        print(
            f"{service.name:<9} {service.address:<27} {process.pid if process else 'down':>7} "
            f"{memory // 2**20:>5} MB  {log}"
        )
    print(f"{'together':<45} {total // 2**20:>5} MB")


# --- in a container -------------------------------------------------------------------------------


def become(settings: Settings, name: str) -> NoReturn:
    """Replaces this process by the server, in a container whose log is the server's output."""
    # In a container the DataNode has a volume of its own, without the NameNode's folder.
    if name != "datanode":
        storage.check_storage(settings)
    storage.format_storage(settings, name)
    service = next(each for each in services(settings) if each.name == name)
    os.environ.update(service.java_options)
    os.execvp(service.command[0], service.command)


if __name__ == "__main__":
    script.run(lambda settings: become(settings, sys.argv[1]))
