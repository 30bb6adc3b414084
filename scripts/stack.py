"""Start, stop and show the local stack: Kafka broker, HDFS NameNode, HDFS DataNode.

Run by: make up, make down, make status
    scripts/env.sh python scripts/stack.py up [SERVICE …] [--quiet] | down | status
and in a container of docker-compose.yml, which starts and stops its server itself:
    python scripts/stack.py serve kafka | namenode | datanode

The local services are plain processes of this machine, each in a session of its own, its output in
$RUN_DIR/logs/<service>.log, its pid and ports in $RUN_DIR/pids/<service>. With STACK=cluster they are somebody
else's: up asks each whether it answers, down leaves them alone.
"""
import argparse
import base64
import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid

import hdfs_native
import psutil
from kafka.protocol.producer.transaction import InitProducerIdRequest

import feed
from feed import SERVER_ANSWERS_WITHIN_S, Failure, hdfs, kafka_admin, report_failures
from printable import printable

RUN_DIR = pathlib.Path(os.environ["RUN_DIR"])
STORAGE = RUN_DIR / "storage"
CONF = RUN_DIR / "conf"
JARS = pathlib.Path(os.environ["JARS"])
FORMATTED = {"kafka": STORAGE / "kafka", "namenode": STORAGE / "hdfs" / "name"}  # the DataNode makes its own
LOCAL = os.environ["STACK"] == "local"
START_LIMIT_S = 90
FIND_LIMIT_S = 30
STOP_LIMIT_S = 20


class Service:
    """One server: how it is started, which ports it opens, and a request that only a working one answers."""

    def __init__(self, name, address, ports, command, heap, probe):
        self.name, self.address, self.ports, self.command, self.heap, self.probe = name, address, ports, command, heap, probe
        self.main_class = command[2]
        self.last_error = "no answer at all"
        self.child = self.failure = None
        self.ready = threading.Event()
        self.log = RUN_DIR / "logs" / f"{name}.log"
        self.pid_file = RUN_DIR / "pids" / name

    def process(self):
        """The running process that `up` started, or None; what a pid file of another life names is not it."""
        try:
            process = psutil.Process(self.noted()[0])
            # A pid alone could, after a power cut, belong to somebody else.
            if str(RUN_DIR) in " ".join(process.cmdline()) and self.main_class in process.cmdline():
                return process
        except (FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess, psutil.AccessDenied):
            pass
        return None

    def noted(self):
        """[pid, port, port, …] of the last start."""
        return [int(number) for number in self.pid_file.read_text().split()]

    def check_ports(self):
        for port, origin in self.ports.items():
            holder = port_holder(port)
            if holder is not None:
                raise Failure(f"port {port} is taken, {self.name} cannot have it", f"it comes from {origin}, and is held by {holder}",
                              "stop that program, or choose other ports: make up KAFKA=127.0.0.1:19092 HDFS=hdfs://127.0.0.1:18020 RUN_DIR=.run-2")

    def start(self):
        with open(self.log, "ab") as log:
            # It becomes the server when it is told to, and ends when nobody is left to tell it: no server runs whose
            # pid could not be noted, and none would find.
            self.child = subprocess.Popen(
                ["sh", "-c", 'read -r _ && exec "$@" < /dev/null', "sh", *self.command], stdin=subprocess.PIPE, stdout=log, stderr=log,
                start_new_session=True, env=os.environ | {"JAVA_TOOL_LOG": "log4j2.properties", "JAVA_TOOL_OPTS": self.heap})
        with self.child.stdin as go:
            write_atomically(self.pid_file, " ".join(map(str, [self.child.pid, *self.ports])))
            go.write(b"the pid is noted\n")

    def listens(self):
        """Whether each of its ports takes a connection."""
        try:
            for port in self.ports:
                socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError as error:
            self.last_error = f"port {port}: {error}"
            return False

    def bring_up(self, start):
        """Formats its storage if need be and starts it, if so told, then probes it until it answers."""
        try:
            if start:
                format_storage(self.name)
                self.start()
            while not self.answers():
                time.sleep(0.1)  # between two probes
            self.ready.set()
        except Exception as error:
            self.failure = error

    def answers(self):
        try:
            # Clients wait longer and longer between tries when nothing listens yet; this does not.
            if not self.listens():
                return False
            self.probe()
            return True
        except Exception as error:  # whatever the client throws: the server is not ready
            self.last_error = feed.cause(error)
            return False

    def fail(self, what):
        tail = self.log.read_text(errors="replace").splitlines()[-20:] if self.log.exists() else []
        print("\n".join(f"    {line[:200]}" for line in tail), file=sys.stderr)
        raise Failure(f"{self.name} {what}", f"the end of its log is above; all of it: {self.log}",
                      "mend what the log says, then: make up")


def port_holder(port):
    """Who listens on this port of 127.0.0.1, in words; None when it is free."""
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that closed a moment ago is free
        with contextlib.suppress(OSError):
            attempt.bind(("127.0.0.1", port))
            return None
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                return f"pid {process.pid} ({' '.join(process.cmdline())[:100] or process.name()})"
    except psutil.Error:  # some systems tell only root
        pass
    return "a process of another user"


def write_atomically(path, text):
    path.parent.mkdir(exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def probe_kafka():
    """A metadata request that names a broker, and the id that an idempotent producer asks for before it sends."""
    with contextlib.closing(kafka_admin(SERVER_ANSWERS_WITHIN_S)) as admin:
        brokers = admin.describe_cluster()["brokers"]
        if not brokers:
            raise OSError("the broker does not list itself yet")
        # kafka-python has no public call for it. A fresh broker refuses the first one, and kcat would say so to everybody.
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=-1, producer_id=-1, producer_epoch=-1)
        error = admin._manager.run(admin._manager.send, request).error_code
        if error:
            raise OSError(f"the broker gives no producer id yet (Kafka's error {error})")
    return f"{len(brokers)} broker{'s'[:len(brokers) > 1]}"


def probe_namenode():
    """A listing of the root folder."""
    list(hdfs().list_status("/"))


def probe_datanode():
    """A file written, read and deleted: the NameNode is out of safe mode and the DataNode holds blocks."""
    # First ask the NameNode's page: a write that finds no DataNode would be tried again for seconds.
    url = f"http://127.0.0.1:{os.environ['NAMENODE_HTTP_PORT']}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"
    without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with without_proxy.open(url, timeout=SERVER_ANSWERS_WITHIN_S) as page:
        state = json.load(page)["beans"][0]
    if state["NumLiveDataNodes"] < 1 or state["FSState"] != "Operational":
        raise OSError(f"{state['NumLiveDataNodes']} live DataNodes, HDFS is in state {state['FSState']}")
    write_read_delete(f"/.probe-{os.getpid()}")


def write_read_delete(path):
    with hdfs().create(path, hdfs_native.WriteOptions(overwrite=True)) as out:
        out.write(b"ok")
    with hdfs().read(path) as file:
        if file.read(2) != b"ok":
            raise OSError("read back something else than was written")
    hdfs().delete(path)


# How each server is run, and the memory that its JVM may fill.
SERVERS = {
    "kafka": (["java-tool", "kafka", "kafka.Kafka", str(CONF / "kafka" / "server.properties")], "-Xmx512m"),
    "namenode": (["java-tool", "hdfs", "org.apache.hadoop.hdfs.server.namenode.NameNode"], "-Xmx256m"),
    "datanode": (["java-tool", "hdfs", "org.apache.hadoop.hdfs.server.datanode.DataNode",
                  # Asks for its NameNode 5 times a second until START_LIMIT_S is over; after the default it would pause for 5 s.
                  f"-Dipc.client.connect.max.retries={START_LIMIT_S * 5}"], "-Xmx256m"),
}


def services():
    env = os.environ
    kafka, hdfs_address = env["KAFKA"], env["HDFS"]
    return [
        Service("kafka", kafka, {int(env["KAFKA_PORT"]): f"KAFKA={kafka}", int(env["CONTROLLER_PORT"]): f"KAFKA={kafka} (the next port)"},
                *SERVERS["kafka"], probe_kafka),
        Service("namenode", hdfs_address, {int(env["HDFS_PORT"]): f"HDFS={hdfs_address}", int(env["NAMENODE_HTTP_PORT"]): f"HDFS={hdfs_address} (its port + 1)"},
                *SERVERS["namenode"], probe_namenode),
        Service("datanode", f"127.0.0.1:{env['DATANODE_PORT']}",
                {int(env[name]): f"HDFS={hdfs_address} (its port + {plus})"
                 for plus, name in ((2, "DATANODE_PORT"), (3, "DATANODE_HTTP_PORT"), (4, "DATANODE_IPC_PORT"))},
                *SERVERS["datanode"], probe_datanode),
    ]


def check_storage():
    """Fails when the data were made by other jars, or when the NameNode's half of HDFS is gone. Notes the versions before
    there are any data."""
    version_file = STORAGE / "versions"
    jars = sorted(JARS.glob("*/kafka_2*.jar")) + sorted(JARS.glob("hdfs/*.jar"))
    versions = " ".join(jar.stem for jar in jars)
    if version_file.exists() and version_file.read_text() != versions and any(folder.exists() for folder in FORMATTED.values()):
        raise Failure(f"the data in {STORAGE} belong to another version", f"they were made by {version_file.read_text()}; this is {versions}",
                      "use the scripts they were made with, or another run folder (RUN_DIR=.run-2), or delete them: make clean")
    # A DataNode makes data/current when it has talked to its NameNode: it may have started before the NameNode was formatted.
    if (STORAGE / "hdfs" / "data" / "current").exists() and not (FORMATTED["namenode"] / "current").exists():
        raise Failure("the NameNode's folder is gone but the DataNode's blocks are there", f"{FORMATTED['namenode']} is missing; without it nobody knows which file a block belongs to",
                      "put it back from a copy, or begin anew: make clean")
    write_atomically(version_file, versions)


def format_storage(name):
    """Makes the folder of the broker or the NameNode, once. It is formatted under another name and then renamed,
    so that a folder is there whole or not at all, and nothing that holds data is ever formatted."""
    folder = FORMATTED.get(name)
    if folder is None or folder.exists():
        return
    # With our pid in its name, because a format that lost its make up may still be running, and must not share a folder with this one.
    new, log = folder.with_name(f"{folder.name}.new-{os.getpid()}"), RUN_DIR / "logs" / f"format-{name}.log"
    for interrupted in folder.parent.glob(f"{folder.name}.new*"):
        shutil.rmtree(interrupted, ignore_errors=True)
    if name == "kafka":
        config = CONF / "kafka" / "format.properties"
        config.write_text((CONF / "kafka" / "server.properties").read_text().replace(str(folder), str(new)))
        # One broker alone is its own quorum of controllers; several must agree on an id and on who is in it before they start.
        quorum = ["--initial-controllers", os.environ["KAFKA_QUORUM"]] if "KAFKA_QUORUM" in os.environ else ["--standalone"]
        command = ["java-tool", "kafka", "kafka.tools.StorageTool", "format", *quorum, "--cluster-id", os.environ.get("KAFKA_CLUSTER_ID") or new_cluster_id(),
                   "--config", str(config)]
    else:
        command = ["java-tool", "hdfs", SERVERS["namenode"][0][2], f"-Ddfs.namenode.name.dir=file://{new}", "-format", "-force", "-nonInteractive"]
    with log.open("wb") as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=START_LIMIT_S)
    if done.returncode != 0:
        print("\n".join(log.read_text(errors="replace").splitlines()[-10:]), file=sys.stderr)
        raise Failure(f"the storage of {name} could not be formatted", f"its output is above and in {log}", "mend what it says, then: make up")
    new.rename(folder)


def new_cluster_id():
    """16 random bytes in URL-safe base64 without padding, as Kafka wants it; and as Kafka makes it, never with a dash in
    front, which kafka-storage would take for an option (one of 64 would begin so)."""
    while (made := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return made


@contextlib.contextmanager
def one_at_a_time():
    with open(RUN_DIR / "stack.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another make up or down of this stack is at work; waiting for it", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def serve(name):
    """Becomes this server, as a container's own process; its log is the container's."""
    if name != "datanode":  # whose storage in a container is a volume of its own, without the NameNode's folder
        check_storage()
    format_storage(name)
    command, heap = SERVERS[name]
    os.environ.update(JAVA_TOOL_LOG="log4j2.properties", JAVA_TOOL_OPTS=heap)
    os.execvp(command[0], command)


def probe_hdfs():
    """A file written, read and deleted where the tables lie, by the rights that landing has."""
    host, _, port = os.environ["HDFS"].removeprefix("hdfs://").partition(":")
    if port:  # a NameNode, no nameservice: whether anybody is there is known at once
        socket.create_connection((host, int(port)), SERVER_ANSWERS_WITHIN_S).close()
    hdfs().mkdirs(os.environ["WAREHOUSE"], create_parent=True)
    write_read_delete(f"{os.environ['WAREHOUSE']}/.probe-{uuid.uuid4().hex}")


def probe_spark():
    """spark://: whether one of the masters takes a connection. All else is asked when a session opens."""
    master = os.environ["SPARK_MASTER"]
    if not master.startswith("spark://"):
        return
    errors = []
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        try:
            return socket.create_connection((host, int(port)), SERVER_ANSWERS_WITHIN_S).close()
        except OSError as error:
            errors.append(f"{address}: {error}")
    raise OSError("; ".join(errors))


def find(quiet, names=()):
    """STACK=cluster: asks each service (or only HDFS, when names has no kafka in it) whether it answers, and says what
    it found. Starts nothing."""
    if not quiet and not os.environ.get("PIPELINE_INSTALLED"):
        print_knobs()
    for name, knob, probe in (("kafka", "KAFKA", probe_kafka), ("hdfs", "HDFS", probe_hdfs), ("spark", "SPARK_MASTER", probe_spark)):
        if name == "kafka" and names and "kafka" not in names:
            continue
        said = {"error": "no answer at all"}
        # In a thread of its own: some clients go on trying for minutes.
        asking = threading.Thread(target=ask, args=[probe, said], daemon=True)
        asking.start()
        asking.join(FIND_LIMIT_S)
        if "found" not in said:
            raise Failure(f"{name} does not answer at {knob}={os.environ[knob]}", f"tried for {FIND_LIMIT_S} s: {said['error']}",
                          "is the address right, and reachable from here? does it ask for passwords or certificates? (docs/deployment.md: STACK=cluster, CLIENT_CONF)")
        if not quiet:
            print(f"  {name:<9} {os.environ[knob]:<48} answers{said['found']}", flush=True)


def ask(probe, said):
    """Asks until there is an answer; `said` gets what was found, meanwhile the last error."""
    while "found" not in said:
        try:
            found = probe()
            said["found"] = f": {found}" if found else ""
        except Exception as error:  # whatever the client throws: the service does not answer
            said["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
            time.sleep(0.5)  # between two probes


def up(quiet, names):
    stack = [service for service in services() if not names or service.name in names]
    with one_at_a_time():  # what another make up has just started listens before it answers
        if quiet and all(service.process() and service.listens() for service in stack):
            return
        print_knobs()
        begin = time.monotonic()
        started = [service for service in stack if not service.process()]
        for service in stack:
            if service not in started and service.noted()[1:] != list(service.ports):
                raise Failure(f"{service.name} of this run folder runs on other ports", f"it was started with {service.noted()[1:]}, now wanted are {list(service.ports)} (KAFKA={os.environ['KAFKA']}, HDFS={os.environ['HDFS']})",
                              "use the old KAFKA and HDFS; or stop it first: make down; or have a second stack: RUN_DIR=.run-2")
        for service in started:
            service.check_ports()
        check_storage()
        # Each service has a thread of its own, so that none waits for another and one that hangs does not delay the limit.
        for service in stack:
            threading.Thread(target=service.bring_up, args=[service in started], daemon=True).start()
        waiting = list(stack)
        while waiting:
            for service in list(waiting):
                if service.ready.wait(0.05):
                    how = f"answered after {time.monotonic() - begin:.1f} s" if service in started else "was running, and answers"
                    print(f"  {service.name:<9} {service.address:<27} pid {service.noted()[0]:<8} {how}", flush=True)
                    waiting.remove(service)
                elif service.failure:
                    raise service.failure
                # One that was just started is a shell at first, before it becomes the server.
                elif (service.child and service.child.poll() is not None) if service in started else not service.process():
                    service.fail("ended while it was starting")
                elif time.monotonic() - begin > START_LIMIT_S:
                    service.fail(f"did not answer within {START_LIMIT_S} s: {service.last_error}")


def shown(path):
    """A path as one would type it here: relative when it lies in this folder."""
    return path.relative_to(os.environ["ROOT"]) if path.is_relative_to(os.environ["ROOT"]) else path


def print_knobs():
    """Each knob in force and where it came from."""
    words = {"file": "default", "command_line": "make", "environment": "environment", "environment_override": "environment"}
    origins = dict(pair.split("=", 1) for pair in os.environ["KNOB_ORIGINS"].split())
    for name, origin in origins.items():
        value = os.environ.get(name, "")
        if name == "RUN_DIR":
            value = str(shown(RUN_DIR))
        if name == "DATA_URL":  # as lib.sh's without_secrets
            value = re.sub(r"[?]\S*", "?…", re.sub(r"//[^/\s]*@", "//…@", value))
        if value:
            print(f"  {name:<12} {printable(value):<62} {words.get(origin, origin)}")


def down():
    if not LOCAL:
        print("nothing to stop: with STACK=cluster the services are not this project's")
        return
    with one_at_a_time():
        running = [(service, process) for service in services() if (process := service.process())]
        if not running:
            print(f"nothing of the stack in {RUN_DIR} is running")
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


def status():
    if LOCAL:
        print(f"{'service':<9} {'address':<27} {'pid':>7} {'memory':>8}  log")
        total = 0
        for service in services():
            process = service.process()
            memory = process.memory_info().rss if process else 0
            total += memory
            print(f"{service.name:<9} {service.address:<27} {process.pid if process else 'down':>7} {memory // 2**20:>5} MB  {shown(service.log)}")
        print(f"{'together':<45} {total // 2**20:>5} MB")
        if not all(service.process() for service in services()):
            print("\nnot all of it runs; to start it: make up")
            return
    else:
        find(quiet=False)
    print(f"\n{'feed (topic)':<24} {'partition':>9} {'end of topic':>13} {'landed':>10} {'lag':>10}")
    for topic in feed.topics():
        try:
            landed = feed.landed_offsets(topic) or {}
            for partition, end in feed.end_offsets(topic).items():
                print(f"{topic:<24} {partition:>9} {end:>13,} {landed.get(partition, 0):>10,} {end - landed.get(partition, 0):>10,}")
        except Exception as error:  # one feed's trouble must not hide the others
            feed.log_trace()
            print(f"{topic:<24} not known: {printable(feed.cause(error))}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["up", "down", "status", "serve"])
    parser.add_argument("services", nargs="*", choices=[[], *SERVERS], help="up: only these, and none that is not named (reprocess needs no Kafka); serve: which one")
    parser.add_argument("--quiet", action="store_true", help="up: say nothing when all of it runs already")
    arguments = parser.parse_args()
    with report_failures():
        {"up": lambda: up(arguments.quiet, arguments.services) if LOCAL else find(arguments.quiet, arguments.services),
         "down": down, "status": status, "serve": lambda: serve(*arguments.services)}[arguments.verb]()
