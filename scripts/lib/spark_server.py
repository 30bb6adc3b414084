"""The server of `make serve`: one Spark process that answers queries on every landed feed.

It has two doors: Spark Connect, and JDBC (the protocol of HiveServer2). A feed is a database with
its four tables and the view attempt_order. Feeds appear, and disappear, within seconds. After a
start hundreds of feeds are registered one after the other, for minutes, while clients already send
queries: the feed TOPIC first, and what is landed meanwhile before the others.

Clients only read. Spark is here another user of HDFS than landing, and HDFS refuses what that user
would write. ReadOnly.java refuses what HDFS does not see: changes of the catalogue, code of users,
files of this machine.

serve.py starts it, as a service of docker-compose.yml does:
    scripts/lib/env.sh python scripts/lib/spark_server.py RUN_DIR
"""

import contextlib
import os
import pathlib
import sys
import threading
import time
from typing import NoReturn

from py4j.java_gateway import JavaObject, JVMView
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

import config
import connect
import errors
import lake
import questions
import spark_session
from served_feeds import UNREADABLE, Feeds

READER = "reader"  # in HDFS it owns nothing, so it reads what everybody may read
LOOK_EVERY_S = 1
# How long new feeds are registered: before clients are let in, and between two checks of what runs.
REGISTER_AT_START_S, REGISTER_S = 30, 10
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
# Without that error: when the collector takes so much of the time for so long, Spark is restarted.
GC_SHARE, GC_SHARE_FOR_S = 0.9, 60
# After a collection Spark drops, in the background, the broadcasts that no query uses any more. The
# next one, GC_SHARE_FOR_S later, frees their memory, and so on.
COLLECTIONS_AT_REST = 3
# How often the warm-up answers the questions. Each round has less effect than the one before.
WARM_UP_ROUNDS = 3
# They call any static function of Java.
REFUSED_FUNCTIONS = ("java_method", "reflect", "try_reflect")


def settings() -> dict[str, str]:
    """Spark's settings, beside those of conf/spark/."""
    return {
        "spark.app.name": "serve",
        "spark.connect.grpc.binding.address": config.SERVE_BIND,
        "spark.connect.grpc.binding.port": config.CONNECT_PORT,
        "spark.connect.grpc.interceptor.classes": "ReadOnly$Requests",
        # Otherwise the interceptor would not see what is in a plan, or in a client's local data.
        "spark.connect.session.planCompression.threshold": "-1",
        "spark.sql.session.localRelationCacheThreshold": str(64 * 2**20),
        # Databases are entries of the catalogue in memory; this folder stays empty.
        "spark.sql.warehouse.dir": f"file:{os.environ.get('SPARK_LOCAL_DIRS', '/tmp')}",
        # A client sees what was wrong, not where in Spark's code.
        "spark.sql.connect.serverStacktrace.enabled": "false",
        # Queries share the cores, the long ones and the short ones.
        "spark.scheduler.mode": "FAIR",
        "spark.scheduler.allocation.file": f"file:{config.ROOT}/conf/spark/fairscheduler.xml",
        # An answer, or a task, that does not fit into the memory ends with an error. By default
        # such a task ends the process.
        "spark.driver.maxResultSize": "256m",
        "spark.executor.killOnFatalError.depth": "0",
        # Of the classes that Spark generates for plans, the questions need about 500. By default it
        # keeps 100, and compiles the others at every query again.
        "spark.sql.codegen.cache.maxEntries": "2000",
        # Over JDBC rows leave partition by partition, not all at once.
        "spark.sql.thriftServer.incrementalCollect": "true",
    }


def jdbc_settings() -> dict[str, str]:
    """Properties of HiveServer2."""
    return {
        "hive.server2.authentication": "CUSTOM",
        "hive.server2.custom.authentication.class": "ReadOnly$Password",
        "hive.server2.thrift.bind.host": config.SERVE_BIND,
        "hive.server2.thrift.port": config.JDBC_PORT,
    }


def start_spark() -> SparkSession:
    """The session that registers the feeds. Clients get sessions of their own, made from it."""
    os.environ["SPARK_CONNECT_AUTHENTICATE_TOKEN"] = connect.token()
    # As a property: HiveServer2 would take the variable for somebody to act on behalf of.
    user = os.environ.pop("HADOOP_USER_NAME", READER)
    os.environ["PYSPARK_PYTHON"] = "/bin/false"  # no Python function of a client ever runs here
    conf = SparkConf(loadDefaults=False).setAll(list(settings().items()))
    conf.set("spark.driver.defaultJavaOptions", f"{JAVA_OPTIONS} -DHADOOP_USER_NAME={user}")
    if config.SPARK_MASTER.startswith("local"):
        # A query has about as many tasks as there are cores, and holds on to its slots until they
        # end. With many more slots others go on meanwhile.
        cores = os.cpu_count() or 1
        conf.set("spark.master", f"local[{32 * cores}]")
        conf.set("spark.default.parallelism", str(cores))
    SparkContext._ensure_initialized(gateway=launch_gateway(conf))
    return SparkSession.builder.getOrCreate()


def open_doors(spark: SparkSession) -> None:
    """Lets clients in, by Spark Connect and by JDBC. What they may do is in ReadOnly.java."""
    jvm = spark._jvm
    define_classes(jvm)
    check = instance(spark, "ReadOnly", f"{config.HDFS}{config.WAREHOUSE}/")
    # This session has its rules already: it may register feeds.
    spark._jsparkSession.sessionState().analyzer()
    spark._jsparkSession.extensions().injectCheckRule(check)
    catalyst = jvm.org.apache.spark.sql.catalyst
    for name in REFUSED_FUNCTIONS:
        function = catalyst.FunctionIdentifier(name)
        assert catalyst.analysis.FunctionRegistry.builtin().dropFunction(function)
    jvm.org.apache.spark.sql.connect.service.SparkConnectService.start(spark._jsc.sc())
    kerberos = {
        f"hive.server2.authentication.kerberos.{name}": spark.conf.get(f"spark.kerberos.{name}", "")
        for name in ("principal", "keytab")
    }  # with Kerberos HiveServer2 logs in once more
    for name, value in (jdbc_settings() | kerberos).items():
        jvm.System.setProperty(name, value)
    thriftserver = jvm.org.apache.spark.sql.hive.thriftserver
    thriftserver.HiveThriftServer2.startWithContext(spark._jsparkSession.sqlContext())


def define_classes(jvm: JVMView) -> None:
    """Compiles ReadOnly.java into the JVM's application class loader.

    HiveServer2 looks for the class that checks passwords in the class loader of a thread, and a
    thread that served another client before has this one.
    """
    compiler = jvm.org.codehaus.janino.SimpleCompiler()
    compiler.cook(pathlib.Path(__file__).with_name("ReadOnly.java").read_text())
    types = SparkContext._gateway.new_array(jvm.Class, 4)
    types[0] = jvm.Class.forName("java.lang.String")
    types[1] = jvm.Class.forName("[B")
    types[2] = types[3] = jvm.Integer.TYPE
    define = jvm.Class.forName("java.lang.ClassLoader").getDeclaredMethod("defineClass", types)
    define.setAccessible(True)
    for name, code in compiler.getBytecodes().items():
        arguments = SparkContext._gateway.new_array(jvm.Object, 4)
        arguments[0], arguments[1], arguments[2], arguments[3] = name, code, 0, len(code)
        define.invoke(jvm.ClassLoader.getSystemClassLoader(), arguments)


def instance(spark: SparkSession, name: str, argument: str) -> JavaObject:
    """A new object of a class of ReadOnly.java."""
    jvm, gateway = spark._jvm, SparkContext._gateway
    types, arguments = gateway.new_array(jvm.Class, 1), gateway.new_array(jvm.Object, 1)
    types[0], arguments[0] = jvm.Class.forName("java.lang.String"), argument
    loader = jvm.ClassLoader.getSystemClassLoader()
    return loader.loadClass(name).getConstructor(types).newInstance(arguments)


def warm_up(spark: SparkSession, feed: str) -> None:
    """Answers the questions in queries/. Otherwise the first client waits for the compiler."""
    try:
        answer_questions(spark, feed)
    except UNREADABLE as error:  # the feed may be deleted meanwhile
        print(f"the warm-up with feed {feed} ended early: {errors.cause(error)}", flush=True)


def answer_questions(spark: SparkSession, feed: str) -> None:
    """Sends a statement through JDBC, as make sql does, and the questions as make query does."""
    session = spark.newSession()
    for name, value in spark_session.QUICK_SQL.items():
        session.conf.set(name, value)
    session.sql(f"USE {feed}")
    login = spark._jvm.java.util.Properties()
    login.setProperty("password", connect.token())
    url = f"jdbc:hive2://{config.SERVE_BIND}:{config.JDBC_PORT}/{feed}"
    driver = spark._jvm.org.apache.hive.jdbc.HiveDriver()
    with contextlib.closing(driver.connect(url, login)) as connection:
        connection.createStatement().execute("SELECT count(*) FROM attempts")
    spark_session.create_views(session, feed)  # as make query reads
    for file in WARM_UP_ROUNDS * sorted(pathlib.Path(config.ROOT, "queries").glob("*.sql")):
        with contextlib.suppress(PySparkException):  # it may be the user's own, and wrong
            session.sql(questions.statement(file.read_text()).rstrip().rstrip(";")).collect()


class Limit:
    """Stops the jobs of queries that run longer than QUERY_LIMIT_S."""

    def __init__(self, spark: SparkSession):
        self.context = spark.sparkContext
        self.since: dict[str, float] = {}  # by query: when it was first seen

    def enforce(self) -> None:
        now, limit_s = time.monotonic(), int(config.QUERY_LIMIT_S)
        running = {}
        for job in self.context.statusTracker().getActiveJobsIds():
            of_job = self.context._jsc.sc().statusStore().job(job)
            query = of_job.jobGroup().toString() + of_job.jobTags().toString()
            running[query] = self.since.get(query, now)
            if now - running[query] > limit_s:
                self.context._jsc.sc().cancelJob(
                    job, f"it ran longer than QUERY_LIMIT_S={limit_s} seconds"
                )
        self.since = running


class Memory:
    """Finds out whether Spark does nothing but collect garbage, and so answers nobody.

    When it has had no job for GC_SHARE_FOR_S, the server rests: what clients cached is dropped, and
    COLLECTIONS_AT_REST return to the machine what their queries left in memory.
    """

    def __init__(self, spark: SparkSession):
        self.spark, self.jvm = spark, spark._jvm
        factory = self.jvm.java.lang.management.ManagementFactory
        self.collectors = list(factory.getGarbageCollectorMXBeans())
        self.since, self.collected_s = time.monotonic(), self.collected()
        self.jobs, self.collections_at_rest = self.started_jobs(), 0

    def collected(self) -> float:
        """Seconds that went into garbage collection since the start."""
        return sum(collector.getCollectionTime() for collector in self.collectors) / 1000

    def started_jobs(self) -> int:
        """How many jobs Spark has started."""
        return self.spark._jsc.sc().dagScheduler().numTotalJobs()

    def is_exhausted(self) -> bool:
        elapsed_s = time.monotonic() - self.since
        if elapsed_s < GC_SHARE_FOR_S:
            return False
        share = (self.collected() - self.collected_s) / elapsed_s
        self.since, self.collected_s = time.monotonic(), self.collected()
        before, self.jobs = self.jobs, self.started_jobs()
        if before < self.jobs or self.spark.sparkContext.statusTracker().getActiveJobsIds():
            self.collections_at_rest = 0
        elif self.collections_at_rest < COLLECTIONS_AT_REST:
            if self.collections_at_rest == 0:  # later, a client may have cached something again
                self.spark.catalog.clearCache()
            self.jvm.System.gc()
            self.collections_at_rest += 1
            self.collected_s = self.collected()
        return share > GC_SHARE


def restart(why: str) -> NoReturn:
    """Replaces this process, and Spark with it, by a new one with the same pid."""
    print(f"{why}: Spark is restarted", flush=True)
    SparkContext._gateway.proc.kill()
    SparkContext._gateway.proc.wait()
    os.execv(sys.executable, [sys.executable, *sys.argv])


def main() -> None:
    os.nice(max(0, 5 - os.nice(0)))  # landing goes first
    spark = start_spark()
    feeds, limit, memory = Feeds(spark), Limit(spark), Memory(spark)
    feeds.update(REGISTER_AT_START_S)
    open_doors(spark)
    if feeds.known:
        some = feeds.known[:20]  # reading the ledgers of hundreds would take long
        smallest = min(some, key=lambda feed: sum((lake.landed_offsets(feed) or {}).values()))
        threading.Thread(target=warm_up, args=[spark, smallest], daemon=True).start()
    while True:
        time.sleep(LOOK_EVERY_S)
        try:
            limit.enforce()
            feeds.update(REGISTER_S)
            exhausted = memory.is_exhausted()
        except Exception:  # HDFS does not answer, say: it may come back
            errors.log_trace()
            exhausted = False
        if exhausted or SparkContext._gateway.proc.poll() is not None:
            restart("no memory is left" if exhausted else "Spark has ended")


if __name__ == "__main__":
    main()
