"""Stacks in containers, and the comparison of their tables with those of another stack."""

import re
import subprocess
import time

import deltalake
import duckdb

from pipeline.stack.ports import free_ports
from stacks import ROOT, Stack, clean_environment

IMAGE = "tracking-user-activity"
SERVICES = ("kafka", "namenode", "datanode", "spark", "mids")
TABLES = ("messages", "attempts", "questions", "options")
SMALL = []  # the stack of one of each service, while it exists


def sh(*command, **more):
    """Runs a command that must succeed, and returns its output (both streams)."""
    done = subprocess.run(
        command,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        timeout=1500,
        **more,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


class Docker(Stack):
    """A stack of make … STACK=docker, with its own Compose project and ports."""

    limit_s = 1500

    def __init__(self, run_dir, **knobs):
        self.run_dir, self.root = run_dir, ROOT
        self.knobs = {"STACK": "docker", **knobs}
        port = free_ports(30)
        self.kafka, self.hdfs = f"127.0.0.1:{port}", f"hdfs://127.0.0.1:{port + 10}"
        self.project = (
            re.sub("[^a-z0-9_-]", "", ROOT.name.lower())
            + re.sub("[^a-z0-9]", "-", run_dir)
            + ("-cluster" if "CLUSTER" in knobs else "")
        )

    def command(self, target, **knobs):
        return super().command(target, **{**self.knobs, **knobs})

    def container(self, service):
        """Returns the id of the running container of a service, or ''."""
        return self.containers(service, "-q", "label=com.docker.compose.oneoff=False")

    def containers(self, service, option, *filters):
        """Returns the ids that `docker ps OPTION` prints for a service of this project."""
        labels = {"project": self.project, "service": service}
        filters = [*(f"label=com.docker.compose.{key}={labels[key]}" for key in labels), *filters]
        words = [word for each in filters for word in ("--filter", each)]
        return sh("docker", "ps", option, *words).strip()

    def inside(self, service, *command):
        """Returns what `docker exec` prints for a command in the container of a service."""
        return sh("docker", "exec", self.container(service), *command)

    def wait_healthy(self, *services, limit_s=300):
        limit = time.monotonic() + limit_s
        while True:
            state = {service: self.health(service) for service in services}
            if set(state.values()) == {"healthy"}:
                return
            assert time.monotonic() < limit, state
            time.sleep(1)

    def health(self, service):
        container = self.container(service)
        if not container:
            return "none"
        return sh("docker", "inspect", "-f", "{{.State.Health.Status}}", container).strip()

    def clean(self):
        self.make("clean", ok=None, YES=1)


def compose_alone(stack, *arguments):
    """Runs Compose as a user without make would, but with the stack's ports and project name."""
    port, hdfs = int(stack.kafka.split(":")[1]), int(stack.hdfs.rsplit(":", 1)[1])
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True)
    command = ["docker", "compose"] if plugin.returncode == 0 else ["docker-compose"]
    ports = {
        "KAFKA_PORT": str(port),
        "HDFS_PORT": str(hdfs),
        "NAMENODE_HTTP_PORT": str(hdfs + 1),
        "DATANODE_PORT": str(hdfs + 2),
    }
    return sh(*command, "-p", stack.project, *arguments, env=clean_environment() | ports)


def seconds(said):
    """Returns the lines of make all's output that hold the seconds of each step."""
    return " ".join(re.findall(r"^  \w+ +[\d.]+$", said.split("--- seconds")[1], re.MULTILINE))


def but_kafkas_time(table):
    """Returns the columns in which two stacks differ: when each Kafka received the record."""
    return ["kafka_timestamp"] if table == "messages" else ()


def differences(one, other, topic, table, without=()):
    """Returns how many rows of a table only `one` has, and how many only `other` has.

    without: the columns to ignore. Where these are the positions, the position in the reason of a
    duplicate is ignored too.
    """
    database = duckdb.connect()
    database.execute("set memory_limit = '2GB'")
    sides = {"one": one, "other": other}
    for name, stack in sides.items():
        database.register(
            f"{name}_rows",
            deltalake.DeltaTable(f"{stack.hdfs}/warehouse/{topic}/{table}").to_pyarrow_dataset(),
        )
        said = "columns(* exclude (" + ", ".join(without) + "))" if without else "*"
        database.execute(f"create view {name} as select {said} from {name}_rows")
        if "kafka_offset" in without and table == "messages":
            excluded = ", ".join((*without, "reason"))
            database.execute(
                f"create or replace view {name} as select columns(* exclude ({excluded})), "
                f"regexp_replace(reason, '[0-9]+-[0-9]+$', '') as reason from {name}_rows"
            )
    count = database.execute("select count(*) from one").fetchone()[0]
    assert count > 0 and count == database.execute("select count(*) from other").fetchone()[0]
    return [
        database.execute(
            f"select count(*) from (select * from {a} except all select * from {b})"
        ).fetchone()[0]
        for a, b in (("one", "other"), ("other", "one"))
    ]
