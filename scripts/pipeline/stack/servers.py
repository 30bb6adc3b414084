"""The servers of the local stack: Kafka broker, HDFS NameNode, HDFS DataNode.

A local server is a plain process in a session of its own. Its output goes to
$RUN_DIR/logs/<server>.log, its pid and ports to $RUN_DIR/pids/<server>.

In a container of docker-compose.yml this module becomes the server itself:
    python -m pipeline.stack.servers kafka | namenode | datanode
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent import futures
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

    def __post_init__(self) -> None:
        self.log = self.settings.in_run_dir("logs", f"{self.name}.log")
        self.pid_file = self.settings.in_run_dir("pids", self.name)
        # The environment variables that scripts/bin/java-tool reads for a server.
        self.java_options = {"JAVA_TOOL_LOG": "log4j2.properties", "JAVA_TOOL_OPTS": self.heap}

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
        if self.process():
            if self.has_its_ports():
                return
            raise Failure(
                f"{self.name} of this run folder runs on other ports",
                f"it was started with {self.noted()[1:]}, now wanted are {list(self.ports)} "
                f"(KAFKA={self.settings.kafka}, HDFS={self.settings.hdfs})",
                f"use the old KAFKA and HDFS; or stop it first: {self.settings.make('down')}; "
                "or have a second stack: RUN_DIR=.run-2",
            )
        for port, origin in self.ports.items():
            if holder := port_holder(port):
                raise Failure(
                    f"port {port} is taken, {self.name} cannot have it",
                    f"it comes from {origin}, and is held by {holder}",
                    "stop that program, or choose other ports: make up "
                    "KAFKA=127.0.0.1:19092 HDFS=hdfs://127.0.0.1:18020 RUN_DIR=.run-2",
                )

    def prepare(self) -> None:
        """Gets the server's storage ready for its first start."""
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
        for port in self.ports:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError as error:
                self.last_error = f"port {port}: {error}"
                return False
        return True

    def bring_up(self, start: bool) -> None:
        """Prepares and starts the server if `start`, then probes it until it answers."""
        if start:
            self.prepare()
            self.start()
        while True:
            try:
                # The clients' backoff grows while nothing listens yet; this check has none.
                if self.listens():
                    self.probe(self.settings)
                    return
            except Exception as error:  # each client has exceptions of its own
                self.last_error = errors.cause(error)
            time.sleep(0.1)  # between two probes

    def fail(self, what: str) -> NoReturn:
        """Prints the end of the server's log, and raises a Failure."""
        tail = self.log.read_text(errors="replace").splitlines()[-20:] if self.log.exists() else []
        print("\n".join(f"    {line[:200]}" for line in tail), file=sys.stderr)
        again = self.settings.make("serve" if self.name == "serve" else "up")
        kind = errors.kind_of_text(self.last_error, errors.SafeMode)
        mend = script.advice(kind, self.last_error, self.settings) if kind else None
        raise Failure(
            f"{self.name} {what}",
            f"the end of its log is above; all of it: {self.log}",
            f"{mend or 'mend what the log says'}; then: {again}",
        )


def services(settings: Settings) -> list[Service]:
    """The three servers of the stack."""

    def java(
        name: str, address: str, ports: dict[int, str], probe: Probe, heap: str, *run: str
    ) -> Service:
        return Service(settings, name, address, ports, ["java-tool", *run], run[1], heap, probe)

    ports, kafka, hdfs = settings.ports, f"KAFKA={settings.kafka}", f"HDFS={settings.hdfs}"
    kafka_ports = {ports.kafka: kafka, ports.controller: f"{kafka} (the next port)"}
    namenode_ports = {ports.namenode: hdfs, ports.namenode_http: f"{hdfs} (its port + 1)"}
    datanode = ports.datanode, ports.datanode_http, ports.datanode_ipc
    datanode_ports = {port: f"{hdfs} (its port + {n})" for n, port in enumerate(datanode, 2)}
    broker = "kafka", "kafka.Kafka", str(settings.in_run_dir("conf/kafka/server.properties"))
    namenode = "hdfs", storage.NAMENODE
    # Retries its NameNode 5 times a second for START_LIMIT_S; by default it would pause for 5 s.
    retries = f"-Dipc.client.connect.max.retries={START_LIMIT_S * 5}"
    store = "hdfs", "org.apache.hadoop.hdfs.server.datanode.DataNode", retries
    here = f"127.0.0.1:{ports.datanode}"
    return [
        java("kafka", settings.kafka, kafka_ports, probe_kafka, "-Xmx512m", *broker),
        java("namenode", settings.hdfs, namenode_ports, probe_namenode, "-Xmx256m", *namenode),
        java("datanode", here, datanode_ports, probe_datanode, "-Xmx256m", *store),
    ]


def one_at_a_time(settings: Settings) -> contextlib.AbstractContextManager[IO[str]]:
    """Serializes make up and make down of one stack: waits until no other one runs."""
    notice = "another make up or down of this stack is at work; waiting for it"
    return files.locked(settings.in_run_dir("stack.lock"), lambda _: print(notice, file=sys.stderr))


def start(stack: Sequence[Service], settings: Settings, quiet: bool = False) -> None:
    """Starts the servers that do not run, and waits for all. quiet: no output when all run."""
    # The lock comes first: a server that another make up has just started listens before it works.
    with one_at_a_time(settings):
        # For every target, so early. Another stack may listen on the ports that are wanted.
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
        wait_until_ready(stack, new, begin)


def wait_until_ready(stack: Sequence[Service], new: Sequence[Service], begin: float) -> None:
    """Starts the new ones; prints a line as each answers. Failure when one ends, or takes long."""
    # One thread per service: they start in parallel, and none that hangs blocks the limit.
    threads = futures.ThreadPoolExecutor(len(stack))
    waiting = {threads.submit(service.bring_up, service in new): service for service in stack}
    while waiting:
        futures.wait(waiting, 0.1, futures.FIRST_COMPLETED)
        for ready in [each for each in waiting if each.done()]:
            service = waiting.pop(ready)
            ready.result()  # raises what went wrong
            took = f"answered after {time.monotonic() - begin:.1f} s"
            how = took if service in new else "was running, and answers"
            pid = service.noted()[0]
            print(f"  {service.name:<9} {service.address:<27} pid {pid:<8} {how}", flush=True)
        for service in waiting.values():
            # process() does not find a new server at first: it is still a shell.
            if (
                service.child and service.child.poll() is not None
                if service in new
                else not service.process()
            ):
                service.fail("ended while it was starting")
            if time.monotonic() - begin > START_LIMIT_S:
                service.fail(f"did not answer within {START_LIMIT_S} s: {service.last_error}")


def stop(stack: Sequence[Service], settings: Settings) -> None:
    """Stops those servers of the stack that run, the last one first."""
    with one_at_a_time(settings):
        running = [(each, process) for each in reversed(stack) if (process := each.process())]
        if not running and settings.stack == "cluster":
            print("nothing to stop: with STACK=cluster the services are not this project's")
        elif not running:
            print(f"nothing of the stack in {settings.in_run_dir()} is running")
        for _, process in running:
            process.terminate()
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
        process = service.process()
        if not process and service.name == "serve":
            continue
        whole = [process, *process.children(recursive=True)] if process else []
        memory = sum(each.memory_info().rss for each in whole)
        total += memory
        print(
            f"{service.name:<9} {service.address:<27} {process.pid if process else 'down':>7} "
            f"{memory // 2**20:>5} MB  {service.settings.run_dir}/logs/{service.name}.log"
        )
    print(f"{'together':<45} {total // 2**20:>5} MB")


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
