"""A client of `make serve`, as a process of its own: by Spark Connect and by JDBC."""

import json
import os
import subprocess
import sys

import psutil
import pyspark

from stacks import ROOT, clean_environment

CONNECT = """
import json, os, sys
from pyspark.sql import SparkSession, functions as F
url, feed, address = sys.argv[1:]
spark = SparkSession.builder.remote(url).getOrCreate()
said = []
for statement in json.load(sys.stdin):
    try:
        name = {"spark": spark, "F": F, "feed": feed, "address": address}
        found = eval(statement, name) if statement[:6] == "spark." else spark.sql(statement)
        said.append([list(row) for row in found.collect()] if hasattr(found, "collect") else None)
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")
print(json.dumps(said, default=str))
"""


def token(stack):
    return (ROOT / stack.run_dir / "connect.token").read_text().strip()


def ports(stack):
    """(Spark Connect, JDBC): the two after those of the DataNode; on a cluster the usual ones."""
    if "STACK=cluster" in stack.command("serve"):
        return 15002, 10000
    hdfs = int(stack.hdfs.rsplit(":", 1)[1])
    return hdfs + 5, hdfs + 6


def connect(stack, feed, *statements, secret=None):
    """Runs SQL, or Python that begins with `spark.`, over Spark Connect, in one session.

    Returns for each statement its rows, None where there are none, or the text of the error.
    """
    done = subprocess.run(
        [sys.executable, "-c", CONNECT, f"sc://localhost:{ports(stack)[0]}", feed]
        + [f"{stack.hdfs}/warehouse/{feed}"],
        input=json.dumps(statements),
        env=clean_environment() | {"SPARK_CONNECT_AUTHENTICATE_TOKEN": secret or token(stack)},
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def jdbc(stack, feed, *statements, secret=None):
    """Runs SQL over JDBC with beeline, which goes on after an error. Returns its output."""
    jars = os.path.join(os.path.dirname(pyspark.__file__), "jars", "*")
    done = subprocess.run(
        ["java", "-XX:TieredStopAtLevel=1", "-cp", jars, "org.apache.hive.beeline.BeeLine"]
        + ["-u", f"jdbc:hive2://127.0.0.1:{ports(stack)[1]}/{feed}", "-n", "anybody"]
        + ["-p", secret or token(stack), "--silent=true", "--outputformat=tsv2", "--force=true"],
        input="".join(f"{statement};\n" for statement in statements),
        env=clean_environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    return done.stdout


def stop(stack):
    """Stops the server of make serve alone, as make down would with the others."""
    pid_file = ROOT / stack.run_dir / "pids" / "serve"
    process = psutil.Process(int(pid_file.read_text().split()[0]))
    jvm = process.children(recursive=True)
    process.terminate()
    psutil.wait_procs([process, *jvm], 60)
    assert not any(each.is_running() for each in [process, *jvm])
    pid_file.unlink()
