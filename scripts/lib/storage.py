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

import config
import knobs
from errors import Failure

NAMENODE = "org.apache.hadoop.hdfs.server.namenode.NameNode"  # the server, and the formatter
FORMAT_LIMIT_S = 90


def run_dir(*parts: str) -> pathlib.Path:
    """A path below the run folder."""
    return pathlib.Path(config.RUN_DIR, *parts)


def write_atomically(path: pathlib.Path, text: str) -> None:
    """Writes the file under another name and renames it. Creates its folder where needed."""
    path.parent.mkdir(exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def formatted() -> dict[str, pathlib.Path]:
    """{server: folder} of the folders that must be formatted before the first start."""
    return {"kafka": run_dir("storage", "kafka"), "namenode": run_dir("storage", "hdfs", "name")}


def check_storage() -> None:
    """Checks that the storage fits these scripts, and records the versions of the jars in it.

    Failure when other versions of the jars wrote the data, or when the NameNode's folder is gone.
    """
    version_file = run_dir("storage", "versions")
    jars = pathlib.Path(config.JARS)
    found = sorted(jars.glob("*/kafka_2*.jar")) + sorted(jars.glob("hdfs/*.jar"))
    versions = " ".join(jar.stem for jar in found)
    if (
        version_file.exists()
        and version_file.read_text() != versions
        and any(folder.exists() for folder in formatted().values())
    ):
        raise Failure(
            f"the data in {run_dir('storage')} belong to another version",
            f"they were made by {version_file.read_text()}; this is {versions}",
            "use the scripts they were made with, or another run folder (RUN_DIR=.run-2), "
            f"or delete them: make clean{knobs.of_stack()}",
        )
    # The DataNode creates data/current after its first contact with the NameNode. Its parent proves
    # nothing: the DataNode may have started before the NameNode was formatted.
    has_blocks = run_dir("storage", "hdfs", "data", "current").exists()
    if has_blocks and not (formatted()["namenode"] / "current").exists():
        raise Failure(
            "the NameNode's folder is gone but the DataNode's blocks are there",
            f"{formatted()['namenode']} is missing; without it the blocks belong to no known file",
            f"put it back from a copy, or start again: make clean{knobs.of_stack()}",
        )
    write_atomically(version_file, versions)


def format_storage(server: str) -> None:
    """Formats the folder of "kafka" or "namenode" unless it exists; does nothing for other servers.

    The folder is formatted under another name and then renamed: it is complete or absent, and
    a folder that holds data is never formatted. Failure when the formatter fails.
    """
    folder = formatted().get(server)
    if folder is None or folder.exists():
        return
    # Our pid is part of the name: the formatter of a killed `make up` may still be running.
    new = folder.with_name(f"{folder.name}.new-{os.getpid()}")
    log = run_dir("logs", f"format-{server}.log")
    for interrupted in folder.parent.glob(f"{folder.name}.new*"):
        shutil.rmtree(interrupted, ignore_errors=True)
    command = _kafka_formatter(folder, new) if server == "kafka" else _namenode_formatter(new)
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
            f"mend what it says, then: make up{knobs.of_stack()}",
        )
    new.rename(folder)


def _kafka_formatter(folder: pathlib.Path, new: pathlib.Path) -> list[str]:
    """The command that formats `new` as the broker's folder. Renders its properties file."""
    properties = run_dir("conf", "kafka", "format.properties")
    of_server = run_dir("conf", "kafka", "server.properties").read_text()
    properties.write_text(of_server.replace(str(folder), str(new)))
    # A single broker is its own quorum of controllers. Several brokers must agree on a cluster id
    # and on the members of the quorum before they start.
    quorum = (
        ["--initial-controllers", os.environ["KAFKA_QUORUM"]]
        if "KAFKA_QUORUM" in os.environ
        else ["--standalone"]
    )
    cluster_id = os.environ.get("KAFKA_CLUSTER_ID") or new_cluster_id()
    tool = ["java-tool", "kafka", "kafka.tools.StorageTool", "format"]
    return [*tool, *quorum, "--cluster-id", cluster_id, "--config", str(properties)]


def _namenode_formatter(new: pathlib.Path) -> list[str]:
    """The command that formats `new` as the NameNode's folder."""
    tool = ["java-tool", "hdfs", NAMENODE, f"-Ddfs.namenode.name.dir=file://{new}"]
    return [*tool, "-format", "-force", "-nonInteractive"]


def new_cluster_id() -> str:
    """A random Kafka cluster id: 16 bytes in URL-safe base64 without padding.

    Never with a leading dash, which kafka-storage would take for an option. (Kafka avoids it, too.)
    """
    while True:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not cluster_id.startswith("-"):
            return cluster_id
