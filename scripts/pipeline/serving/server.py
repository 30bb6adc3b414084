"""The server of `make serve`: one Spark process that answers queries on every landed feed.

It has two endpoints: Spark Connect, and JDBC (the protocol of HiveServer2). A feed is a database
with its four tables and the view attempt_order. Feeds appear, and disappear, within seconds. Spark
opens a table when a query names it (Databases.java).

Clients only read. Spark is here another user of HDFS than landing, and HDFS refuses what that user
would write. ReadOnly.java refuses what HDFS does not see: changes of the catalogue, code of users,
files of this machine.

serve.py starts it, as a service of docker-compose.yml does:
    scripts/env.sh python -m pipeline.serving.server RUN_DIR
"""

import contextlib
import os
import pathlib
import re
import sys
import threading
import time
from typing import Any, NoReturn

import psutil
from deltalake.exceptions import DeltaError
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

from pipeline import errors, script
from pipeline.message.declaration import TABLES, delta_fields
from pipeline.serving import service
from pipeline.settings import ROOT, TOPIC_NAME, Feed, Settings
from pipeline.spark import answers, questions, session, views
from pipeline.tables import delta, hdfs, position

READER = "reader"  # in HDFS it owns nothing, so it reads what everybody may read
CHECK_EVERY_S = 1
# How long feeds are checked: before clients are let in, and between two checks of what runs.
CHECK_AT_START_S, CHECK_S = 3, 10
TRY_AGAIN_S = 5  # a feed may be half landed, or its tables broken
MODEL = "model_of_feeds"  # a database that exists only while the server starts
UNREADABLE = (DeltaError, OSError, PySparkException, Py4JJavaError)
# This collector, unlike others, gives up with an error instead of collecting for ever: so the query
# that fills the memory fails. UseAdaptiveSizePolicyWithSystemGC lets System.gc() shrink the heap,
# but not its part for new objects, which MaxNewSize limits. TrimNativeHeapInterval, in ms: what the
# JVM's compilers have freed goes back to the machine, too.
# HiveServer2 starts a Derby, which would log to the project's folder.
JAVA_OPTIONS = (
    "-XX:+UseParallelGC -XX:MinHeapFreeRatio=15 -XX:MaxHeapFreeRatio=30 -XX:MaxNewSize=128m "
    "-XX:+UseAdaptiveSizePolicyWithSystemGC -XX:TrimNativeHeapInterval=60000 "
    "-Dderby.stream.error.file=/dev/null"
)
# Spark is restarted when garbage collection takes such a share of the time for so long.
GC_SHARE, GC_SHARE_FOR_S = 0.9, 60
# After a collection Spark drops, in the background, the broadcasts that no query uses any more. The
# next one, GC_SHARE_FOR_S later, frees their memory, and so on.
COLLECTIONS_AT_REST = 3
# How often the warm-up answers the questions. Each round has less effect than the one before.
WARM_UP_ROUNDS = 3
CLIENT_ASKS_AGAIN_S = 2  # the warm-up waits so long after a client's query: clients go first
OTHERS_USE = 50  # percent of the CPU: the warm-up waits while other processes use more
# SQL functions that call a static method of any Java class: with them a client could run code.
REFUSED_FUNCTIONS = ("java_method", "reflect", "try_reflect")


# Spark's settings that are alike everywhere, beside those of conf/spark/.
SPARK_SETTINGS = {
    "spark.app.name": "serve",
    "spark.connect.grpc.interceptor.classes": "pipeline.serving.ReadOnly$Requests",
    # Otherwise the interceptor would not see what is in a plan, or in a client's local data.
    "spark.connect.session.planCompression.threshold": "-1",
    "spark.sql.session.localRelationCacheThreshold": str(64 * 2**20),
    # A client sees what was wrong, not where in Spark's code.
    "spark.sql.connect.serverStacktrace.enabled": "false",
    # Queries share the cores, the long ones and the short ones.
    "spark.scheduler.mode": "FAIR",
    "spark.scheduler.allocation.file": f"file:{ROOT}/conf/spark/fairscheduler.xml",
    # An answer, or a task, that does not fit into the memory ends with an error. By default such a
    # task ends the process.
    "spark.driver.maxResultSize": "256m",
    "spark.executor.killOnFatalError.depth": "0",
    # Of the classes that Spark generates for plans, the questions need about 500. By default it
    # keeps 100, and compiles the others at every query again.
    "spark.sql.codegen.cache.maxEntries": "2000",
    # For an hour Delta keeps the state of tables that were opened, 3 MB each, by default of 10,000.
    "spark.databricks.delta.delta.log.cacheSize": "30",
    # Over JDBC rows leave partition by partition, not all at once.
    "spark.sql.thriftServer.incrementalCollect": "true",
}


def start_spark(settings: Settings) -> SparkSession:
    """The session that registers the feeds. Clients get sessions of their own, made from it."""
    os.environ["SPARK_CONNECT_AUTHENTICATE_TOKEN"] = service.token(settings)
    # As a property: HiveServer2 would take the variable for a user to impersonate.
    user = os.environ.pop("HADOOP_USER_NAME", READER)
    os.environ["PYSPARK_PYTHON"] = "/bin/false"  # no Python function of a client ever runs here
    conf = SparkConf(loadDefaults=False).setAll(list(SPARK_SETTINGS.items()))
    conf.set("spark.driver.defaultJavaOptions", f"{JAVA_OPTIONS} -DHADOOP_USER_NAME={user}")
    conf.set("spark.connect.grpc.binding.address", os.environ["SERVE_BIND"])
    conf.set("spark.connect.grpc.binding.port", str(settings.ports.connect))
    # Databases are entries of the catalogue in memory; this folder stays empty.
    conf.set("spark.sql.warehouse.dir", f"file:{os.environ.get('SPARK_LOCAL_DIRS', '/tmp')}")
    if settings.is_local_spark:
        # A query has about as many tasks as there are cores, and holds on to its slots until they
        # end. With many more slots others go on meanwhile.
        cores = os.cpu_count() or 1
        conf.set("spark.master", f"local[{32 * cores}]")
        conf.set("spark.default.parallelism", str(cores))
    SparkContext._ensure_initialized(gateway=launch_gateway(conf))  # type: ignore[no-untyped-call]
    os.environ["HADOOP_USER_NAME"] = user  # this process finds out what Spark may read
    return SparkSession.builder.getOrCreate()


def load_java(spark: SparkSession) -> None:
    """Compiles the Java files beside this one, and loads their classes, and one that is changed."""
    jvm: Any = spark._jvm
    # HiveServer2 looks for the class that checks passwords in the class loader of a thread, and a
    # thread that served another client before has the application's.
    loader = jvm.ClassLoader.getSystemClassLoader()
    # A JDBC client is sent what an exception prints: what was wrong, not where in Spark's code.
    told = jvm.javassist.ClassPool.getDefault().get("org.apache.hive.service.cli.HiveSQLException")
    of_print = "public void printStackTrace(java.io.PrintWriter to) { to.print(getMessage()); }"
    told.addMethod(jvm.javassist.CtNewMethod.make(of_print, told))
    classes = {told.getName(): told.toBytecode()}
    for file in pathlib.Path(__file__).parent.glob("*.java"):
        compiler = jvm.org.codehaus.janino.SimpleCompiler()
        compiler.cook(file.read_text())
        classes |= compiler.getBytecodes()
    for name, code in classes.items():
        # Java has no public function for this; Javassist, which comes with Spark, has one.
        jvm.javassist.util.proxy.DefineClassHelper.toClass(name, None, loader, None, code)


def start_endpoints(spark: SparkSession, settings: Settings) -> None:
    """Lets clients in, by Spark Connect and by JDBC. ReadOnly.java says what they may do."""
    jvm: Any = spark._jvm
    check = jvm.pipeline.serving.ReadOnly(f"{settings.hdfs}{settings.warehouse}/")
    # This session has its rules already: it may use what clients may not.
    spark._jsparkSession.sessionState().analyzer()
    extensions = spark._jsparkSession.extensions()
    extensions.injectCheckRule(check)
    extensions.injectParser(getattr(jvm.pipeline.serving, "ReadOnly$Parsers")())
    catalyst = jvm.org.apache.spark.sql.catalyst
    for name in REFUSED_FUNCTIONS:
        function = catalyst.FunctionIdentifier(name)
        assert catalyst.analysis.FunctionRegistry.builtin().dropFunction(function)
    jvm.org.apache.spark.sql.connect.service.SparkConnectService.start(spark.sparkContext._jsc.sc())
    jdbc = {
        "hive.server2.authentication": "CUSTOM",
        "hive.server2.custom.authentication.class": "pipeline.serving.ReadOnly$Password",
        # Queries read as the server's account. A table that a client opens is open for all clients.
        "hive.server2.enable.doAs": "false",
        "hive.server2.thrift.bind.host": os.environ["SERVE_BIND"],
        "hive.server2.thrift.port": str(settings.ports.jdbc),
    }
    for name in ("principal", "keytab"):  # with Kerberos HiveServer2 logs in once more
        value = spark.conf.get(f"spark.kerberos.{name}", "") or ""
        jdbc[f"hive.server2.authentication.kerberos.{name}"] = value
    for name, value in jdbc.items():
        jvm.System.setProperty(name, value)
    thriftserver = jvm.org.apache.spark.sql.hive.thriftserver
    thriftserver.HiveThriftServer2.startWithContext(spark._jsparkSession.sqlContext())


def databases(spark: SparkSession, settings: Settings) -> Any:
    """What creates and drops the databases of feeds: see Databases.java."""
    spark.sql(f"CREATE DATABASE {MODEL}")
    for table in TABLES:
        schema = StructType.fromJson({"fields": delta_fields(table)})
        spark.catalog.createTable(f"{MODEL}.{table}", source="parquet", schema=schema)
    for statement in views.registration(settings.feed(MODEL), "VIEW")[-2:]:
        spark.sql(statement)
    catalog, folder = spark._jsparkSession.sessionState().catalog(), settings.feed().path()
    jvm: Any = spark._jvm
    made = jvm.pipeline.serving.Databases(catalog, MODEL, folder.removesuffix(f"{settings.topic}/"))
    spark.sql("USE default")
    spark.sql(f"DROP DATABASE {MODEL} CASCADE")
    return made


def folders(settings: Settings) -> dict[Feed, object]:
    """{feed: what changes when something is created, renamed or forbidden in its folder}.

    TOPIC alone where this account may not list the folders (make customer).
    """
    try:
        return {
            settings.feed(name): (file.modification_time, file.permission, file.owner, file.group)
            for file in hdfs.client(settings.hdfs).list_status(settings.warehouse)
            if re.fullmatch(TOPIC_NAME, name := file.path.rsplit("/", 1)[-1])
        }
    except RuntimeError as error:
        if not errors.is_refused(error):
            raise
        return {settings.feed(): None}


class Feeds:
    """Keeps the databases of the catalogue equal to the landed feeds.

    The tables of each feed are opened once, to find broken ones, and again when its folder changes.
    """

    def __init__(self, spark: SparkSession, settings: Settings):
        self.jvm: Any = spark._jvm
        self.session, self.settings = spark._jsparkSession, settings
        self.databases = databases(spark, settings)
        self.shown: set[Feed] = set()
        self.checked: dict[Feed, object] = {}  # as their folders were then
        self.try_again: dict[Feed, float] = {}  # when
        self.said: dict[Feed, str] = {}  # why a feed is not shown

    def show_unchecked(self) -> None:
        """Shows the feeds that no update() has checked: checking 1,000 takes a minute."""
        client, there = hdfs.client(self.settings.hdfs), folders(self.settings).keys()
        unchecked = list(there - self.checked.keys() - self.try_again.keys())

        def seems_landed(feed: Feed) -> bool:
            with contextlib.suppress(RuntimeError, OSError):  # check() will say why
                files = client.list_status(feed.folder())
                return TABLES.keys() <= {file.path.rsplit("/", 1)[-1] for file in files}
            return False

        for feed, landed in zip(unchecked, hdfs.at_once(seems_landed, unchecked), strict=True):
            with contextlib.suppress(*UNREADABLE):
                if landed:
                    self.show(feed)

    def update(self, seconds: float) -> None:
        """Hides the feeds that are gone, shows new ones, and hides broken ones.

        Starts no check after this many seconds; the next update goes on. TOPIC goes first, then
        what is not shown yet.
        """
        there, limit = folders(self.settings), time.monotonic() + seconds
        for feed in self.shown - there.keys():
            self.hide(feed, "its folder is gone")
        self.checked = {
            feed: folder for feed, folder in self.checked.items() if there.get(feed) == folder
        }
        first, unchecked = self.settings.feed(), there.keys() - self.checked.keys()
        for feed in sorted(unchecked, key=lambda feed: (feed != first, feed in self.shown)):
            if self.try_again.get(feed, 0) <= time.monotonic() <= limit:
                self.check(feed, there[feed])

    def check(self, feed: Feed, folder: object) -> None:
        """Shows the feed when its four tables can be opened, hides it when not."""
        try:
            gone = TABLES.keys() - delta.open_tables(feed).keys()
            if not gone:
                self.show(feed)
                self.checked[feed] = folder
                return
            if feed in self.shown:  # otherwise it is being landed for the first time
                self.hide(feed, f"there is no table {', '.join(sorted(gone))}")
        except UNREADABLE as error:
            if errors.is_outage(error):
                raise
            self.hide(feed, errors.cause(error))
        self.try_again[feed] = time.monotonic() + TRY_AGAIN_S

    def show(self, feed: Feed) -> None:
        if feed not in self.shown:
            self.databases.create(feed.topic)
            self.shown.add(feed)
            self.said.pop(feed, None)

    def hide(self, feed: Feed, why: str) -> None:
        if self.said.get(feed) != why:
            print(f"feed {feed.topic} is not shown: {why}", flush=True)
            self.said[feed] = why
        if feed in self.shown:
            self.shown.remove(feed)
            self.databases.drop(feed.topic)
            for table in TABLES:
                path = self.jvm.org.apache.hadoop.fs.Path(feed.path(table))
                self.jvm.org.apache.spark.sql.delta.DeltaLog.invalidateCache(self.session, path)


def warm_up(spark: SparkSession, feeds: list[Feed]) -> None:
    """Sends a statement by JDBC, and queries/, on the smallest of the feeds.

    Otherwise the first client would wait for the compiler.
    """
    sizes: dict[Feed, int] = {}
    for feed in feeds:
        with contextlib.suppress(*UNREADABLE):  # a broken feed, say
            sizes[feed] = sum((position.landed_offsets(feed) or {}).values())
    if sizes:
        warm_up_with(spark, min(sizes, key=sizes.__getitem__))


def warm_up_with(spark: SparkSession, feed: Feed) -> None:
    jvm: Any = spark._jvm
    login = jvm.java.util.Properties()
    login.setProperty("password", service.token(feed.settings))
    url = f"jdbc:hive2://{os.environ['SERVE_BIND']}:{feed.settings.ports.jdbc}/{feed.topic}"
    try:
        with contextlib.closing(jvm.org.apache.hive.jdbc.HiveDriver().connect(url, login)) as jdbc:
            jdbc.createStatement().execute("SELECT count(*) FROM attempts")
        own = spark.newSession()
        for name, value in session.QUICK_SQL.items():
            own.conf.set(name, value)
        own.sql(f"USE {feed.topic}")
        views.create_views(own, feed)
        psutil.cpu_times_percent()  # the first call of a thread knows of no time before
        for file in WARM_UP_ROUNDS * sorted(ROOT.glob("queries/*.sql")):
            wait_for_others(jvm)
            with contextlib.suppress(PySparkException, ValueError):  # the user's own, and wrong
                answers.answer(own, feed, questions.statement(file.read_text()))
    except UNREADABLE as error:  # the feed may be deleted meanwhile
        print(f"the warm-up with feed {feed.topic} ended early: {errors.cause(error)}", flush=True)
    except Py4JError:  # Spark has ended: main() says so
        pass


def wait_for_others(jvm: Any) -> None:
    """Waits until others use little of the CPU, and no client of Spark Connect has asked lately.

    The system counts the time of this process as nice (see main), that of most others as user.
    """
    connect = jvm.org.apache.spark.sql.connect.service.SparkConnectService
    while True:
        running = connect.listActiveExecutions()  # on the left: when the last one ended
        quiet_s = (jvm.System.nanoTime() - running.value()) / 1e9 if running.isLeft() else 0
        others = psutil.cpu_times_percent().user  # since the last call
        if quiet_s > CLIENT_ASKS_AGAIN_S and others < OTHERS_USE:
            return
        time.sleep(0.5)


def enforce_limit(spark: SparkSession, limit_s: int, since: dict[str, float]) -> dict[str, float]:
    """Stops queries that run longer than limit_s. since, and returned: {query: when first seen}."""
    now, running, context = time.monotonic(), {}, spark.sparkContext._jsc.sc()
    for job in spark.sparkContext.statusTracker().getActiveJobsIds():
        of_job = context.statusStore().job(job)
        query = of_job.jobGroup().toString() + of_job.jobTags().toString()
        running[query] = since.get(query, now)
        if now - running[query] > limit_s:
            context.cancelJob(job, f"it ran longer than QUERY_LIMIT_S={limit_s} seconds")
    return running


class Memory:
    """Finds out whether Spark does nothing but collect garbage, and so answers nobody.

    When it has had no job for GC_SHARE_FOR_S, the server rests: what clients cached is dropped, and
    COLLECTIONS_AT_REST return to the machine what their queries left in memory.
    """

    def __init__(self, spark: SparkSession):
        self.jvm: Any = spark._jvm
        self.catalog, self.context = spark.catalog, spark.sparkContext
        self.since, self.collected_s = time.monotonic(), self.collected()
        self.jobs, self.collections_at_rest = self.started_jobs(), 0

    def collected(self) -> float:
        """Seconds that went into garbage collection since the start."""
        collectors = self.jvm.java.lang.management.ManagementFactory.getGarbageCollectorMXBeans()
        return float(sum(each.getCollectionTime() for each in collectors)) / 1000

    def started_jobs(self) -> int:
        return int(self.context._jsc.sc().dagScheduler().numTotalJobs())

    def is_exhausted(self) -> bool:
        elapsed_s = time.monotonic() - self.since
        if elapsed_s < GC_SHARE_FOR_S:
            return False
        share = (self.collected() - self.collected_s) / elapsed_s
        self.since, self.collected_s = time.monotonic(), self.collected()
        before, self.jobs = self.jobs, self.started_jobs()
        if before < self.jobs or self.context.statusTracker().getActiveJobsIds():
            self.collections_at_rest = 0
        elif self.collections_at_rest < COLLECTIONS_AT_REST:
            if self.collections_at_rest == 0:  # later, a client may have cached something again
                self.catalog.clearCache()
            self.jvm.System.gc()
            self.collections_at_rest += 1
            self.collected_s = self.collected()
        return share > GC_SHARE


def main(settings: Settings) -> NoReturn:
    os.nice(max(0, 5 - os.nice(0)))  # landing goes first
    spark = start_spark(settings)
    jvm = SparkContext._gateway.proc  # type: ignore[union-attr]
    load_java(spark)
    feeds, memory = Feeds(spark, settings), Memory(spark)
    running: dict[str, float] = {}
    feeds.update(CHECK_AT_START_S)
    feeds.show_unchecked()
    start_endpoints(spark, settings)
    some = list(feeds.shown)[:20]  # reading the ledgers of hundreds would take long
    threading.Thread(target=warm_up, args=[spark, some], daemon=True).start()
    said = ""
    while True:
        time.sleep(CHECK_EVERY_S)
        try:
            running = enforce_limit(spark, settings.query_limit_s, running)
            feeds.update(CHECK_S)
            exhausted, said = memory.is_exhausted(), ""
        except Exception as error:  # HDFS does not answer, say: it may come back
            before, said, exhausted = said, errors.cause(error), False
            if said != before:
                script.log_trace()
        if exhausted or jvm.poll() is not None:
            why = "no memory is left" if exhausted else "Spark has ended"
            print(f"{why}: Spark is restarted", flush=True)
            jvm.kill()
            jvm.wait()
            os.execv(sys.executable, sys.orig_argv)  # the pid stays the same


if __name__ == "__main__":
    script.run(main)
