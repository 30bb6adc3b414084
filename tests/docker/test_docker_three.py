"""The cluster in containers: three brokers, three DataNodes, two workers. One of each is killed."""

import contextlib
import json
import re
import subprocess
import threading
import time

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from docker_stacks import SMALL, TABLES, Docker, differences, seconds, sh
from stacks import ROOT, clean_environment

pytestmark = pytest.mark.timeout(3000)
POSITION = ("kafka_partition", "kafka_offset")
MESSAGES = 120_000  # two batches of landing


@pytest.fixture(scope="module")
def cluster():
    for small in SMALL:  # no longer needed: frees memory
        small.make("down")
    stack = Docker(".run-test-docker", CLUSTER=1)
    stack.clean()
    try:
        print(stack.make("up"))
        yield stack
    finally:
        stack.clean()


class Running:
    """A running make target, whose output so far can be read."""

    def __init__(self, stack, target, **knobs):
        self.process = subprocess.Popen(
            stack.command(target, **knobs),
            cwd=ROOT,
            env=clean_environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        self.said = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.said += line

    def until(self, condition, what, limit_s=900):
        """Waits for the condition; fails if the target ends first."""
        limit = time.monotonic() + limit_s
        while not condition():
            assert self.process.poll() is None, f"it ended before {what}\n{self.said}"
            assert time.monotonic() < limit, f"{what}: not within {limit_s} s\n{self.said}"
            time.sleep(0.1)

    def kill(self, stack, service):
        """Kills a service with SIGKILL, as a crash would; it stays down until restarted."""
        sh("docker", "kill", stack.container(service))
        assert self.process.poll() is None, self.said
        print(f"killed {service} while this was at work; it had said:\n{self.said[-600:]}")

    def finish(self):
        assert self.process.wait(1500) == 0, self.said
        time.sleep(0.2)  # the reader thread's last line
        print(self.said[-1500:])
        return self.said


def sent_to(stack, topic):
    """Returns how many records the topic has, through the published ports of all three brokers."""
    host, port = stack.kafka.split(":")
    brokers = [f"{host}:{int(port) + plus}" for plus in range(3)]
    limit = time.monotonic() + 60
    while True:
        try:
            with contextlib.closing(KafkaConsumer(bootstrap_servers=brokers)) as consumer:
                numbers = consumer.partitions_for_topic(topic)
                partitions = [TopicPartition(topic, number) for number in numbers]
                return sum(consumer.end_offsets(partitions).values())
        except KafkaError:  # it asked the broker that was just killed
            assert time.monotonic() < limit


@pytest.mark.cluster
def test_make_all_runs_on_the_cluster_unchanged(cluster, stack, real_file):
    said = cluster.make("all", TOPIC="on_cluster", DATA=real_file.resolve())
    print("cluster:", seconds(said))
    assert (
        "PartitionCount: 3\tReplicationFactor: 3" in said
        and "spark://spark-master:7077" in said
        and "DIFFERS" not in said
    )
    # Three copies of each block, on three DataNodes.
    assert "Average block replication:\t3.0" in cluster.inside(
        "namenode", "hdfs", "fsck", "/warehouse/on_cluster"
    )
    # Executors of both workers did the work, not the driver.
    for worker in ("spark-worker-1", "spark-worker-2"):
        assert "executor" in cluster.inside(
            worker, "bash", "-c", "ls -d /tmp/spark-work/app-*/*/stderr | sed s/stderr/executor/"
        )
    stack.run("publish land", TOPIC="on_cluster", DATA=real_file.resolve())
    for table in TABLES:
        without = {"messages": [*POSITION, "kafka_timestamp"], "attempts": POSITION}.get(table, ())
        assert differences(stack, cluster, "on_cluster", table, without) == [0, 0], table


@pytest.mark.cluster
def test_a_broker_a_worker_and_a_datanode_die_at_work_and_nothing_is_lost(cluster, stack):
    path = ROOT / "data" / "test-docker.jsonl"
    stack.run("data", SYNTHETIC=MESSAGES, SEED=5, DATA=path)
    topic = "synthetic_cluster"

    # First a broker, during publishing: it leads one of the three partitions, and is a controller.
    cluster.make("topic", TOPIC=topic)
    describe = f"kafka-topics --describe --topic {topic} --bootstrap-server kafka:29092".split()
    assert "Leader: 2" in cluster.inside("kafka", *describe)
    publish = Running(cluster, "publish", TOPIC=topic, DATA=path)
    publish.until(lambda: 2_000 < sent_to(cluster, topic), "the first messages were in the topic")
    publish.kill(cluster, "kafka-2")
    assert f"0 messages before, {MESSAGES} after" not in publish.said, (
        "publishing was over when the broker died"
    )
    assert f"0 messages before, {MESSAGES} after: {MESSAGES} sent" in publish.finish()
    cluster.make("up")  # starts it again
    cluster.wait_healthy("kafka-2")

    # Then a worker while its executor runs tasks, and a DataNode that is being written to.
    land = Running(cluster, "land", TOPIC=topic)

    def executor_ticks():
        """Returns the CPU time of the worker's executor and its Python workers, in 1/100 s.

        0 when there is none.
        """
        times = (
            "for pid in $(pgrep -f 'CoarseGrainedExecutorBackend|pyspark[.]daemon'); "
            "do cut -d' ' -f14,15 /proc/$pid/stat; done"
        )
        command = ["docker", "exec", cluster.container("spark-worker-1"), "bash", "-c", times]
        said = subprocess.run(command, text=True, capture_output=True).stdout
        return sum(map(int, said.split()))

    land.until(lambda: "\nbatch " in land.said, "the first batch began")
    begin = executor_ticks()
    land.until(
        lambda: begin and executor_ticks() > begin + 100 or not begin and executor_ticks() > 1000,
        "the executor had worked for a second",
    )
    assert not re.search(r"^ +0 ", land.said, re.MULTILINE), (
        "the first batch was over when the worker died"
    )
    land.kill(cluster, "spark-worker-1")
    land.until(
        lambda: re.search(r"^ +0  0: ", land.said, re.MULTILINE),
        "the first batch ended without that worker",
    )
    sh("docker", "start", cluster.containers("spark-worker-1", "-aq"))

    def written():
        metrics = "http://localhost:8123/jmx?qry=Hadoop:service=DataNode,name=DataNodeActivity*"
        said = json.loads(cluster.inside("datanode-2", "curl", "-sf", metrics))
        return said["beans"][0]["BytesWritten"]

    before = written()
    land.until(lambda: written() > before, "the DataNode was written to")
    land.kill(cluster, "datanode-2")
    said = land.finish()
    assert len(re.findall(r"^ +\d+  0: ", said, re.MULTILINE)) == 2  # batches

    assert "DIFFERS" not in cluster.make("verify", TOPIC=topic, DATA=path)
    stack.run("publish land", TOPIC=topic, DATA=path)
    for table in TABLES:
        without = {"messages": [*POSITION, "kafka_timestamp"], "attempts": POSITION}.get(table, ())
        assert differences(stack, cluster, topic, table, without) == [0, 0], table
