"""Creates class archives (AppCDS), with which JVMs start faster: kafka.jsa, hdfs.jsa, …

Run by: scripts/setup.sh, in the background at the lowest priority, when there are none or when
    Java or a jar changed
    scripts/env.sh python -m pipeline.stack.class_archives

An archive is a file beside the jars that holds the classes of a list in conf/classes/, parsed and
verified for one class path. A JVM maps it instead of reading the jars. A JVM that does not accept
it (another Java, another jar) starts as it would without.

A file gets its name only when it is complete, so this module may be killed at any time.
"""

import gzip
import logging
import os
import pathlib
import subprocess
import sys

from py4j.java_gateway import GatewayParameters, JavaGateway
from py4j.protocol import Py4JError
from pyspark.java_gateway import launch_gateway

from pipeline import files, script
from pipeline.settings import ROOT, Settings

KINDS = "kafka", "hdfs", "spark", "beeline"
LIMIT_S = 900
TRIES = 3  # a JVM that cannot map Java's own archive at its address, by chance, writes none


def java(kind: str, option: str) -> tuple[JavaGateway, subprocess.Popen[bytes]]:
    """A JVM with Py4J and this option, as `java-tool KIND` or a Spark session has it."""
    if kind == "spark":
        os.environ["SPARK_SUBMIT_OPTS"] += " " + option
        gateway = launch_gateway()  # type: ignore[no-untyped-call]
        return gateway, gateway.proc
    process = subprocess.Popen(
        ["java-tool", kind, "py4j.GatewayServer", "--enable-auth", "--die-on-broken-pipe", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"JAVA_TOOL_OPTS": f"-Xmx512m {option}"},
    )
    assert process.stdout
    port = next(line for line in process.stdout if line.strip().isdigit())
    token = process.stdout.readline().decode().strip()
    parameters = GatewayParameters(port=int(port), auth_token=token)
    return JavaGateway(gateway_parameters=parameters), process


def make(kind: str, jars: pathlib.Path) -> None:
    """Creates the archive of one of KINDS. Raises CalledProcessError without one."""
    archive, new = jars / f"{kind}.jsa", jars / f"{kind}.jsa.new"
    archive.unlink(missing_ok=True)
    new.unlink(missing_ok=True)
    gateway, process = java(kind, f"-XX:ArchiveClassesAtExit={new}")
    loader = gateway.jvm.java.lang.ClassLoader.getSystemClassLoader()
    load, missing = gateway.jvm.java.lang.Class.forName, 0
    for name in gzip.open(ROOT / f"conf/classes/{kind}.txt.gz", "rt"):
        try:
            load(name.strip().replace("/", "."), False, loader)
        except Py4JError:  # a class of another Java version
            missing += 1
    assert process.stdin
    process.stdin.close()  # at the end of its input the JVM exits and writes the archive
    if process.wait(LIMIT_S) != 0 or not new.exists():
        new.unlink(missing_ok=True)
        raise subprocess.CalledProcessError(process.returncode, process.args)
    # Synced first: Java does not check an archive's length, and crashes on a truncated one.
    with open(new) as file:
        os.fsync(file.fileno())
    new.rename(archive)
    print(
        f"{archive}: {archive.stat().st_size >> 20} MB, "
        f"{missing} of the listed classes are not in this Java or these jars",
        flush=True,
    )


def main(settings: Settings) -> None:
    logging.disable()  # Py4J logs an error when the JVM exits
    os.environ.pop("HADOOP_CONF_DIR", None)  # a class path with a folder cannot be archived
    jars = settings.jars
    # Another process that does the same is left to it.
    with files.locked(jars / "archives.lock", lambda _: sys.exit()):
        for kind in KINDS:
            for _ in range(TRIES):
                try:
                    make(kind, jars)
                    break
                except Exception as error:
                    print(f"no {kind}.jsa: {error!r}", file=sys.stderr, flush=True)
        # For which Java and jars they are. Noted also when one failed: otherwise setup.sh would
        # retry it with each command.
        sizes = subprocess.getoutput(f"cd {jars} && wc -c ./*.jsa 2> /dev/null")
        files.replace(jars / "archives", f"{os.environ['ARCHIVES_FOR']}\n{sizes}")


if __name__ == "__main__":
    script.run(main)
