"""Probes: requests that only a working service answers. They raise an exception otherwise."""

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
from collections.abc import Callable
from typing import Any

from pipeline import errors, script
from pipeline.errors import Failure
from pipeline.settings import Settings
from pipeline.tables import hdfs

SERVER_ANSWERS_WITHIN_S = 10
FIND_LIMIT_S = 30

Probe = Callable[[Settings], str | None]  # may return in words what it found


def probe_kafka(settings: Settings) -> str:
    """Asks for the id of an idempotent producer, and for the brokers: their number in words."""
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
    list(hdfs.client(settings.hdfs).list_status("/"))


def probe_datanode(settings: Settings) -> None:
    """Writes, reads and deletes a file: the NameNode's safe mode is over, a DataNode has blocks."""
    # The NameNode's page comes first: without a DataNode the client retries a write for seconds.
    nodes = of_namenode(settings, "FSNamesystemState")["NumLiveDataNodes"]
    safe_mode = of_namenode(settings, "NameNodeInfo")["Safemode"]  # why; empty when it is off
    if nodes < 1 or safe_mode:
        raise OSError(f"{nodes} live DataNodes. {safe_mode}")
    write_read_delete(settings, f"/.probe-{os.getpid()}")


def of_namenode(settings: Settings, bean: str) -> dict[str, Any]:
    """What the NameNode's page says of itself."""
    page = f"http://127.0.0.1:{settings.ports.namenode_http}/jmx"
    address = f"{page}?qry=Hadoop:service=NameNode,name={bean}"
    without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with without_proxy.open(address, timeout=SERVER_ANSWERS_WITHIN_S) as answer:
        found: dict[str, Any] = json.load(answer)["beans"][0]
    return found


def write_read_delete(settings: Settings, path: str) -> None:
    """Writes, reads and deletes a file in HDFS. OSError when it reads something else."""
    client = hdfs.client(settings.hdfs)
    with hdfs.NewFile(client, path, overwrite=True) as file:
        file.write(b"ok")
    if client.read(path).read(2) != b"ok":
        raise OSError("read back something else than was written")
    client.delete(path)


def probe_reading(settings: Settings) -> None:
    """Asks for the warehouse, which every account may that reads or writes tables."""
    host, _, port = settings.hdfs.removeprefix("hdfs://").partition(":")
    if port:  # a NameNode, not a nameservice: a plain connection fails faster than the client
        socket.create_connection((host, int(port)), SERVER_ANSWERS_WITHIN_S).close()
    with contextlib.suppress(FileNotFoundError):
        hdfs.client(settings.hdfs).get_file_info(settings.warehouse)


def probe_hdfs(settings: Settings) -> None:
    """Writes, reads and deletes a file in the warehouse, with the same rights as landing."""
    probe_reading(settings)
    hdfs.client(settings.hdfs).mkdirs(settings.warehouse, create_parent=True)
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


def probe_all(settings: Settings, quiet: bool, kafka: bool = True, tables: bool = True) -> None:
    """Probes the services of STACK=cluster. Prints a line for each; Failure when one is silent.

    quiet: prints nothing. kafka: probe Kafka. tables: probe HDFS and Spark. With both, HDFS is
    probed by writing a file, as landing does, and not by reading alone.
    """
    if not quiet and not settings.installed:
        settings.print()
    services: list[tuple[str, str, Probe]] = [("kafka", "KAFKA", probe_kafka)] if kafka else []
    if tables:
        services.append(("hdfs", "HDFS", probe_hdfs if kafka else probe_reading))
        services.append(("spark", "SPARK_MASTER", probe_spark))
    for name, knob, probe in services:
        where, asked = f"{knob}={settings.text(knob)}", Question()
        # In a thread of its own: some clients retry for minutes.
        asking = threading.Thread(target=asked.ask, args=[probe, settings], daemon=True)
        asking.start()
        asking.join(FIND_LIMIT_S)
        if asked.refusal:
            refused = f"{name} at {where} refuses this account"
            what = f"no ticket for {where}" if asked.refusal is errors.NoTicket else refused
            then = script.advice(asked.refusal, asked.error, settings)
            raise Failure(what, asked.error, then)
        if asked.found is None:
            raise Failure(
                f"{name} does not answer at {where}",
                f"tried for {FIND_LIMIT_S} s: {asked.error}",
                "is the address right, and reachable from here? "
                "does it ask for passwords or certificates? "
                "(docs/deployment.md: STACK=cluster, CLIENT_CONF)",
            )
        if not quiet:
            found = f": {asked.found}" if asked.found else ""
            print(f"  {name:<9} {settings.text(knob):<48} answers{found}", flush=True)


class Question(logging.Handler):
    """What asking a service has come to so far."""

    found: str | None = None  # None: it has not answered
    error = "no answer at all"  # the last one
    refusal: type[errors.Known] | None = None
    logged = ""

    def ask(self, probe: Probe, settings: Settings) -> None:
        """Probes until there is an answer, or the account is refused."""
        logging.getLogger("kafka").addHandler(self)
        while self.found is None and not self.refusal:
            try:
                self.found = probe(settings) or ""
            except Exception as error:  # each client has exceptions of its own
                self.error = self.logged or errors.cause(error)
                self.refusal = errors.kind_of_text(self.error, errors.Refused)
                time.sleep(0.5)  # between two probes

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a refused login or certificate that kafka-python logs: its exceptions hide it."""
        text = record.getMessage()
        if re.search("AuthenticationFailed|CERTIFICATE_VERIFY_FAILED", text):
            self.logged = re.sub(r"^.*?failed: | \(backoff.*", "", text)
