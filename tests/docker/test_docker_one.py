"""One of each service in containers: healthy by Compose alone, with the local stack's tables.

Run by: make test-docker              (one of each service: this file and test_docker_services.py)
        make test-docker CLUSTER=1    (then also the cluster: test_docker_three.py)

The files run in the order of their names. They need Docker; without it the tests fail, never skip.
"""

import json

import hdfs_native
import pytest

from docker_stacks import IMAGE, SERVICES, TABLES, but_kafkas_time, differences, sh
from stacks import answers, type_into

pytestmark = pytest.mark.timeout(3000)


def test_the_image_is_small_and_nothing_in_it_is_root(docker):
    assert int(sh("docker", "image", "inspect", "-f", "{{.Size}}", IMAGE)) < 1_500_000_000
    for service in SERVICES:
        assert docker.inside(service, "id", "-u").strip() not in ("0", ""), service
        top = sh("docker", "top", docker.container(service), "-o", "pid,uid,comm")
        processes = top.splitlines()[1:]
        assert processes and not [line for line in processes if line.split()[1] == "0"], processes
    images = {
        sh("docker", "inspect", "-f", "{{.Image}}", docker.container(service))
        for service in SERVICES
    }
    assert len(images) == 1


def test_only_this_machine_reaches_it(docker):
    inspect = ["docker", "inspect", "-f", "{{json .NetworkSettings.Ports}}"]
    published = [
        entry
        for service in SERVICES
        for entries in json.loads(sh(*inspect, docker.container(service))).values()
        for entry in entries or ()
    ]
    assert len(published) == 4 and {entry["HostIp"] for entry in published} == {"127.0.0.1"}


@pytest.mark.parametrize("table", TABLES)
def test_the_tables_equal_those_of_the_local_stack(both, docker, stack, table):
    """Compares all columns but the time at which each stack's Kafka received the record."""
    assert differences(stack, docker, "assessments", table, but_kafkas_time(table)) == [0, 0]


def test_make_all_says_what_the_local_one_says(both, docker, stack, real_file):
    """Both give the same answers to every question, and verify finds no difference."""
    assert "DIFFERS" not in both and both.count("== ") >= 10
    local = answers(stack.run("query", TOPIC="assessments"))
    assert len(local) > 100 and answers(both) == local


def test_a_second_make_all_builds_nothing_and_changes_nothing(both, docker, real_file):
    def ids():
        containers = (docker.container(name) for name in ("kafka", "namenode", "datanode", "spark"))
        return [sh("docker", "image", "inspect", "-f", "{{.Id}}", IMAGE), *containers]

    before = ids()
    said = docker.make("all", TOPIC="assessments", DATA=real_file.resolve())
    assert "Nothing was new" in said and "setup:" not in said
    assert before == ids()


def test_the_courses_habits_work(both, docker, real_file):
    describe = "kafka-topics --describe --topic assessments --bootstrap-server kafka:29092".split()
    assert "PartitionCount: 1" in docker.inside("kafka", *describe)
    assert "/warehouse/assessments/attempts" in docker.inside(
        "namenode", "hadoop", "fs", "-ls", "/warehouse/assessments"
    )
    consume = "kafkacat -C -b kafka:29092 -t assessments -o beginning -e -q -f '.\n' | wc -l"
    assert docker.inside("mids", "bash", "-c", consume).strip() == "3280"
    assert docker.inside("mids", "bash", "-c", "ls Makefile && jq --version").startswith(
        "Makefile\njq-"
    )
    pyspark = ["docker", "exec", "-it", docker.container("spark"), "pyspark"]
    line = 'print("rows:", spark.table("assessments.attempts").count())'
    type_into(pyspark, ">>> ", line, "rows: 3242")
    # The assignment asks for this history.
    history = docker.inside("spark", "cat", "/root/.python_history")
    assert 'spark.table("assessments.attempts")' in history


def test_this_machine_reaches_kafka_and_the_datanode_by_the_published_ports(both, docker):
    consume = ["kcat", "-C", "-b", docker.kafka, "-t", "assessments"]
    sent = sh(*consume, "-o", "beginning", "-e", "-q", "-f", ".\n")
    assert len(sent.split()) == 3280
    # By name and published port, as on a machine that cannot reach Docker's network.
    client = hdfs_native.Client(docker.hdfs, {"dfs.client.use.datanode.hostname": "true"})
    log = "/warehouse/assessments/attempts/_delta_log/00000000000000000000.json"
    with client.read(log) as file:
        assert b"metaData" in file.read()


def test_make_shell_and_sql_open_inside(both, docker):
    select = "SELECT concat('rows: ', count(*)) FROM assessments.attempts;"
    for target, prompt, line, answer in (
        ("sql", "spark-sql .*> ", select, "rows: 3242"),
        ("shell", r"\$ ", "kafka-topics --list --bootstrap-server $KAFKA", "assessments"),
    ):
        type_into(docker.command(target, TOPIC="assessments"), prompt, line, answer)
