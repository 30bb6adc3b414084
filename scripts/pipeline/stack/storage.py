"""The storage of the local servers: checked before each start, formatted before the first.

It is in $RUN_DIR/storage. Kafka's broker and HDFS's NameNode need a formatted folder.
The DataNode creates its own.
"""

import os
import pathlib
import secrets
import shutil
import subprocess
import sys

from pipeline import files
from pipeline.errors import Failure
from pipeline.settings import Settings

NAMENODE = "org.apache.hadoop.hdfs.server.namenode.NameNode"  # the server, and the formatter
FORMAT_LIMIT_S = 90


def formatted(settings: Settings) -> dict[str, pathlib.Path]:
    """{server: folder} of the folders that must be formatted before the first start."""
    storage = settings.in_run_dir("storage")
    return {"kafka": storage / "kafka", "namenode": storage / "hdfs/name"}


def check_storage(settings: Settings) -> None:
    """Failure when the storage does not fit these jars. Records their versions in it."""
    storage, folders = settings.in_run_dir("storage"), formatted(settings)
    version_file = storage / "versions"
    found = (sorted(settings.jars.glob(name)) for name in ("*/kafka_2*.jar", "hdfs/*.jar"))
    versions = " ".join(jar.stem for jars in found for jar in jars)
    before = version_file.read_text() if version_file.exists() else versions
    if before != versions and any(folder.exists() for folder in folders.values()):
        raise Failure(
            f"the data in {storage} belong to another version",
            f"they were made by {before}; this is {versions}",
            "use the scripts they were made with, or another run folder (RUN_DIR=.run-2), "
            f"or delete them: {settings.make('clean')}",
        )
    # The DataNode creates data/current after its first contact with the NameNode. Its parent proves
    # nothing: the DataNode may have started before the NameNode was formatted.
    has_blocks = (storage / "hdfs/data/current").exists()
    if has_blocks and not (folders["namenode"] / "current").exists():
        raise Failure(
            "the NameNode's folder is gone but the DataNode's blocks are there",
            f"{folders['namenode']} is missing; without it the blocks belong to no known file",
            f"put it back from a copy, or start again: {settings.make('clean')}",
        )
    files.replace(version_file, versions)


def format_storage(settings: Settings, server: str) -> None:
    """Formats the folder of "kafka" or "namenode" unless it exists; does nothing for other servers.

    The folder is formatted under another name and then renamed: it is complete or absent, and
    a folder that holds data is never formatted. Failure when the formatter fails.
    """
    folder = formatted(settings).get(server)
    if folder is None or folder.exists():
        return
    # Our pid is part of the name: the formatter of a killed `make up` may still be running.
    new = folder.with_name(f"{folder.name}.new-{os.getpid()}")
    log = settings.in_run_dir("logs", f"format-{server}.log")
    for interrupted in folder.parent.glob(f"{folder.name}.new*"):
        shutil.rmtree(interrupted, ignore_errors=True)
    if server == "kafka":
        properties = settings.in_run_dir("conf/kafka/format.properties")
        of_server = properties.with_name("server.properties").read_text()
        properties.write_text(of_server.replace(str(folder), str(new)))
        # A single broker is its own quorum of controllers. Several brokers must agree on a cluster
        # id and on the members of the quorum before they start.
        members = os.environ.get("KAFKA_QUORUM")
        quorum = f"--initial-controllers {members}" if members else "--standalone"
        cluster_id = os.environ.get("KAFKA_CLUSTER_ID") or new_cluster_id()
        command = f"kafka kafka.tools.StorageTool format --cluster-id {cluster_id} {quorum}".split()
        command += ["--config", str(properties)]
    else:
        command = f"hdfs {NAMENODE} -Ddfs.namenode.name.dir=file://{new} -format -force".split()
        command.append("-nonInteractive")
    with log.open("wb") as output:
        done = subprocess.run(
            ["java-tool", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=FORMAT_LIMIT_S,
        )
    if done.returncode:
        print("\n".join(log.read_text(errors="replace").splitlines()[-10:]), file=sys.stderr)
        raise Failure(
            f"the storage of {server} could not be formatted",
            f"its output is above and in {log}",
            f"mend what it says, then: {settings.make('up')}",
        )
    new.rename(folder)


def new_cluster_id() -> str:
    """A random Kafka cluster id. kafka-storage would take a leading dash for an option."""
    cluster_id = "-"
    while cluster_id.startswith("-"):
        cluster_id = secrets.token_urlsafe(16)
    return cluster_id
