"""The stack in containers: healthy by Compose alone, and its tables equal those of the local stack row by row.

Run by: make test-docker              (one of each service)
        make test-docker CLUSTER=1    (the cluster too, with a broker, a worker and a DataNode killed at work)

Needs Docker; without it these tests fail, they are never skipped.
"""
import contextlib
import json
import os
import re
import subprocess
import threading
import time

import deltalake
import duckdb
import hdfs_native
import pexpect
import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

import conftest
from conftest import ROOT, Stack, clean_environment, free_ports

pytestmark = pytest.mark.timeout(3000)
IMAGE = "tracking-user-activity"
TABLES = ("messages", "attempts", "questions", "options")
POSITION = ("kafka_partition", "kafka_offset")
MESSAGES = 120_000  # two batches of landing
SMALL = []  # the stack of one of each service, once it was made


def sh(*command, **more):
    """Runs a command that must succeed; returns its output (both streams)."""
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT, timeout=1500, **more)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


class Docker(Stack):
    """make … STACK=docker, under a project name and ports of its own."""

    def __init__(self, run_dir, **knobs):
        self.run_dir, self.knobs = run_dir, {"STACK": "docker", **knobs}
        port = free_ports(30)
        self.kafka, self.hdfs = f"127.0.0.1:{port}", f"hdfs://127.0.0.1:{port + 10}"
        self.project = re.sub("[^a-z0-9_-]", "", ROOT.name.lower()) + re.sub("[^a-z0-9]", "-", run_dir) + ("-cluster" if "CLUSTER" in knobs else "")

    def command(self, target, **knobs):
        return super().command(target, **{**self.knobs, **knobs})

    def make(self, target, ok=True, **knobs):
        done = subprocess.run(self.command(target, **knobs), cwd=ROOT, env=clean_environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=1500)
        if ok is not None:
            assert (done.returncode == 0) == ok and "Traceback" not in done.stdout, f"{target}\n{done.stdout}"
        return done.stdout

    def container(self, service):
        return sh("docker", "ps", "-q", "--filter", f"label=com.docker.compose.project={self.project}", "--filter", f"label=com.docker.compose.service={service}",
                  "--filter", "label=com.docker.compose.oneoff=False").strip()

    def inside(self, service, *command):
        """What `docker compose exec SERVICE COMMAND` prints."""
        return sh("docker", "exec", self.container(service), *command)

    def wait_healthy(self, *services, limit_s=300):
        limit = time.monotonic() + limit_s
        while True:
            state = {service: sh("docker", "inspect", "-f", "{{.State.Health.Status}}", self.container(service)).strip() if self.container(service) else "none" for service in services}
            if set(state.values()) == {"healthy"}:
                return
            assert time.monotonic() < limit, state
            time.sleep(1)

    def clean(self):
        self.make("clean", ok=None, YES=1)


def compose_alone(stack, *arguments):
    """Compose as somebody without make would type it, but for other ports and another name."""
    port, hdfs = int(stack.kafka.split(":")[1]), int(stack.hdfs.rsplit(":", 1)[1])
    command = ["docker", "compose"] if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0 else ["docker-compose"]
    return sh(*command, "-p", stack.project, *arguments, env=clean_environment() | {
        "KAFKA_PORT": str(port), "HDFS_PORT": str(hdfs), "NAMENODE_HTTP_PORT": str(hdfs + 1), "DATANODE_PORT": str(hdfs + 2)})


@pytest.fixture(scope="module")
def docker():
    """One of each service, brought up by Compose alone."""
    stack = Docker(".run-test-docker")
    stack.clean()
    try:
        if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True).returncode == 0:
            stack.make("setup")  # made from other files? then it is made anew; otherwise Compose makes it
        print(compose_alone(stack, "up", "-d")[-300:])
        stack.wait_healthy("kafka", "namenode", "datanode", "spark", "mids")
        SMALL.append(stack)
        yield stack
    finally:
        SMALL.clear()
        stack.clean()


@pytest.fixture(scope="module")
def both(docker, stack, real_file):
    """The real file in both stacks; the output of make all on Docker."""
    topic = "assessments"
    print("local:", seconds(stack.make("all", TOPIC=topic, DATA=real_file.resolve())))
    said = docker.make("all", TOPIC=topic, DATA=real_file.resolve())
    print("docker:", seconds(said))
    return said


def seconds(said):
    """What make all says of its steps' times."""
    return " ".join(re.findall(r"^  \w+ +[\d.]+$", said.split("--- seconds")[1], re.MULTILINE))


def differences(one, other, topic, table, without=()):
    """Rows of one table that the other has not, and the reverse; each as often as it is there. In duplicates' reasons
    the position of the first delivery is left out where positions are."""
    database = duckdb.connect()
    database.execute("set memory_limit = '2GB'")
    sides = {"one": one, "other": other}
    for name, stack in sides.items():
        database.register(f"{name}_rows", deltalake.DeltaTable(f"{stack.hdfs}/warehouse/{topic}/{table}").to_pyarrow_dataset())
        said = "columns(* exclude (" + ", ".join(without) + "))" if without else "*"
        database.execute(f"create view {name} as select {said} from {name}_rows")
        if "kafka_offset" in without and table == "messages":
            database.execute(f"create or replace view {name} as select columns(* exclude ({', '.join((*without, 'reason'))})), regexp_replace(reason, '[0-9]+-[0-9]+$', '') as reason from {name}_rows")
    count = database.execute("select count(*) from one").fetchone()[0]
    assert count > 0 and count == database.execute("select count(*) from other").fetchone()[0]
    return [database.execute(f"select count(*) from (select * from {a} except all select * from {b})").fetchone()[0] for a, b in (("one", "other"), ("other", "one"))]


def test_the_image_is_small_and_nothing_in_it_is_root(docker):
    assert int(sh("docker", "image", "inspect", "-f", "{{.Size}}", IMAGE)) < 1_500_000_000
    for service in ("kafka", "namenode", "datanode", "spark", "mids"):
        assert docker.inside(service, "id", "-u").strip() not in ("0", ""), service
        processes = sh("docker", "top", docker.container(service), "-o", "pid,uid,comm").splitlines()[1:]
        assert processes and not [line for line in processes if line.split()[1] == "0"], processes
    assert len({sh("docker", "inspect", "-f", "{{.Image}}", docker.container(service)) for service in ("kafka", "namenode", "datanode", "spark", "mids")}) == 1


def test_only_this_machine_reaches_it(docker):
    published = [entry for service in ("kafka", "namenode", "datanode", "spark", "mids")
                 for entries in json.loads(sh("docker", "inspect", "-f", "{{json .NetworkSettings.Ports}}", docker.container(service))).values() for entry in entries or ()]
    assert len(published) == 4 and {entry["HostIp"] for entry in published} == {"127.0.0.1"}


@pytest.mark.parametrize("table", TABLES)
def test_the_tables_equal_those_of_the_local_stack(both, docker, stack, table):
    """Every column of every row; but for the time at which each stack's own Kafka got the record."""
    assert differences(stack, docker, "assessments", table, without=["kafka_timestamp"] if table == "messages" else ()) == [0, 0]


def test_make_all_says_what_the_local_one_says(both, docker, stack, real_file):
    """The same answers to every question, and no difference in verify."""
    assert "DIFFERS" not in both and both.count("== ") >= 10
    rows = re.compile(r"^[|+].*", re.MULTILINE)
    local = stack.make("query", TOPIC="assessments")
    assert len(rows.findall(local)) > 100 and rows.findall(both) == rows.findall(local)


def test_a_second_make_all_builds_nothing_and_changes_nothing(both, docker, real_file):
    before = [sh("docker", "image", "inspect", "-f", "{{.Id}}", IMAGE), *(docker.container(service) for service in ("kafka", "namenode", "datanode", "spark"))]
    said = docker.make("all", TOPIC="assessments", DATA=real_file.resolve())
    assert "Nothing was new" in said and "setup:" not in said
    assert before == [sh("docker", "image", "inspect", "-f", "{{.Id}}", IMAGE), *(docker.container(service) for service in ("kafka", "namenode", "datanode", "spark"))]


def test_the_courses_habits_work(both, docker, real_file):
    assert "PartitionCount: 1" in docker.inside("kafka", "kafka-topics", "--describe", "--topic", "assessments", "--bootstrap-server", "kafka:29092")
    assert "/warehouse/assessments/attempts" in docker.inside("namenode", "hadoop", "fs", "-ls", "/warehouse/assessments")
    assert docker.inside("mids", "bash", "-c", "kafkacat -C -b kafka:29092 -t assessments -o beginning -e -q -f '.\n' | wc -l").strip() == "3280"
    assert docker.inside("mids", "bash", "-c", "ls Makefile && jq --version").startswith("Makefile\njq-")
    shell = pexpect.spawn("docker", ["exec", "-it", docker.container("spark"), "pyspark"], timeout=240, encoding="utf-8")
    shell.expect(">>> ")
    shell.sendline('print("rows:", spark.table("assessments.attempts").count())')
    shell.expect("rows: 3242")
    shell.expect(">>> ")
    shell.sendeof()
    shell.expect(pexpect.EOF)
    assert 'spark.table("assessments.attempts")' in docker.inside("spark", "cat", "/root/.python_history")  # as the assignment asks


def test_this_machine_reaches_kafka_and_the_datanode_by_the_published_ports(both, docker):
    sent = sh("kcat", "-C", "-b", docker.kafka, "-t", "assessments", "-o", "beginning", "-e", "-q", "-f", ".\n")
    assert len(sent.split()) == 3280
    # By name and published port, as on a machine that has no way into Docker's network.
    client = hdfs_native.Client(docker.hdfs, {"dfs.client.use.datanode.hostname": "true"})
    log = "/warehouse/assessments/attempts/_delta_log/00000000000000000000.json"
    with client.read(log) as file:
        assert b"metaData" in file.read()


def test_make_shell_and_sql_open_inside(both, docker):
    for target, prompt, line, answer in (("sql", "spark-sql .*> ", "SELECT concat('rows: ', count(*)) FROM assessments.attempts;", "rows: 3242"),
                                         ("shell", r"\$ ", "kafka-topics --list --bootstrap-server $KAFKA", "assessments")):
        make, *arguments = docker.command(target, TOPIC="assessments")
        shell = pexpect.spawn(make, arguments, cwd=ROOT, env=clean_environment(), timeout=300, encoding="utf-8")
        shell.expect(prompt)
        shell.sendline(line)
        shell.expect(f"[\r\n]{answer}")
        shell.expect(prompt)
        shell.sendeof()
        shell.expect(pexpect.EOF)


def outsider(stack, network, *make, **knobs):
    """make in a container that is no part of the stack: no compose service, only a client on the same network."""
    return sh("docker", "run", "--rm", "--init", "--user", f"{os.getuid() or 1000}:0", "--network", network, "--volume", f"{ROOT}:/w205:ro", "--workdir", "/w205", IMAGE,
              "make", *make, "STACK=cluster", *(f"{name}={value}" for name, value in knobs.items()))


def test_services_that_run_already_are_used_and_never_stopped(both, docker, stack, tmp_path):
    """STACK=cluster, from a container of its own."""
    where = dict(KAFKA="kafka:29092", HDFS="hdfs://namenode:8020", RUN_DIR="/opt/pipeline/.run")
    network = f"{docker.project}_default"
    docker.make("data", SYNTHETIC=500, SEED=9, DATA="data/test-docker.json")
    said = outsider(docker, network, "all", **where, TOPIC="synthetic_out", DATA="data/test-docker.json")
    assert "answers: 1 broker" in said and "500 sent" in said and "DIFFERS" not in said and "make sql STACK=cluster KAFKA=kafka:29092" in said
    assert "nothing to stop" in outsider(docker, network, "down", **where)
    docker.wait_healthy("kafka", "namenode", "datanode")
    with pytest.raises(AssertionError, match="hdfs does not answer at HDFS=hdfs://nobody:8020"):
        outsider(docker, network, "up", **{**where, "HDFS": "hdfs://nobody:8020"})
    stack.make("data", SYNTHETIC=500, SEED=9, DATA=ROOT / "data/test-docker.json")
    stack.make("publish land", TOPIC="synthetic_out", DATA=ROOT / "data/test-docker.json")
    for table in TABLES:
        assert differences(stack, docker, "synthetic_out", table, without=["kafka_timestamp"] if table == "messages" else ()) == [0, 0]


def test_a_kafka_that_asks_for_a_password_gets_it_from_the_file_and_nobody_else_does(both, docker, tmp_path):
    """A broker of its own whose one door asks for SASL; all four kinds of client go through it."""
    secret = f"s3cret{time.time_ns()}"
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required username="alice" password="{secret}"'
    with sealed(tmp_path / "broker") as broker, sealed(tmp_path / "client") as client, sealed(tmp_path / "wrong") as wrong:
        (broker / "server.properties").write_text((ROOT / "conf/kafka/server.properties").read_text() + f"""
listener.security.protocol.map=INSIDE:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.inside.plain.sasl.jaas.config={login} user_alice="{secret}";
""")
        for folder, said in ((client, secret), (wrong, "guess")):
            (folder / "client.properties").write_text(f"security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={login.replace(secret, said)};\n")
        network = f"{docker.project}_default"
        name = f"{docker.project}-sealed"
        sh("docker", "run", "--detach", "--rm", "--init", "--name", name, "--hostname", "sealed", "--network", network, "--network-alias", "sealed", "--workdir", "/opt/pipeline",
           "--volume", f"{broker / 'server.properties'}:/opt/pipeline/conf/kafka/server.properties:ro", "--env", "STACK=cluster", "--env", "KAFKA=sealed:29092", "--env", "HDFS=hdfs://namenode:8020",
           "--env", "KAFKA_NODE_ID=1", "--env", "KAFKA_LISTENERS=INSIDE://:29092,CONTROLLER://:29093", "--env", "KAFKA_ADVERTISED=INSIDE://sealed:29092,CONTROLLER://sealed:29093",
           "--env", "KAFKA_CONTROLLERS=sealed:29093", "--env", "KAFKA_COPIES=1", "--env", "KAFKA_MIN_COPIES=1", IMAGE, "python", "scripts/stack.py", "serve", "kafka")
        try:
            docker.make("data", SYNTHETIC=300, SEED=4, DATA="data/test-sealed.json")
            where = dict(KAFKA="sealed:29092", HDFS="hdfs://namenode:8020", TOPIC="synthetic_sealed", DATA="data/test-sealed.json", BACKUP="/tmp/sealed.tar", RUN_DIR="/opt/pipeline/.run")
            def make(folder, *targets, **others):
                knobs = " ".join(f"{knob}={value}" for knob, value in {**where, **others}.items())
                return subprocess.run(["docker", "run", "--rm", "--init", "--user", f"{os.getuid() or 1000}:0", "--network", network, "--volume", f"{ROOT}:/w205:ro", "--volume", f"{folder}:/settings:ro",
                                       "--workdir", "/w205", IMAGE, "bash", "-c", f"make {' '.join(targets)} STACK=cluster CLIENT_CONF=/settings {knobs}; code=$?; "
                                       "echo; echo LOGS; cat /opt/pipeline/.run/logs/*; exit $code"], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1200)
            done = make(client, "up", "topic", "publish", "consume", "land", "verify", "backup")
            assert done.returncode == 0, done.stdout
            assert "300 sent" in done.stdout and "landed in" in done.stdout and "DIFFERS" not in done.stdout and "/tmp/sealed.tar: feed synthetic_sealed" in done.stdout
            assert secret not in done.stdout
            # A feed of the other Kafka is restored in this one, its tables under another folder: then restore sends the records itself.
            docker.make("backup", TOPIC="assessments", BACKUP=ROOT / "data/test-sealed.tar")
            done = make(client, "restore", "land", TOPIC="assessments", BACKUP="data/test-sealed.tar", WAREHOUSE="/warehouse_sealed")
            assert done.returncode == 0, done.stdout
            assert "3,280 of 3,280" in done.stdout and "nothing new: all 3,280 records" in done.stdout
            assert secret not in done.stdout
            done = make(wrong, "up")
            assert done.returncode != 0 and "kafka does not answer at KAFKA=sealed:29092" in done.stdout, done.stdout
        finally:
            subprocess.run(["docker", "rm", "-f", name], capture_output=True)
            (ROOT / "data/test-sealed.tar").unlink(missing_ok=True)


@contextlib.contextmanager
def sealed(folder):
    """A folder for settings that group 0 may read, as which the image's user does; gone afterwards."""
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


def test_down_keeps_the_data_and_what_is_landed(both, docker, stack, real_file):
    docker.make("down")
    assert not docker.container("kafka") and not docker.container("spark")
    docker.make("up")
    assert differences(stack, docker, "assessments", "attempts") == [0, 0]
    assert "nothing new: all 3,280 records" in docker.make("land", TOPIC="assessments")
    assert re.search(r"assessments +0 +3,280 +3,280 +0", docker.make("status"))


# --- the cluster, and three deaths --------------------------------------------------------------

@pytest.fixture(scope="module")
def cluster():
    for small in SMALL:  # make room: it is not needed any more
        small.make("down")
    stack = Docker(".run-test-docker", CLUSTER=1)
    stack.clean()
    try:
        print(stack.make("up"))
        yield stack
    finally:
        stack.clean()


class Running:
    """A make target at work; what it has said so far can be read meanwhile."""

    def __init__(self, stack, target, **knobs):
        self.process = subprocess.Popen(stack.command(target, **knobs), cwd=ROOT, env=clean_environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.said = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.said += line

    def until(self, condition, what, limit_s=900):
        """Waits, and fails when the target ends before."""
        limit = time.monotonic() + limit_s
        while not condition():
            assert self.process.poll() is None, f"it ended before {what}\n{self.said}"
            assert time.monotonic() < limit, f"{what}: not within {limit_s} s\n{self.said}"
            time.sleep(0.1)

    def kill(self, stack, service):
        """kill -9, as a crash does it; the service stays dead until it is brought back."""
        sh("docker", "kill", stack.container(service))
        assert self.process.poll() is None, self.said
        print(f"killed {service} while this was at work; it had said:\n{self.said[-600:]}")

    def finish(self):
        assert self.process.wait(1500) == 0, self.said
        time.sleep(0.2)  # the reader thread's last line
        print(self.said[-1500:])
        return self.said


def sent_to(stack, topic):
    """How many records the topic has, by a consumer on this machine that knows the doors of all three brokers."""
    host, port = stack.kafka.split(":")
    limit = time.monotonic() + 60
    while True:
        try:
            with contextlib.closing(KafkaConsumer(bootstrap_servers=[f"{host}:{int(port) + plus}" for plus in range(3)])) as consumer:
                return sum(consumer.end_offsets([TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]).values())
        except KafkaError:  # it asked the broker that has just died
            assert time.monotonic() < limit


@pytest.mark.cluster
def test_make_all_runs_on_the_cluster_unchanged(cluster, stack, real_file):
    said = cluster.make("all", TOPIC="on_cluster", DATA=real_file.resolve())
    print("cluster:", seconds(said))
    assert "PartitionCount: 3\tReplicationFactor: 3" in said and "spark://spark-master:7077" in said and "DIFFERS" not in said
    # Three copies of each block, on three DataNodes.
    assert "Average block replication:\t3.0" in cluster.inside("namenode", "hdfs", "fsck", "/warehouse/on_cluster")
    # The work was done by executors of both workers, not by the driver.
    for worker in ("spark-worker-1", "spark-worker-2"):
        assert "executor" in cluster.inside(worker, "bash", "-c", "ls -d /tmp/spark-work/app-*/*/stderr | sed s/stderr/executor/")
    stack.make("topic publish land", TOPIC="on_cluster", DATA=real_file.resolve())
    for table in TABLES:
        without = {"messages": [*POSITION, "kafka_timestamp"], "attempts": POSITION}.get(table, ())
        assert differences(stack, cluster, "on_cluster", table, without) == [0, 0], table


@pytest.mark.cluster
def test_a_broker_a_worker_and_a_datanode_die_at_work_and_nothing_is_lost(cluster, stack):
    path = ROOT / "data" / "test-docker.jsonl"
    stack.make("data", SYNTHETIC=MESSAGES, SEED=5, DATA=path)
    topic = "synthetic_cluster"

    # A broker, in the middle of publishing: the leader of one of the three partitions, and one of the three controllers.
    cluster.make("topic", TOPIC=topic)
    assert "Leader: 2" in cluster.inside("kafka", "kafka-topics", "--describe", "--topic", topic, "--bootstrap-server", "kafka:29092")
    publish = Running(cluster, "publish", TOPIC=topic, DATA=path)
    publish.until(lambda: 2_000 < sent_to(cluster, topic), "the first messages were in the topic")
    publish.kill(cluster, "kafka-2")
    assert f"0 messages before, {MESSAGES} after" not in publish.said, "publishing was over when the broker died"
    assert f"0 messages before, {MESSAGES} after: {MESSAGES} sent" in publish.finish()
    cluster.make("up")  # brings it back
    cluster.wait_healthy("kafka-2")

    # A worker, with its executor in the middle of tasks; then a DataNode that is being written to.
    land = Running(cluster, "land", TOPIC=topic)

    def executor_ticks():
        """CPU time of the worker's executor and its Python workers, in hundredths of a second; 0 when there is none."""
        said = subprocess.run(["docker", "exec", cluster.container("spark-worker-1"), "bash", "-c",
                               "for pid in $(pgrep -f 'CoarseGrainedExecutorBackend|pyspark[.]daemon'); do cut -d' ' -f14,15 /proc/$pid/stat; done"], text=True, capture_output=True).stdout
        return sum(map(int, said.split()))
    land.until(lambda: "\nbatch " in land.said, "the first batch began")
    begin = executor_ticks()
    land.until(lambda: begin and executor_ticks() > begin + 100 or not begin and executor_ticks() > 1000, "the executor had worked for a second")
    assert not re.search(r"^ +0 ", land.said, re.MULTILINE), "the first batch was over when the worker died"
    land.kill(cluster, "spark-worker-1")
    land.until(lambda: re.search(r"^ +0  0: ", land.said, re.MULTILINE), "the first batch ended without that worker")
    sh("docker", "start", sh("docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={cluster.project}", "--filter", "label=com.docker.compose.service=spark-worker-1").strip())

    def written():
        said = json.loads(cluster.inside("datanode-2", "curl", "-sf", "http://localhost:8123/jmx?qry=Hadoop:service=DataNode,name=DataNodeActivity*"))
        return said["beans"][0]["BytesWritten"]
    before = written()
    land.until(lambda: written() > before, "the DataNode was written to")
    land.kill(cluster, "datanode-2")
    said = land.finish()
    assert len(re.findall(r"^ +\d+  0: ", said, re.MULTILINE)) == 2  # batches

    assert "DIFFERS" not in cluster.make("verify", TOPIC=topic, DATA=path)
    stack.make("publish land", TOPIC=topic, DATA=path)
    for table in TABLES:
        without = {"messages": [*POSITION, "kafka_timestamp"], "attempts": POSITION}.get(table, ())
        assert differences(stack, cluster, topic, table, without) == [0, 0], table
