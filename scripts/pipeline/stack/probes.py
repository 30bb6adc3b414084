"""Probes: requests that only a working service answers. They raise an exception otherwise.

For each server of the local stack, and for services that run elsewhere (STACK=cluster).
"""

import contextlib
import json
import logging
import os
import re
import socket
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import hdfs_native

from pipeline import errors
from pipeline.errors import Failure
from pipeline.settings import Settings

SERVER_ANSWERS_WITHIN_S = 10
FIND_LIMIT_S = 30

Probe = Callable[[Settings], str | None]  # may return in words what it found


def probe_kafka(settings: Settings) -> str:
    """Asks for the cluster's brokers and for the id of an idempotent producer.

    Returns the number of brokers in words.
    """
    # Here, because every target imports this module, and most need no Kafka.
    from kafka.errors import ClusterAuthorizationFailedError, NoError
    from kafka.protocol.producer.transaction import InitProducerIdRequest

    from pipeline.kafka import topics

    with contextlib.closing(topics.admin(settings, SERVER_ANSWERS_WITHIN_S)) as admin:
        brokers = admin.describe_cluster()["brokers"]
        if not brokers:
            raise OSError("the broker does not list itself yet")
        # A fresh broker refuses the first request for a producer id, and kcat would print an error.
        # kafka-python has no public function for this request.
        request = InitProducerIdRequest(
            transactional_id=None, transaction_timeout_ms=-1, producer_id=-1, producer_epoch=-1
        )
        error = admin._manager.run(admin._manager.send, request).error_code
        if error not in (NoError.errno, ClusterAuthorizationFailedError.errno):  # it may only read
            raise OSError(f"the broker gives no producer id yet (Kafka's error {error})")
    return f"{len(brokers)} broker{'s'[: len(brokers) > 1]}"


def probe_namenode(settings: Settings) -> None:
    """Lists the root folder."""
    list(hdfs_native.Client(settings.hdfs).list_status("/"))


def probe_datanode(settings: Settings) -> None:
    """Writes, reads and deletes a file.

    Works when the NameNode is out of safe mode and a DataNode stores blocks.
    """
    # The NameNode's page comes first: without a DataNode the client retries a write for seconds.
    url = (
        f"http://127.0.0.1:{settings.ports.namenode_http}"
        "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"
    )
    without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with without_proxy.open(url, timeout=SERVER_ANSWERS_WITHIN_S) as page:
        state = json.load(page)["beans"][0]
    if state["NumLiveDataNodes"] < 1 or state["FSState"] != "Operational":
        raise OSError(
            f"{state['NumLiveDataNodes']} live DataNodes, HDFS is in state {state['FSState']}"
        )
    write_read_delete(settings, f"/.probe-{os.getpid()}")


def write_read_delete(settings: Settings, path: str) -> None:
    """Writes, reads and deletes a file in HDFS. OSError when it reads something else."""
    hdfs = hdfs_native.Client(settings.hdfs)
    with hdfs.create(path, hdfs_native.WriteOptions(overwrite=True)) as out:
        out.write(b"ok")
    with hdfs.read(path) as file:
        if file.read(2) != b"ok":
            raise OSError("read back something else than was written")
    hdfs.delete(path)


def probe_reading(settings: Settings) -> None:
    """Asks for the warehouse, which every account may that reads or writes tables."""
    host, _, port = settings.hdfs.removeprefix("hdfs://").partition(":")
    if port:  # a NameNode, not a nameservice: a plain connection fails faster than the client
        socket.create_connection((host, int(port)), SERVER_ANSWERS_WITHIN_S).close()
    with contextlib.suppress(FileNotFoundError):
        hdfs_native.Client(settings.hdfs).get_file_info(settings.warehouse)


def probe_hdfs(settings: Settings) -> None:
    """Writes, reads and deletes a file in the warehouse, with the same rights as landing."""
    probe_reading(settings)
    hdfs_native.Client(settings.hdfs).mkdirs(settings.warehouse, create_parent=True)
    write_read_delete(settings, f"{settings.warehouse}/.probe-{uuid.uuid4().hex}")


def probe_spark(settings: Settings) -> None:
    """Connects to one of the masters of spark://. Other kinds of masters are not probed."""
    if not settings.spark_master.startswith("spark://"):
        return
    failed = []
    for address in settings.spark_master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        try:
            return socket.create_connection((host, int(port)), SERVER_ANSWERS_WITHIN_S).close()
        except OSError as error:
            failed.append(f"{address}: {error}")
    raise OSError("; ".join(failed))


# --- STACK=cluster --------------------------------------------------------------------------------


def probe_all(
    settings: Settings, *, kafka: bool = True, tables: bool = True, writes: bool = True
) -> Iterator[str]:
    """Probes the services of STACK=cluster. Yields a line for each; Failure when one is silent.

    kafka: probe Kafka. tables: probe HDFS and Spark. writes: probe HDFS by writing a file, as
    landing does, not by reading alone.
    """
    services: list[tuple[str, str, Probe]] = [("kafka", "KAFKA", probe_kafka)] if kafka else []
    if tables:
        services.append(("hdfs", "HDFS", probe_hdfs if writes else probe_reading))
        services.append(("spark", "SPARK_MASTER", probe_spark))
    for name, knob, probe in services:
        address = settings.text(knob)
        where, result = f"{knob}={address}", Result()
        # In a thread of its own: some clients retry for minutes.
        asking = threading.Thread(target=ask, args=[probe, settings, result], daemon=True)
        asking.start()
        asking.join(FIND_LIMIT_S)
        if result.refusal is errors.NoTicket:
            raise Failure(f"no ticket for {where}", result.error, errors.NoTicket.then)
        if result.refusal:
            then = result.refusal.then
            raise Failure(f"{name} at {where} refuses this account", result.error, then)
        if result.found is None:
            raise Failure(
                f"{name} does not answer at {where}",
                f"tried for {FIND_LIMIT_S} s: {result.error}",
                "is the address right, and reachable from here? "
                "does it ask for passwords or certificates? "
                "(docs/deployment.md: STACK=cluster, CLIENT_CONF)",
            )
        found = f": {result.found}" if result.found else ""
        yield f"  {name:<9} {address:<48} answers{found}"


@dataclass
class Result:
    """What asking a service has come to so far."""

    found: str | None = None  # None: it has not answered
    error: str = "no answer at all"  # the last one
    refusal: type[errors.Known] | None = None


class Refusals(logging.Handler):
    """The last refused login or certificate that kafka-python logged: its exceptions hide it."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if re.search("AuthenticationFailed|CERTIFICATE_VERIFY_FAILED", text):
            self.last = re.sub(r"^.*?failed: | \(backoff.*", "", text)


def ask(probe: Probe, settings: Settings, result: Result) -> None:
    """Probes until there is an answer, or the account is refused. Notes both in the result."""
    refusals = Refusals()
    logging.getLogger("kafka").addHandler(refusals)
    while result.found is None:
        try:
            result.found = probe(settings) or ""
        except Exception as error:  # each client has exceptions of its own
            result.error = refusals.last or errors.cause(error)
            result.refusal = errors.kind_of_text(result.error, errors.Refused)
            if result.refusal:
                return
            time.sleep(0.5)  # between two probes
