"""What goes wrong on a secured cluster: machines that die, tickets that end, wrong settings."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time

import psutil
import pytest

from cluster_stack import LIMIT_S
from stacks import answers, wait_until

pytestmark = pytest.mark.timeout(3000)
FEED = "synthetic_many"
MANY = 20_000
TICKET_LIVES_S = 120  # the pipeline's: secured.py


def output(path):
    return path.read_text(errors="replace")


def wait_for(path, text, process):
    wait_until(
        lambda: process.poll() is not None or re.search(text, output(path)),
        path.read_text,
        limit_s=LIMIT_S,
    )
    assert re.search(text, output(path)), output(path)


def has_executor(manager):
    """Whether one of Spark's executors runs below this NodeManager."""
    for child in psutil.Process(manager).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # shells come and go
            if "YarnCoarseGrainedExecutorBackend" in " ".join(child.cmdline()):
                return True
    return False


def kill_machine(pid):
    """Kills a NodeManager with all that runs below it, as when its machine dies."""
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def test_a_landing_survives_a_nodemanager_and_a_broker(cluster, stack, tmp_path):
    file = tmp_path / "many.json"
    stack.run("data", SYNTHETIC=MANY, SEED=5, DATA=file)
    cluster.customer(FEED, PARTITIONS=2)
    cluster.make("publish", account=f"{FEED}_publisher", TOPIC=FEED, DATA=file)
    said = tmp_path / "land.log"
    # Without the setting of its jars the session uploads them, as on a cluster that has none.
    client = client_without(cluster, "pipeline", tmp_path, "spark.jars")
    landing = cluster.start("land", said, TOPIC=FEED, CLIENT_CONF=client)
    pids = cluster.service_pids()
    managers = [pids["nodemanager"], pids["nodemanager2"]]
    # The NameNode's log tells when a task writes its first rows, of several thousand.
    log, created = cluster.log("namenode"), rf"cmd=create\s+src=/warehouse/{FEED}/options/part-"
    wait_for(log, created, landing)
    assert landing.poll() is None, output(said)
    kill_machine(next(filter(has_executor, managers)))
    os.kill(pids["kafka2"], signal.SIGKILL)
    landing.wait(LIMIT_S)
    cluster.servers("up")
    if landing.returncode:  # it may stop with a message; then the next one goes on
        assert "nothing is lost and nothing is doubled" in output(said), output(said)
        cluster.make("land", TOPIC=FEED)
    assert "DIFFERS" not in cluster.make("verify", TOPIC=FEED, DATA=file)
    count = f"deltalake.DeltaTable(settings.hdfs + '/warehouse/{FEED}/messages').count()"
    assert cluster.python("pipeline", count) == [["done", str(MANY)]]


@pytest.fixture(scope="module")
def following(cluster, tmp_path_factory):
    """make follow of the landed FEED, beside the tests: (process, output, when its ticket ends)"""
    said = tmp_path_factory.mktemp("follow") / "follow.log"
    process = cluster.start("follow", said, TOPIC=FEED, SPARK_MASTER="local[2]")
    ticket_ends = time.monotonic() + TICKET_LIVES_S
    yield process, said, ticket_ends
    os.killpg(process.pid, signal.SIGINT)
    process.wait(60)


def test_follow_begins(following):
    process, said, _ = following
    wait_for(said, "following topic", process)


def test_a_full_queue_is_named_and_every_question_answered_as_by_the_plain_stack(
    cluster, pearson, wiley, stack, tmp_path
):
    client = client_without(cluster, "pipeline", tmp_path, "spark.yarn.am.memory")
    with open(client / "spark-defaults.conf", "a") as settings:
        settings.write("\nspark.yarn.am.memory 3g\n")  # all that capacity-scheduler.xml allows
    said, asked = tmp_path / "follow.log", tmp_path / "query.log"
    following = cluster.start("follow", said, TOPIC=wiley, CLIENT_CONF=client)
    try:
        wait_for(said, "following topic", following)
        asking = cluster.start("query", asked, TOPIC=pearson)
        wait_for(asked, "yarn has not started this application within", asking)
    finally:
        os.killpg(following.pid, signal.SIGINT)
        following.wait(60)
    plain = answers(stack.run("query", TOPIC=pearson))
    assert asking.wait(LIMIT_S) == 0, output(asked)
    assert answers(output(asked)) == plain and len(plain) > 100


def client_without(cluster, account, tmp_path, *settings):
    """A copy of an account's folder, without the settings of Spark that begin so."""
    client = tmp_path / f"{account}-{len(settings)}"
    shutil.copytree(cluster.folder / "clients" / account, client)
    file = client / "spark-defaults.conf"
    kept = [line for line in output(file).splitlines() if not line.startswith(settings)]
    file.write_text("\n".join(kept))
    return client


def test_without_a_keytab_an_ended_ticket_is_named(cluster, wiley, tmp_path):
    client = client_without(cluster, "pipeline", tmp_path, "spark.kerberos")
    ticket = tmp_path / "ticket"
    keytab = cluster.folder / "keytabs/pipeline"
    kinit = ["kinit", "-l", "5s", "-c", ticket, "-k", "-t", keytab, "pipeline"]
    subprocess.run(kinit, check=True)
    knobs = {"TOPIC": wiley, "CLIENT_CONF": client, "SPARK_MASTER": "local[2]"}
    time.sleep(6)
    os.environ["KRB5CCNAME"] = str(ticket)
    try:
        said = cluster.make("land", ok=False, **knobs)
        assert "get a ticket: kinit" in said, said
        subprocess.run(["kinit", "-c", ticket, "-k", "-t", keytab, "pipeline"], check=True)
        cluster.make("land", **knobs)
    finally:
        del os.environ["KRB5CCNAME"]


def test_wrong_passwords_and_unknown_authorities_are_named(cluster, wiley, tmp_path):
    client = client_without(cluster, "pipeline", tmp_path)
    right = output(client / "client.properties")
    (client / "client.properties").write_text(re.sub('password="[^"]*"', 'password="x"', right))
    said = cluster.make("land", ok=False, TOPIC=wiley, CLIENT_CONF=client)
    assert "refuses this account" in said and "AuthenticationFailed" in said, said
    assert "does not know this name with this password" in said
    other = tmp_path / "other.pem"
    subject = ["-subj", "/CN=other", "-keyout", tmp_path / "key", "-out", other]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", *subject], check=True
    )
    ours = str(cluster.folder / "tls/ca.pem")
    (client / "client.properties").write_text(right.replace(ours, str(other)))
    said = cluster.make("land", ok=False, TOPIC=wiley, CLIENT_CONF=client)
    assert re.search("[Cc]ertificate|CERTIFICATE", said), said


def test_a_clock_that_is_off_is_named(cluster, wiley, tmp_path):
    off = ["faketime", "-f", "+20m"]  # Kerberos allows five minutes
    programs = tmp_path / "bin"
    programs.mkdir()
    kinit = programs / "kinit"
    kinit.write_text(f'#!/bin/sh\nexec {" ".join(off)} {shutil.which("kinit")} "$@"\n')
    kinit.chmod(0o755)
    said = cluster.client("bob", "true", PATH=f"{programs}:{os.environ['PATH']}").stdout
    assert "Clock skew" in said and "this machine's clock" in said, said
    # With a ticket of the user's own. MIT's kinit corrects the clock in silence, Java does not.
    client = client_without(cluster, "bob", tmp_path, "spark.kerberos")
    ticket = {"KRB5CCNAME": str(tmp_path / "ticket"), "CLIENT_CONF": str(client), "TOPIC": wiley}
    keytab = cluster.folder / "keytabs/bob"
    subprocess.run([*off, "kinit", "-k", "-t", keytab, "bob"], check=True, env=os.environ | ticket)
    said = cluster.client("bob", *off, "python", "scripts/query.py", **ticket).stdout
    assert "Clock skew" in said and "set this machine's clock" in said, said


def test_follow_outlives_its_ticket_by_the_keytab(cluster, following, stack, tmp_path):
    process, said, ticket_ends = following
    file = tmp_path / "later.json"
    stack.run("data", SYNTHETIC=20, SEED=11, DATA=file)
    time.sleep(max(0, ticket_ends + 30 - time.monotonic()))
    cluster.make("publish", account=f"{FEED}_publisher", TOPIC=FEED, DATA=file)
    wait_for(said, r":\d\d +20 ", process)


def test_no_port_is_open_to_other_machines(cluster):
    everywhere = []
    pids = {name: pid for name, pid in cluster.service_pids().items() if psutil.pid_exists(pid)}
    assert len(pids) >= 8, pids
    for name, pid in pids.items():
        for connection in psutil.Process(pid).net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.ip not in (
                "127.0.0.1",
                "::ffff:127.0.0.1",
            ):
                everywhere.append((name, connection.laddr))
    assert everywhere == []
