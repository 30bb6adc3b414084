"""Services that already run in containers, used with STACK=cluster, also with a password."""

import contextlib
import os
import re
import subprocess
import time

import pytest

from docker_stacks import IMAGE, TABLES, but_kafkas_time, differences, sh
from reader import connect, jdbc
from stacks import ROOT

pytestmark = pytest.mark.timeout(3000)


def docker_run(network):
    """Returns the start of a command line: docker run, with this project mounted read-only."""
    user = f"{os.getuid() or 1000}:0"
    run = ["docker", "run", "--rm", "--init", "--user", user, "--network", network]
    return [*run, "--volume", f"{ROOT}:/w205:ro"]


def outsider(network, *make, **knobs):
    """Runs make in a container on the stack's network that is not one of its services."""
    command = ["make", *make, "STACK=cluster", *(f"{name}={knobs[name]}" for name in knobs)]
    return sh(*docker_run(network), "--workdir", "/w205", IMAGE, *command)


def test_services_that_run_already_are_used_and_never_stopped(both, docker, stack, tmp_path):
    """Uses STACK=cluster from a separate container."""
    where = {
        "KAFKA": "kafka:29092",
        "HDFS": "hdfs://namenode:8020",
        "RUN_DIR": "/opt/pipeline/.run",
    }
    network = f"{docker.project}_default"
    docker.make("data", SYNTHETIC=500, SEED=9, DATA="data/test-docker.json")
    feed = {"TOPIC": "synthetic_out", "DATA": "data/test-docker.json"}
    said = outsider(network, "all", **where, **feed)
    assert (
        "answers: 1 broker" in said
        and "500 sent" in said
        and "DIFFERS" not in said
        and "make sql STACK=cluster KAFKA=kafka:29092" in said
    )
    assert "nothing to stop" in outsider(network, "down", **where)
    docker.wait_healthy("kafka", "namenode", "datanode")
    with pytest.raises(AssertionError, match="hdfs does not answer at HDFS=hdfs://nobody:8020"):
        outsider(network, "up", **{**where, "HDFS": "hdfs://nobody:8020"})
    stack.run("publish land", TOPIC="synthetic_out", DATA=ROOT / "data/test-docker.json")
    for table in TABLES:
        assert differences(stack, docker, "synthetic_out", table, but_kafkas_time(table)) == [0, 0]


def test_a_kafka_that_asks_for_a_password_gets_it_from_the_file_and_nobody_else_does(
    both, docker, tmp_path
):
    """Starts a broker whose only listener requires SASL; all four kinds of client use it."""
    secret = f"s3cret{time.time_ns()}"
    login = (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        f'username="alice" password="{secret}"'
    )
    with (
        sealed(tmp_path / "broker") as broker,
        sealed(tmp_path / "client") as client,
        sealed(tmp_path / "wrong") as wrong,
    ):
        (broker / "server.properties").write_text(
            (ROOT / "conf/kafka/server.properties").read_text()
            + f"""
listener.security.protocol.map=INSIDE:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.inside.plain.sasl.jaas.config={login} user_alice="{secret}";
"""
        )
        for folder, said in ((client, secret), (wrong, "guess")):
            (folder / "client.properties").write_text(
                "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"
                f"sasl.jaas.config={login.replace(secret, said)};\n"
            )
        network = f"{docker.project}_default"
        name = f"{docker.project}-sealed"
        settings = {
            "STACK": "cluster",
            "KAFKA": "sealed:29092",
            "HDFS": "hdfs://namenode:8020",
            "KAFKA_NODE_ID": "1",
            "KAFKA_LISTENERS": "INSIDE://:29092,CONTROLLER://:29093",
            "KAFKA_ADVERTISED": "INSIDE://sealed:29092,CONTROLLER://sealed:29093",
            "KAFKA_CONTROLLERS": "sealed:29093",
            "KAFKA_COPIES": "1",
            "KAFKA_MIN_COPIES": "1",
        }
        conf = "/opt/pipeline/conf/kafka/server.properties"
        sh(
            *f"docker run --detach --rm --init --name {name} --hostname sealed".split(),
            *f"--network {network} --network-alias sealed --workdir /opt/pipeline".split(),
            *("--volume", f"{broker / 'server.properties'}:{conf}:ro"),
            *(word for item in settings.items() for word in ("--env", "=".join(item))),
            *(IMAGE, "python", "-m", "pipeline.stack.servers", "kafka"),
        )
        try:
            docker.make("data", SYNTHETIC=300, SEED=4, DATA="data/test-sealed.json")
            where = {
                "KAFKA": "sealed:29092",
                "HDFS": "hdfs://namenode:8020",
                "TOPIC": "synthetic_sealed",
                "DATA": "data/test-sealed.json",
                "BACKUP": "/tmp/sealed.tar",
                "RUN_DIR": "/opt/pipeline/.run",
            }

            def make(folder, *targets, **others):
                knobs = " ".join(f"{knob}={value}" for knob, value in {**where, **others}.items())
                script = (
                    f"make {' '.join(targets)} STACK=cluster CLIENT_CONF=/settings {knobs}; "
                    "code=$?; echo; echo LOGS; cat /opt/pipeline/.run/logs/*; exit $code"
                )
                return subprocess.run(
                    [
                        *(*docker_run(network), "--volume", f"{folder}:/settings:ro"),
                        *("--workdir", "/w205", IMAGE, "bash", "-c", script),
                    ],
                    text=True,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    timeout=1200,
                )

            done = make(client, "up", "topic", "publish", "consume", "land", "verify", "backup")
            assert done.returncode == 0, done.stdout
            assert (
                "300 sent" in done.stdout
                and "landed in" in done.stdout
                and "DIFFERS" not in done.stdout
                and "/tmp/sealed.tar: feed synthetic_sealed" in done.stdout
            )
            assert secret not in done.stdout
            # Restores a feed of the other Kafka here, with its tables in another folder: restore
            # then publishes the records itself.
            docker.make("backup", TOPIC="assessments", BACKUP=ROOT / "data/test-sealed.tar")
            done = make(
                client,
                "restore",
                "land",
                TOPIC="assessments",
                BACKUP="data/test-sealed.tar",
                WAREHOUSE="/warehouse_sealed",
            )
            assert done.returncode == 0, done.stdout
            assert (
                "3,280 of 3,280" in done.stdout and "nothing new: all 3,280 records" in done.stdout
            )
            assert secret not in done.stdout
            done = make(wrong, "up")
            assert (
                done.returncode != 0
                and "kafka at KAFKA=sealed:29092 refuses this account" in done.stdout
                and "does not know this name with this password" in done.stdout
            ), done.stdout
        finally:
            subprocess.run(["docker", "rm", "-f", name], capture_output=True)
            (ROOT / "data/test-sealed.tar").unlink(missing_ok=True)


@contextlib.contextmanager
def sealed(folder):
    """A folder for settings that group 0, the group of the image's user, may read; then deleted."""
    folder = ROOT / ".run-test-docker" / folder.name
    umask = os.umask(0o027)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        os.umask(umask)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def test_the_server_of_make_serve_answers_this_machine(both, docker, real_file):
    assert "sc://localhost:" in docker.make("serve")
    count = "SELECT count(*) FROM assessments.attempts"
    drop = "DROP TABLE assessments.attempts"
    (attempts, refused) = connect(docker, "assessments", count, drop)
    assert attempts == [[3242]] and "This server only answers queries" in refused
    assert "\n3242\n" in jdbc(docker, "assessments", count)
    assert "UNAUTHENTICATED" in connect(docker, "assessments", count, secret="wrong")[0]


def test_down_keeps_the_data_and_what_is_landed(both, docker, stack, real_file):
    docker.make("down")
    assert not docker.container("kafka") and not docker.container("serve")
    docker.make("up")
    assert differences(stack, docker, "assessments", "attempts") == [0, 0]
    assert "nothing new: all 3,280 records" in docker.make("land", TOPIC="assessments")
    assert re.search(r"assessments +0 +3,280 +3,280 +0", docker.make("status"))
