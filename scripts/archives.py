"""Makes the class archives (AppCDS) that let the JVMs start faster: kafka.jsa, hdfs.jsa and spark.jsa beside the jars.

Run by: scripts/setup.sh, in the background, when there are none or when Java or a jar changed
    scripts/env.sh python scripts/archives.py

An archive holds the classes that conf/classes/ lists for one class path, parsed and verified. A JVM that is given one
maps it instead of reading the jars; one that does not accept it (another Java, another jar) starts as without.
One JVM for each archive loads the classes of its list and writes the archive as it exits. A file appears under its
name only when it is whole, so this may be killed at any time.
"""
import contextlib
import fcntl
import gzip
import logging
import os
import pathlib
import subprocess
import sys

from py4j.java_gateway import GatewayParameters, JavaGateway
from py4j.protocol import Py4JError
from pyspark.java_gateway import launch_gateway

JARS = pathlib.Path(os.environ["JARS"])
LISTS = pathlib.Path(os.environ["ROOT"]) / "conf" / "classes"
LIMIT_S = 900
TRIES = 3  # now and then a JVM cannot map Java's own archive at its address, and then it writes none


def spark_driver(option):
    """The JVM that a Spark session would run in."""
    os.environ["SPARK_SUBMIT_OPTS"] += " " + option
    gateway = launch_gateway()
    return gateway, gateway.proc


def tool(kind, option):
    """A JVM on the class path of java-tool, with Py4J in it."""
    process = subprocess.Popen(["java-tool", kind, "py4j.GatewayServer", "--enable-auth", "--die-on-broken-pipe", "0"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"JAVA_TOOL_OPTS": f"-Xmx512m {option}"})
    port, token = next(line for line in process.stdout if line.strip().isdigit()), process.stdout.readline().strip()
    return JavaGateway(gateway_parameters=GatewayParameters(port=int(port), auth_token=token)), process


def make(kind):
    archive, new = JARS / f"{kind}.jsa", JARS / f"{kind}.jsa.new"
    archive.unlink(missing_ok=True)
    new.unlink(missing_ok=True)
    option = f"-XX:ArchiveClassesAtExit={new}"
    gateway, process = spark_driver(option) if kind == "spark" else tool(kind, option)
    loader = gateway.jvm.java.lang.ClassLoader.getSystemClassLoader()
    load, missing = gateway.jvm.java.lang.Class.forName, 0
    for name in gzip.open(LISTS / f"{kind}.txt.gz", "rt"):
        try:
            load(name.strip().replace("/", "."), False, loader)
        except Py4JError:  # a class of another Java version
            missing += 1
    process.stdin.close()  # at the end of its input it exits, and writes the archive
    if process.wait(LIMIT_S) == 0 and new.exists():
        # On the disk before it has its name: Java checks no archive's length, and crashes on one that is cut short.
        with open(new) as file:
            os.fsync(file.fileno())
        new.rename(archive)
        print(f"{archive}: {archive.stat().st_size >> 20} MB, {missing} of the listed classes are not in this Java or these jars", flush=True)
    else:
        new.unlink(missing_ok=True)
        raise subprocess.CalledProcessError(process.returncode, process.args)


if __name__ == "__main__":
    logging.disable()  # Py4J is surprised that the JVM exits
    os.environ.pop("HADOOP_CONF_DIR", None)  # no archive can be made with a folder on the class path
    with open(JARS / "archives.lock", "w") as lock:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for each in ("kafka", "hdfs", "spark"):
                for _ in range(TRIES):
                    try:
                        make(each)
                        break
                    except (OSError, StopIteration, Py4JError, RuntimeError, subprocess.SubprocessError) as error:
                        print(f"no {each}.jsa: {error!r}", file=sys.stderr, flush=True)
            # What they were made for, also when one could not be made: setup.sh does not try it again with each command.
            made_for = JARS / "archives.new"
            sizes = subprocess.run("wc -c ./*.jsa 2>/dev/null", shell=True, cwd=JARS, text=True, stdout=subprocess.PIPE).stdout
            made_for.write_text(os.environ["ARCHIVES_FOR"] + "\n" + sizes)
            made_for.rename(JARS / "archives")
