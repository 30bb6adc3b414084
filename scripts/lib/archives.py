"""Creates class archives (AppCDS), with which JVMs start faster: kafka.jsa, hdfs.jsa, …

Run by: scripts/setup.sh, in the background, when there are none or when Java or a jar changed
    scripts/lib/env.sh python scripts/lib/archives.py

An archive is a file beside the jars that holds the classes that conf/classes/ lists for one class
path, parsed and verified. A JVM maps it instead of reading the jars. A JVM that does not accept it
(another Java, another jar) starts as it would without.

For each archive, one JVM loads the classes of its list and writes the archive when it exits. A file
gets its name only when it is complete, so this script may be killed at any time.
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

import config

KINDS = "kafka", "hdfs", "spark", "beeline"
LIMIT_S = 900
EXPECTED = OSError, StopIteration, Py4JError, RuntimeError, subprocess.SubprocessError
TRIES = 3  # a JVM that cannot map Java's own archive at its address, by chance, writes none


def spark_driver(option: str) -> tuple[JavaGateway, subprocess.Popen]:
    """A JVM as a Spark session has it, with this Java option, and its process."""
    os.environ["SPARK_SUBMIT_OPTS"] += " " + option
    gateway = launch_gateway()
    return gateway, gateway.proc


def tool(kind: str, option: str) -> tuple[JavaGateway, subprocess.Popen]:
    """A JVM with Py4J on the class path of `java-tool KIND`, and its process."""
    process = subprocess.Popen(
        ["java-tool", kind, "py4j.GatewayServer", "--enable-auth", "--die-on-broken-pipe", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAVA_TOOL_OPTS": f"-Xmx512m {option}"},
    )
    port = next(line for line in process.stdout if line.strip().isdigit())
    token = process.stdout.readline().strip()
    parameters = GatewayParameters(port=int(port), auth_token=token)
    return JavaGateway(gateway_parameters=parameters), process


def make(kind: str) -> None:
    """Creates the archive of one of KINDS. Raises CalledProcessError without one."""
    jars = pathlib.Path(config.JARS)
    archive, new = jars / f"{kind}.jsa", jars / f"{kind}.jsa.new"
    archive.unlink(missing_ok=True)
    new.unlink(missing_ok=True)
    option = f"-XX:ArchiveClassesAtExit={new}"
    gateway, process = spark_driver(option) if kind == "spark" else tool(kind, option)
    loader = gateway.jvm.java.lang.ClassLoader.getSystemClassLoader()
    load, missing = gateway.jvm.java.lang.Class.forName, 0
    for name in gzip.open(f"{config.ROOT}/conf/classes/{kind}.txt.gz", "rt"):
        try:
            load(name.strip().replace("/", "."), False, loader)
        except Py4JError:  # a class of another Java version
            missing += 1
    process.stdin.close()  # at the end of its input the JVM exits and writes the archive
    if process.wait(LIMIT_S) == 0 and new.exists():
        # Synced first: Java does not check an archive's length, and crashes on a truncated one.
        with open(new) as file:
            os.fsync(file.fileno())
        new.rename(archive)
        print(
            f"{archive}: {archive.stat().st_size >> 20} MB, "
            f"{missing} of the listed classes are not in this Java or these jars",
            flush=True,
        )
    else:
        new.unlink(missing_ok=True)
        raise subprocess.CalledProcessError(process.returncode, process.args)


def make_all() -> None:
    """Creates the archives, and notes in `archives` for which Java and jars."""
    for kind in KINDS:
        for _ in range(TRIES):
            try:
                make(kind)
                break
            except EXPECTED as error:
                print(f"no {kind}.jsa: {error!r}", file=sys.stderr, flush=True)
    # Noted also when one failed: otherwise setup.sh would retry it with each command.
    jars = pathlib.Path(config.JARS)
    sizes = subprocess.run(
        "wc -c ./*.jsa 2>/dev/null", shell=True, cwd=jars, text=True, stdout=subprocess.PIPE
    ).stdout
    made_for = jars / "archives.new"
    made_for.write_text(config.ARCHIVES_FOR + "\n" + sizes)
    made_for.rename(jars / "archives")


if __name__ == "__main__":
    logging.disable()  # Py4J logs an error when the JVM exits
    os.environ.pop("HADOOP_CONF_DIR", None)  # a class path with a folder cannot be archived
    with open(f"{config.JARS}/archives.lock", "w") as lock, contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        make_all()
