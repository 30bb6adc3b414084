"""The storage of the local servers: checked before each start, formatted before the first.

It is in $RUN_DIR/storage. Kafka's broker and HDFS's NameNode need a formatted folder.
The DataNode creates its own.
"""

import base64
import os
import pathlib
import shutil
import subprocess
import sys
import uuid

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
    """Checks that the storage fits these scripts, and records the versions of the jars in it.

    Failure when other versions of the jars wrote the data, or when the NameNode's folder is gone.
    """
    storage, folders = settings.in_run_dir("storage"), formatted(settings)
    version_file = storage / "versions"
    found = (sorted(settings.jars.glob(name)) for name in ("*/kafka_2*.jar", "hdfs/*.jar"))
    versions = " ".join(jar.stem for jars in found for jar in jars)
    if (
        version_file.exists()
        and version_file.read_text() != versions
        and any(folder.exists() for folder in folders.values())
    ):
        raise Failure(
            f"the data in {storage} belong to another version",
            f"they were made by {version_file.read_text()}; this is {versions}",
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
        command = _kafka_formatter(settings, folder, new)
    else:
        tool = ["java-tool", "hdfs", NAMENODE, f"-Ddfs.namenode.name.dir=file://{new}"]
        command = [*tool, "-format", "-force", "-nonInteractive"]
    with log.open("wb") as output:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=FORMAT_LIMIT_S,
        )
    if done.returncode != 0:
        print("\n".join(log.read_text(errors="replace").splitlines()[-10:]), file=sys.stderr)
        raise Failure(
            f"the storage of {server} could not be formatted",
            f"its output is above and in {log}",
            f"mend what it says, then: {settings.make('up')}",
        )
    new.rename(folder)


def _kafka_formatter(settings: Settings, folder: pathlib.Path, new: pathlib.Path) -> list[str]:
    """The command that formats `new` as the broker's folder. Renders its properties file."""
    conf = settings.in_run_dir("conf", "kafka")
    properties = conf / "format.properties"
    of_server = (conf / "server.properties").read_text()
    properties.write_text(of_server.replace(str(folder), str(new)))
    # A single broker is its own quorum of controllers. Several brokers must agree on a cluster id
    # and on the members of the quorum before they start.
    members = os.environ.get("KAFKA_QUORUM")
    quorum = ["--initial-controllers", members] if members else ["--standalone"]
    cluster_id = os.environ.get("KAFKA_CLUSTER_ID") or new_cluster_id()
    tool = ["java-tool", "kafka", "kafka.tools.StorageTool", "format"]
    return [*tool, *quorum, "--cluster-id", cluster_id, "--config", str(properties)]


def new_cluster_id() -> str:
    """A random Kafka cluster id: 16 bytes in URL-safe base64 without padding.

    Never with a leading dash, which kafka-storage would take for an option. (Kafka avoids it, too.)
    """
    while True:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not cluster_id.startswith("-"):
            return cluster_id
