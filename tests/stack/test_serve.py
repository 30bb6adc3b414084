"""`make serve`: who gets in, what they see, what they cannot do, and what ends by itself."""

import collections
import concurrent.futures
import contextlib
import datetime
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time

import hdfs_native
import psutil
import pytest
from deltalake import DeltaTable

from messages import FIVE
from pipeline.spark import session
from reader import connect, jdbc, ports, stop, token
from stacks import ROOT, TABLES, clean_environment, listens, wait_until

FEED, BROKEN_FEED = "synthetic_a", "broken"
MANY = [f"many_{number:02}" for number in range(30)]  # copies of FEED
LIMIT_S = 60

# What no reader may do, in SQL. {feed}, {address}: its database, and its folder in HDFS.
FORBIDDEN_SQL = """
DROP TABLE {feed}.attempts
DROP DATABASE {feed} CASCADE
DROP VIEW {feed}.attempt_order
DELETE FROM {feed}.attempts
UPDATE {feed}.attempts SET exam_name = 'x'
INSERT INTO {feed}.attempts SELECT * FROM {feed}.attempts
INSERT OVERWRITE {feed}.attempts SELECT * FROM {feed}.attempts WHERE false
MERGE INTO {feed}.attempts a USING {feed}.questions q ON true WHEN MATCHED THEN DELETE
TRUNCATE TABLE {feed}.attempts
ALTER TABLE {feed}.attempts ADD COLUMNS (another INT)
ALTER TABLE {feed}.attempts RENAME TO {feed}.others
ALTER TABLE {feed}.attempts SET TBLPROPERTIES ('delta.appendOnly' = 'true')
COMMENT ON TABLE {feed}.attempts IS 'x'
OPTIMIZE {feed}.options
VACUUM {feed}.options RETAIN 0 HOURS
RESTORE TABLE {feed}.attempts TO VERSION AS OF 0
ANALYZE TABLE {feed}.attempts COMPUTE STATISTICS
CREATE DATABASE another
CREATE TABLE {feed}.another USING delta AS SELECT 1 AS one
CREATE VIEW {feed}.another AS SELECT 1 AS one
CREATE OR REPLACE GLOBAL TEMPORARY VIEW another AS SELECT 1 AS one
CREATE FUNCTION another AS 'org.example.Another' USING JAR '/tmp/another.jar'
ADD JAR '/tmp/another.jar'
CACHE TABLE {feed}.attempts
DELETE FROM delta.`{address}/attempts`
INSERT INTO delta.`{address}/attempts` SELECT * FROM {feed}.attempts
CREATE TABLE delta.`{address}/another` (one INT) USING delta
INSERT OVERWRITE DIRECTORY '{address}/another' USING parquet SELECT 1 AS one
INSERT OVERWRITE LOCAL DIRECTORY '/tmp/another' USING csv SELECT 1 AS one
EXECUTE IMMEDIATE 'DROP TABLE {feed}.attempts'
SET spark.sql.catalog.another = org.apache.spark.sql.delta.catalog.DeltaCatalog
SET fs.defaultFS = file:///
SELECT * FROM text.`file:///etc/passwd`
SELECT * FROM text.`{address}/../..`
""".strip().splitlines()
# What is no SQL: Spark's API over Connect.
FORBIDDEN_API = """
spark.table(f"{feed}.attempts").write.format("delta").mode("overwrite").save(f"{address}/attempts")
spark.table(f"{feed}.attempts").write.mode("append").saveAsTable(f"{feed}.attempts")
spark.table(f"{feed}.attempts").writeTo(f"{feed}.attempts").append()
spark.range(1).write.csv("/tmp/another")
spark.readStream.format("rate").load().writeStream.format("noop").start()
spark.range(1).select(F.udf(lambda number: number)("id"))
spark.range(1).mapInArrow(lambda batches: batches, "id BIGINT")
spark.udf.register("another", lambda number: number)
spark.udf.registerJavaFunction("another", "org.example.Another")
spark.addArtifacts(__import__("json").__file__, pyfile=True)
spark.read.format("jdbc").options(url="jdbc:derby:memory:x;create=true", dbtable="x").load()
spark.read.text("file:///etc/passwd")
spark.conf.set("spark.hadoop.fs.defaultFS", "file:///")
spark.catalog.createTable(f"{feed}.another", path=f"{address}/attempts", source="delta")
""".strip().splitlines()
OF_JAVA = "reflect", "java_method", "try_reflect"  # functions that call a method of Java


@pytest.fixture(scope="module")
def served(stack, synthetic):
    hdfs = hdfs_native.Client(stack.hdfs)
    for table in TABLES:  # the log of each is half a commit
        log = f"/warehouse/{BROKEN_FEED}/{table}/_delta_log"
        hdfs.mkdirs(log, create_parent=True)
        with hdfs.create(f"{log}/{0:020}.json") as file:
            file.write(b'{"commitInfo":')
    copy_feed(stack, MANY)
    stack.make("serve", TOPIC=FEED, QUERY_LIMIT_S=LIMIT_S)
    yield stack
    stop(stack)


def copy_feed(stack, names):
    """Makes copies of FEED's tables. Delta's log has relative paths."""
    hdfs, source = hdfs_native.Client(stack.hdfs), f"/warehouse/{FEED}/"
    files = {}
    for table in TABLES:
        for file in hdfs.list_status(source + table, recursive=True):
            if not file.isdir:
                with hdfs.read(file.path) as opened:
                    files[file.path.removeprefix(source)] = opened.read()

    def write(at):
        path, content = f"/warehouse/{at[0]}/{at[1]}", files[at[1]]
        hdfs.mkdirs(os.path.dirname(path), create_parent=True)
        with hdfs.create(path) as file:
            file.write(content)

    with concurrent.futures.ThreadPoolExecutor(50) as pool:  # closing a file takes half a second
        list(pool.map(write, [(name, path) for name in names for path in files]))


def columns_by_jdbc(stack, feeds, table):
    """What JDBC's getColumns says: {feed: [(column, comment)]}. feeds: with SQL's wildcards."""
    jvm = session.get(stack.settings, "test", 0)._jvm
    login = jvm.java.util.Properties()
    login.setProperty("password", token(stack))
    url = f"jdbc:hive2://127.0.0.1:{ports(stack)[1]}"
    found = collections.defaultdict(list)
    with contextlib.closing(jvm.org.apache.hive.jdbc.HiveDriver().connect(url, login)) as client:
        rows = client.getMetaData().getColumns(None, feeds, table, "%")
        while rows.next():
            column = rows.getString("COLUMN_NAME"), rows.getString("REMARKS")
            found[rows.getString("TABLE_SCHEM")].append(column)
    return found


def said_by_server(stack):
    """The log of the server since its last start."""
    log = ROOT / stack.run_dir / "logs" / "serve.log"
    return log.read_text().rpartition("WARNING: Using incubator modules")[2]  # Spark's first line


def expected_attempts(stack):
    return len(stack.table(FEED, "attempts"))


@pytest.mark.thorough
def test_both_doors_show_the_feeds_with_types_and_comments(served):
    line = f"feed {BROKEN_FEED} is not shown: "
    wait_until(lambda: line in said_by_server(served), lambda: said_by_server(served))
    row = max(served.table(FEED, "attempts"), key=lambda row: row["keen_id"])
    columns = "keen_id, started_at, certification, attempt, kafka_offset"
    last = f"SELECT {columns} FROM attempts ORDER BY keen_id DESC LIMIT 1"
    _, found, databases, tables, described, order = connect(
        served,
        FEED,
        f"USE {FEED}",
        last,
        "SHOW DATABASES",
        "SHOW TABLES",
        "DESCRIBE attempts",
        "SELECT count(*), count_if(is_retake) FROM attempt_order",
    )
    expected = [row[name] for name in columns.split(", ")]
    at = expected[1].astimezone(datetime.timezone.utc).replace(tzinfo=None)
    assert found == [[expected[0], str(at), *expected[2:]]]
    assert [FEED] in databases and [BROKEN_FEED] not in databases
    assert said_by_server(served).count(line) == 1, said_by_server(served)
    assert {name for _, name, _ in tables} == {*TABLES, "attempt_order"}
    comments = {name: comment for name, _, comment in described}
    fields = DeltaTable(f"{served.hdfs}/warehouse/{FEED}/attempts").schema().fields
    assert comments == {field.name: field.metadata["comment"] for field in fields}
    assert order[0][0] == expected_attempts(served)
    shown = jdbc(served, FEED, last, "SELECT count(*) AS attempts FROM attempts")
    as_text = ["NULL" if value is None else str(value).lower() for value in expected]
    as_text[1] = str(at).rstrip("0")
    assert "\t".join(as_text) in shown
    assert re.search(rf"^attempts\n{expected_attempts(served)}$", shown, re.MULTILINE), shown


@pytest.mark.thorough
def test_what_other_tools_ask_for(served):
    """Parameters of queries, and how JDBC tools list columns and settings, and show an error."""
    found = connect(
        served,
        FEED,
        f"USE {FEED}",
        'spark.sql("SELECT count(*) FROM attempts WHERE question_count > :n", args={"n": 0})',
        'spark.sql("SELECT count(*) FROM attempts WHERE question_count > ?", args=[0])',
        "DESCRIBE HISTORY attempts",  # Delta Lake's own statement
        'spark.createDataFrame(__import__("pandas").DataFrame({"n": range(9_000_000)}))',
    )
    assert found[1] == found[2] == [[expected_attempts(served)]]
    assert len(found[3]) == DeltaTable(f"{served.hdfs}/warehouse/{FEED}/attempts").version() + 1
    assert "it refuses local data of more than 64 MB" in found[4]

    asked = "SELECT 1;\n!columns attempts\nSET -v", "SELECT * FROM missing"
    shown = jdbc(served, FEED, *asked)
    rows = [line.split("\t") for line in shown.splitlines()]
    columns = [(row[3], row[5], row[11]) for row in rows if row[1:3] == [FEED, "attempts"]]
    named = {"string": "STRING", "integer": "INT", "long": "BIGINT"}
    fields = DeltaTable(f"{served.hdfs}/warehouse/{FEED}/attempts").schema().fields
    assert columns == [
        (field.name, named.get(field.type.type, field.type.type.upper()), field.metadata["comment"])
        for field in fields
    ]
    assert "\nspark.sql.shuffle.partitions\t" in shown
    assert "The table or view `missing` cannot be found" in shown and "\tat " not in shown, shown


@pytest.mark.thorough
def test_many_feeds_are_shown_with_their_columns_and_each_can_be_queried(served):
    fields = DeltaTable(f"{served.hdfs}/warehouse/{FEED}/questions").schema().fields
    columns = [(field.name, field.metadata["comment"]) for field in fields]
    assert columns_by_jdbc(served, "many%", "questions") == dict.fromkeys(MANY, columns)
    counts = [f"SELECT count(*) FROM {name}.questions" for name in (MANY[0], MANY[-1])]
    databases, *found = connect(served, FEED, "SHOW DATABASES", *counts)
    assert {name for (name,) in databases} >= {*MANY, FEED}
    assert found == [[[len(served.table(FEED, "questions"))]]] * 2
    shown = jdbc(served, MANY[15], "SELECT count(*) AS attempts FROM attempts")
    assert re.search(rf"^attempts\n{expected_attempts(served)}$", shown, re.MULTILINE), shown


@pytest.mark.thorough
def test_a_feed_that_is_gone_or_cannot_be_read_is_named_once_and_stops_no_other(served):
    hdfs, gone, closed, new = hdfs_native.Client(served.hdfs), MANY[10], MANY[11], "a_new_one"

    def databases():
        return {name for (name,) in connect(served, FEED, "SHOW DATABASES")[0]}

    def has_named(name):
        return f"feed {name} is not shown: " in said_by_server(served)

    def wait_until_shown(*names):
        wait_until(lambda: databases().issuperset(names), lambda: said_by_server(served))

    wait_until_shown(gone, closed)
    hdfs.rename(f"/warehouse/{gone}", f"/{gone}")
    hdfs.set_permission(f"/warehouse/{closed}", 0o700)
    wait_until(lambda: has_named(gone) and has_named(closed), lambda: said_by_server(served))
    copy_feed(served, [new])
    wait_until_shown(new)
    assert not databases() & {gone, closed}
    hdfs.rename(f"/{gone}", f"/warehouse/{gone}")
    hdfs.set_permission(f"/warehouse/{closed}", 0o755)
    wait_until_shown(gone, closed)
    counts = [f"SELECT count(*) FROM {name}.attempts" for name in (gone, closed, new)]
    assert connect(served, FEED, *counts) == [[[expected_attempts(served)]]] * 3
    for name in gone, closed:
        assert said_by_server(served).count(f"feed {name} is not shown: ") == 1


@pytest.mark.thorough
def test_query_answers_the_same_with_and_without_the_server(served, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # where nothing listens
    with_server = served.make("query", TOPIC=FEED)
    assert "== 15_scores" in with_server and "SYNTHETIC" in with_server
    # This process has a Spark session of its own.
    assert with_server.endswith(served.run("query", TOPIC=FEED))


@pytest.mark.thorough
def test_a_landing_and_a_new_feed_are_seen_at_once(served):
    for expected in (5, 6):
        served.run("topic", TOPIC="served")
        served.kcat("served", *FIVE if expected == 5 else [FIVE[0].replace(b'"', b' "', 1)])
        served.run("land", TOPIC="served")
        limit = time.monotonic() + 60
        while (found := connect(served, "served", "SELECT count(*) FROM served.messages")) != [
            [[expected]]
        ]:
            assert time.monotonic() < limit, found
    answer = served.make("query", TOPIC="served")  # by the server, and in a database of its own
    assert "feed served" in answer


def test_readers_change_nothing(served):
    before = {
        table: (DeltaTable(f"{served.hdfs}/warehouse/{FEED}/{table}").version(), rows)
        for table in TABLES
        for rows in [sorted(map(str, served.table(FEED, table)))]
    }
    address = f"{served.hdfs}/warehouse/{FEED}"
    sql = [line.format(feed=FEED, address=address) for line in FORBIDDEN_SQL]
    said = connect(served, FEED, *sql, *FORBIDDEN_API)
    for statement, answer in zip([*sql, *FORBIDDEN_API], said, strict=True):
        assert isinstance(answer, str) and "This server " in answer, (statement, answer)
    shown = jdbc(served, FEED, *sql)
    errors = re.findall(r"^Error: (.*)", shown, re.MULTILINE)
    assert len(errors) == len(sql) and all("This server " in error for error in errors), shown
    java = [f"SELECT {name}('java.lang.System', 'exit', 1)" for name in OF_JAVA]
    assert all("UNRESOLVED_ROUTINE" in answer for answer in connect(served, FEED, *java))
    after = {
        table: (DeltaTable(f"{address}/{table}").version(), rows)
        for table in TABLES
        for rows in [sorted(map(str, served.table(FEED, table)))]
    }
    assert after == before
    for name in ("another", "out"):
        assert not os.path.exists(f"/tmp/{name}")


def test_hdfs_itself_refuses_what_the_servers_user_would_write(served):
    attempt = (
        "import hdfs_native, sys\n"
        "client = hdfs_native.Client(sys.argv[1])\n"
        "folder = '/warehouse/synthetic_a/attempts'\n"
        "for act in (lambda: client.delete(folder, True), lambda: client.create(folder + '/x'),\n"
        "            lambda: client.rename(folder, folder + '2'), lambda: client.mkdirs('/x')):\n"
        "    try:\n        act()\n        print('done')\n"
        "    except Exception as error:\n        print(str(error)[:200].replace(chr(10), ' '))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", attempt, served.hdfs],
        env=clean_environment() | {"HADOOP_USER_NAME": "reader"},
        text=True,
        capture_output=True,
    )
    assert done.stdout.count("Permission denied") == 4, done
    (user,) = connect(served, FEED, "spark.sql('SELECT current_user()')")
    assert user  # Connect's name for the client; HDFS sees `reader`:
    server = (ROOT / served.run_dir / "pids" / "serve").read_text().split()[0]
    jvm = psutil.Process(int(server)).children()[0]
    assert "-DHADOOP_USER_NAME=reader" in jvm.cmdline()


def test_only_the_token_opens_the_doors(served):
    file = ROOT / served.run_dir / "connect.token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "UNAUTHENTICATED" in connect(served, FEED, "SELECT 1", secret="wrong")[0]
    assert "Error validating the login" in jdbc(served, FEED, "SELECT 1", secret="wrong")
    for process in psutil.process_iter(["cmdline"]):  # where every user of a machine can read
        assert token(served) not in " ".join(process.info["cmdline"] or ())
    assert token(served) not in (ROOT / served.run_dir / "logs" / "serve.log").read_text()
    for port in ports(served):
        listening = {
            each.laddr.ip.removeprefix("::ffff:")
            for each in psutil.net_connections("tcp")
            if each.laddr.port == port and each.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}


@pytest.mark.thorough
def test_a_query_that_takes_too_long_is_stopped_and_the_others_go_on(served):
    now = "SELECT unix_millis(now())"  # the server's clock, since clients start slowly beside these
    count = f"SELECT count(*) FROM {FEED}.attempts"
    too_long = "SELECT count(*) FROM range(1e8) a JOIN range(1e5) b ON a.id < b.id"
    connect(served, FEED, count)  # the first one takes long where all cores are busy
    with concurrent.futures.ThreadPoolExecutor(4) as pool:  # each has a task for every core
        running = [pool.submit(connect, served, FEED, now, too_long, now) for _ in range(4)]
        said = connect(served, FEED, *[now, count, now] * 10)
        times = []
        for query in running:
            [[began]], stopped, [[ended]] = query.result()
            assert f"QUERY_LIMIT_S={LIMIT_S}" in stopped, stopped
            times.append((began, ended))
    last_began, first_ended = max(began for began, _ in times), min(ended for _, ended in times)
    assert said[1::3] == [[[expected_attempts(served)]]] * 10
    assert any(
        last_began < began and ended < first_ended
        for [[began]], [[ended]] in zip(said[0::3], said[2::3], strict=True)
    ), (times, said)


@pytest.mark.thorough
def test_a_query_that_takes_all_memory_fails_and_the_next_one_is_answered(served):
    too_large = "SELECT length(concat_ws('', collect_list(repeat('x', 1000000)))) FROM range(1e5)"
    (failed,) = connect(served, FEED, too_large)
    assert re.search("[Mm]emory|QUERY_LIMIT_S", failed), failed  # what comes first
    count = f"SELECT count(*) FROM {FEED}.attempts"
    assert connect(served, FEED, count) == [[[expected_attempts(served)]]]


@pytest.mark.thorough
def test_a_killed_one_starts_again_and_a_port_that_is_taken_is_named(served):
    assert re.search(r"^serve +127\.0\.0\.1:\d+.* \d+ MB ", served.make("status"), re.MULTILINE)
    before = token(served)
    pid = served.service_pids()["serve"]
    jvm = psutil.Process(pid).children()[0]
    os.kill(jvm.pid, signal.SIGKILL)  # Spark alone: the server starts another one
    limit = time.monotonic() + 180
    while True:
        try:
            assert connect(served, FEED, "SELECT 1") == [[[1]]]
            break
        except (AssertionError, subprocess.TimeoutExpired):
            assert time.monotonic() < limit
    assert served.service_pids()["serve"] == pid
    os.kill(pid, signal.SIGKILL)
    # Spark ends because its input does, and closes one port after the other.
    wait_until(lambda: not any(map(listens, ports(served))), lambda: "Spark still listens")
    jdbc_port = ports(served)[1]
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections may linger
        other.bind(("127.0.0.1", jdbc_port))
        other.listen()
        output = served.make("serve", ok=False)
    assert f"port {jdbc_port} is taken" in output and f"pid {os.getpid()}" in output
    served.make("serve", TOPIC=FEED, QUERY_LIMIT_S=LIMIT_S)
    assert token(served) == before
    assert connect(served, FEED, "SELECT 1") == [[[1]]]
