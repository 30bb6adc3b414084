"""The secured cluster of secured.py, and accounts that use it by Make targets and other clients."""

import contextlib
import json
import os
import shutil
import subprocess
import sys

import duckdb

from pipeline.stack.ports import free_ports
from stacks import ROOT, TABLES, Stack, clean_environment

PROGRAMS = {
    **{"krb5kdc": "krb5-kdc", "kadmin.local": "krb5-admin-server", "kinit": "krb5-user"},
    "faketime": "faketime",  # a clock that is off
}
LIMIT_S = 1200  # for one target: an application on YARN starts four JVMs, beside eight servers
# Runs Python statements as an account, each by itself; prints for each its value or its error.
CLIENT = """
import json, os, ssl, sys
import deltalake, hdfs_native
from pipeline import settings
from pipeline.kafka import security, topics
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import (ACL, ACLOperation, ACLPermissionType, ConfigResource, ConfigResourceType,
    NewTopic, ResourcePattern, ResourceType)
settings = settings.load()
hdfs = hdfs_native.Client(settings.hdfs)
said = []
for statement in json.load(sys.stdin):
    try:
        said.append(["done", repr(eval(statement))])
    except BaseException as error:
        said.append(["refused", f"{type(error).__name__}: {error}"])
print(json.dumps(said))
os._exit(0)
"""


class Cluster(Stack):
    """`make … STACK=cluster` on the secured cluster, as one of its accounts: account=…"""

    limit_s = LIMIT_S

    def __init__(self, run_dir):
        self.run_dir, self.root = run_dir, ROOT
        port = free_ports(40)
        self.knobs = {"RUN_DIR": run_dir, "KAFKA": f"127.0.0.1:{port}"}
        self.knobs["HDFS"] = self.hdfs = f"hdfs://127.0.0.1:{port + 10}"
        self.kafka = f"localhost:{port},localhost:{port + 3}"
        self.folder = ROOT / run_dir / "cluster"

    def servers(self, what):
        """Starts ("up") or stops ("down") the servers."""
        done = subprocess.run(
            [ROOT / "scripts/env.sh", "python", "tests/cluster/secured.py", what],
            cwd=ROOT,
            env=clean_environment() | self.knobs,
            text=True,
            capture_output=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def log(self, server):
        """The log of one of the servers."""
        return ROOT / self.run_dir / "logs" / f"{server}.log"

    def command(self, target, account="pipeline", **knobs):
        client = self.folder / "clients" / account
        knobs = {"STACK": "cluster", "CLIENT_CONF": client, "SPARK_MASTER": "yarn", **knobs}
        return super().command(target, **knobs)

    def client(self, account, *command, text=None, **environment):
        """Runs a command on the paths of `make shell`, as an account.

        Returns the finished process; its output holds both streams.
        """
        knobs = {
            **{"STACK": "cluster", "RUN_DIR": self.run_dir, "SPARK_MASTER": "local[2]"},
            **{"KAFKA": self.kafka, "HDFS": self.hdfs},
            "CLIENT_CONF": str(self.folder / "clients" / account),
        }
        return subprocess.run(
            [ROOT / "scripts/env.sh", *command],
            cwd=ROOT,
            env=clean_environment() | knobs | environment,
            input=text,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LIMIT_S,
        )

    def python(self, account, *statements, **environment):
        """Evaluates Python statements as an account. Returns [("done" or "refused", text), …]."""
        done = self.client(
            account, sys.executable, "-c", CLIENT, text=json.dumps(statements), **environment
        )
        assert done.returncode == 0, done.stdout
        return json.loads(done.stdout.splitlines()[-1])

    def customer(self, name, **knobs):
        """Makes a customer, and gives its publisher the file with the login."""
        said = self.make("customer", account="operator", NAME=name, REPLICATION=2, **knobs)
        login = ROOT / self.run_dir / "customers" / name / "client.properties"
        shutil.copy(login, self.folder / "clients" / f"{name}_publisher")
        return said


@contextlib.contextmanager
def secured(run_dir):
    """The cluster, with a warehouse that belongs to the account `pipeline`."""
    os.environ["PATH"] += ":/usr/sbin"  # where Debian has the KDC, and ordinary users do not look
    missing = {package for program, package in PROGRAMS.items() if not shutil.which(program)}
    needed = ["libbcprov-java", "libbcpkix-java", "libbcutil-java"]
    if missing or not os.path.exists("/usr/share/java/bcutil.jar"):
        packages = " ".join([*sorted(missing), *needed, "libsasl2-modules-gssapi-mit"])
        raise AssertionError(f"the secured cluster needs more: apt-get install {packages}")
    cluster = Cluster(run_dir)
    if (ROOT / run_dir / "cluster").exists():  # left by an interrupted run
        cluster.servers("down")
        shutil.rmtree(ROOT / run_dir)
    Stack.make(cluster, "setup", STACK="local", CLIENT_CONF="", KAFKA="127.0.0.1:29092")
    os.environ["KRB5_CONFIG"] = str(cluster.folder / "krb5.conf")
    try:
        cluster.servers("up")
        statements = [
            statement
            for path in ("/warehouse", "/user/pipeline")
            for statement in (
                f"hdfs.mkdirs('{path}', create_parent=True)",
                f"hdfs.set_owner('{path}', owner='pipeline')",
            )
        ]
        made = cluster.python("operator", *statements)
        assert all(done == "done" for done, _ in made), made
        yield cluster
    finally:
        cluster.make("down", ok=None)
        cluster.servers("down")
        del os.environ["KRB5_CONFIG"]
        shutil.rmtree(ROOT / run_dir)


def exported(stack, topic, folder):
    """{table: its Parquet file} of a feed, written by make export into a new folder."""
    stack.run("export", TOPIC=topic, OUT=folder)
    return {table: folder / f"{table}.parquet" for table in TABLES}


def differences(one, other):
    """How many rows of a table's file only `one` has, and how many only `other` has.

    When each Kafka received a record is left out.
    """

    def rows(file):
        names = duckdb.sql(f"describe select * from '{file}'").fetchall()
        columns = [name for name, *_ in names if name != "kafka_timestamp"]
        return f"select {', '.join(columns)} from '{file}'"

    return [
        duckdb.sql(f"select count(*) from ({rows(a)} except all {rows(b)})").fetchall()[0][0]
        for a, b in ((one, other), (other, one))
    ]
