"""The server of `make serve`: one Spark process that answers queries on every landed feed.

It has two endpoints: Spark Connect, and JDBC (the protocol of HiveServer2). A feed is a database
with its four tables and the view attempt_order. Feeds appear, and disappear, within seconds. After
a start hundreds of feeds are registered one after the other, for minutes, while clients already
send queries: the feed TOPIC first, and what is landed meanwhile before the others.

Clients only read. Spark is here another user of HDFS than landing, and HDFS refuses what that user
would write. ReadOnly.java refuses what HDFS does not see: changes of the catalogue, code of users,
files of this machine.

serve.py starts it, as a service of docker-compose.yml does:
    scripts/env.sh python -m pipeline.serving.server RUN_DIR
"""

import contextlib
import os
import pathlib
import sys
import threading
import time
from typing import Any, NoReturn

from deltalake.exceptions import DeltaError
from py4j.protocol import Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from pipeline import errors, script
from pipeline.message.declaration import TABLES
from pipeline.serving import service
from pipeline.settings import ROOT, Feed, Settings
from pipeline.spark import questions, session, views
from pipeline.tables import delta, hdfs, position

READER = "reader"  # in HDFS it owns nothing, so it reads what everybody may read
CHECK_EVERY_S = 1
# How long new feeds are registered: before clients are let in, and between two checks of what runs.
REGISTER_AT_START_S, REGISTER_S = 30, 10
CHECKED_AT_ONCE = 50  # feeds per update: checking one takes four requests to HDFS
TRY_AGAIN_S = 5  # a feed may be half landed, or its tables broken
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
    return SparkSession.builder.getOrCreate()


def start_endpoints(spark: SparkSession, settings: Settings) -> None:
    """Lets clients in, by Spark Connect and by JDBC. ReadOnly.java says what they may do."""
    jvm: Any = spark._jvm
    compiler = jvm.org.codehaus.janino.SimpleCompiler()
    compiler.cook(pathlib.Path(__file__).with_name("ReadOnly.java").read_text())
    # HiveServer2 looks for the class that checks passwords in the class loader of a thread, and a
    # thread that served another client before has the application's.
    loader = jvm.ClassLoader.getSystemClassLoader()
    # A JDBC client is sent what an exception prints: what was wrong, not where in Spark's code.
    told = jvm.javassist.ClassPool.getDefault().get("org.apache.hive.service.cli.HiveSQLException")
    of_print = "public void printStackTrace(java.io.PrintWriter to) { to.print(getMessage()); }"
    told.addMethod(jvm.javassist.CtNewMethod.make(of_print, told))
    classes = {**compiler.getBytecodes(), told.getName(): told.toBytecode()}
    for name, code in classes.items():
        # Java has no public function for this; Javassist, which comes with Spark, has one.
        jvm.javassist.util.proxy.DefineClassHelper.toClass(name, None, loader, None, code)
    check = jvm.pipeline.serving.ReadOnly(f"{settings.hdfs}{settings.warehouse}/")
    # This session has its rules already: it may register feeds.
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


def feeds_with_a_folder(settings: Settings) -> set[Feed]:
    """The feeds with a folder; TOPIC alone where this account may not list them (make customer)."""
    try:
        files = hdfs.client(settings.hdfs).list_status(settings.warehouse)
        return {settings.feed(file.path.rsplit("/", 1)[-1]) for file in files}
    except RuntimeError as error:
        if errors.kind_of(error) is not errors.NoRight:
            raise
        return {settings.feed()}


def is_landed(feed: Feed) -> bool:
    """Whether the feed's four tables are there, and this account may read them."""
    try:
        return all(hdfs.exists(feed.hdfs, feed.folder(f"{table}/_delta_log")) for table in TABLES)
    except RuntimeError as error:
        if errors.kind_of(error) is not errors.NoRight:
            raise
        return False


class Feeds:
    """Keeps the databases of the catalogue equal to the landed feeds.

    Registering a feed takes about a second, so one update may not reach all new feeds.
    """

    def __init__(self, spark: SparkSession, settings: Settings):
        self.spark, self.settings = spark, settings
        self.known: list[Feed] = []  # least recently checked first
        self.at_start = feeds_with_a_folder(settings)
        self.try_again: dict[Feed, float] = {}  # when, by feed that could not be registered

    def update(self, seconds: float) -> None:
        """Drops feeds that are gone, and registers new ones.

        TOPIC goes first, then those that came after the start, then the others. Starts no
        registration after this many seconds; the next update goes on.
        """
        limit, there = time.monotonic() + seconds, feeds_with_a_folder(self.settings)
        checked, others = self.known[:CHECKED_AT_ONCE], self.known[CHECKED_AT_ONCE:]
        landed = [feed for feed in checked if feed in there and is_landed(feed)]
        for feed in checked:
            if feed not in landed:
                # Of the catalogue: nothing in HDFS is touched.
                self.spark.sql(f"DROP DATABASE IF EXISTS {feed.topic} CASCADE")
                self.spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]
        self.known = others + landed
        first, new = self.settings.feed(), there.difference(self.known)
        for feed in sorted(new, key=lambda feed: (feed != first, feed in self.at_start)):
            is_due = self.try_again.get(feed, 0) <= time.monotonic() <= limit
            if is_due and is_landed(feed) and self.registers(feed):
                self.known.append(feed)

    def registers(self, feed: Feed) -> bool:
        """Registers a feed. False when its tables cannot be opened: the log says why, once."""
        try:
            opened = delta.open_tables(feed)  # a broken one is found before clients see them
            for statement in views.registration(feed, "VIEW"):
                self.spark.sql(statement)
            self.show_columns(feed, opened)
        except UNREADABLE as error:
            if feed not in self.try_again:
                print(f"feed {feed.topic} is not shown: {errors.cause(error)}", flush=True)
            self.try_again[feed] = time.monotonic() + TRY_AGAIN_S
            return False
        self.try_again.pop(feed, None)
        return True

    def show_columns(self, feed: Feed, tables: delta.Tables) -> None:
        """Tells the catalogue the tables' columns, which JDBC clients list (getColumns)."""
        jvm: Any = self.spark._jvm
        catalog = self.spark._jsparkSession.sharedState().externalCatalog()
        for name, table in tables.items():
            schema = jvm.org.apache.spark.sql.types.DataType.fromJson(table.schema().to_json())
            catalog.alterTableSchema(feed.topic, name, schema)


def warm_up(spark: SparkSession, feed: Feed) -> None:
    """Sends a statement by JDBC, and queries/: the first client would wait for the compiler."""
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
        for file in WARM_UP_ROUNDS * sorted(ROOT.glob("queries/*.sql")):
            with contextlib.suppress(PySparkException):  # it may be the user's own, and wrong
                own.sql(questions.statement(file.read_text()).rstrip().rstrip(";")).collect()
    except UNREADABLE as error:  # the feed may be deleted meanwhile
        print(f"the warm-up with feed {feed.topic} ended early: {errors.cause(error)}", flush=True)


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
    feeds, memory = Feeds(spark, settings), Memory(spark)
    running: dict[str, float] = {}
    feeds.update(REGISTER_AT_START_S)
    start_endpoints(spark, settings)
    if some := feeds.known[:20]:  # reading the ledgers of hundreds would take long
        smallest = min(some, key=lambda feed: sum((position.landed_offsets(feed) or {}).values()))
        threading.Thread(target=warm_up, args=[spark, smallest], daemon=True).start()
    while True:
        time.sleep(CHECK_EVERY_S)
        try:
            running = enforce_limit(spark, settings.query_limit_s, running)
            feeds.update(REGISTER_S)
            exhausted = memory.is_exhausted()
        except Exception:  # HDFS does not answer, say: it may come back
            script.log_trace()
            exhausted = False
        if exhausted or jvm.poll() is not None:
            why = "no memory is left" if exhausted else "Spark has ended"
            print(f"{why}: Spark is restarted", flush=True)
            jvm.kill()
            jvm.wait()
            os.execv(sys.executable, sys.orig_argv)  # the pid stays the same


if __name__ == "__main__":
    script.run(main)
