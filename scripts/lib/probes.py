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
from collections.abc import Callable, Collection, Iterator

import hdfs_native

import config
from errors import GET_TICKET, Failure, account_advice, cause

SERVER_ANSWERS_WITHIN_S = 10
FIND_LIMIT_S = 30


def hdfs() -> hdfs_native.Client:
    # Not lake.hdfs: lake imports PyArrow, and every target waits for these imports.
    return hdfs_native.Client(config.HDFS)


def probe_kafka() -> str:
    """Asks for the cluster's brokers and for the id of an idempotent producer.

    Returns the number of brokers in words.
    """
    # Here, because every target imports this module, and most need no Kafka.
    from kafka.errors import ClusterAuthorizationFailedError, NoError
    from kafka.protocol.producer.transaction import InitProducerIdRequest

    import topics

    with contextlib.closing(topics.admin(SERVER_ANSWERS_WITHIN_S)) as admin:
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


def probe_namenode() -> None:
    """Lists the root folder."""
    list(hdfs().list_status("/"))


def probe_datanode() -> None:
    """Writes, reads and deletes a file.

    Works when the NameNode is out of safe mode and a DataNode stores blocks.
    """
    # The NameNode's page comes first: without a DataNode the client retries a write for seconds.
    url = (
        f"http://127.0.0.1:{os.environ['NAMENODE_HTTP_PORT']}"
        "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"
    )
    without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with without_proxy.open(url, timeout=SERVER_ANSWERS_WITHIN_S) as page:
        state = json.load(page)["beans"][0]
    if state["NumLiveDataNodes"] < 1 or state["FSState"] != "Operational":
        raise OSError(
            f"{state['NumLiveDataNodes']} live DataNodes, HDFS is in state {state['FSState']}"
        )
    write_read_delete(f"/.probe-{os.getpid()}")


def write_read_delete(path: str) -> None:
    """Writes, reads and deletes a file in HDFS. OSError when it reads something else."""
    with hdfs().create(path, hdfs_native.WriteOptions(overwrite=True)) as out:
        out.write(b"ok")
    with hdfs().read(path) as file:
        if file.read(2) != b"ok":
            raise OSError("read back something else than was written")
    hdfs().delete(path)


def probe_spark_server() -> None:
    """Asks the server of make serve for the sum of one and one."""
    import connect  # not above: PySpark takes a second, and every target imports this module

    spark = connect.session()
    try:
        assert spark.sql("SELECT 1 + 1").collect()[0][0] == 2
    finally:
        spark.stop()


def probe_reading() -> None:
    """Looks at the warehouse, which everybody may who reads or writes tables."""
    host, _, port = os.environ["HDFS"].removeprefix("hdfs://").partition(":")
    if port:  # a NameNode, not a nameservice: a plain connection fails faster than the client
        socket.create_connection((host, int(port)), SERVER_ANSWERS_WITHIN_S).close()
    with contextlib.suppress(FileNotFoundError):
        hdfs().get_file_info(os.environ["WAREHOUSE"])


def probe_hdfs() -> None:
    """Writes, reads and deletes a file in the warehouse, with the same rights as landing."""
    probe_reading()
    hdfs().mkdirs(os.environ["WAREHOUSE"], create_parent=True)
    write_read_delete(f"{os.environ['WAREHOUSE']}/.probe-{uuid.uuid4().hex}")


def probe_spark() -> None:
    """Connects to one of the masters of spark://. Other kinds of masters are not probed."""
    master = os.environ["SPARK_MASTER"]
    if not master.startswith("spark://"):
        return
    errors = []
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        try:
            return socket.create_connection((host, int(port)), SERVER_ANSWERS_WITHIN_S).close()
        except OSError as error:
            errors.append(f"{address}: {error}")
    raise OSError("; ".join(errors))


def probe_all(names: Collection[str] = ()) -> Iterator[tuple[str, str, str]]:
    """Probes the services of STACK=cluster: Kafka, HDFS and Spark. `names`: only "kafka", or all
    but "kafka", for who only reads; empty: all, for landing.

    Yields (name, address, what was found). Failure when one does not answer.
    """
    for name, knob, probe in (
        ("kafka", "KAFKA", probe_kafka),
        ("hdfs", "HDFS", probe_reading if names else probe_hdfs),
        ("spark", "SPARK_MASTER", probe_spark),
    ):
        if names and (name == "kafka") != ("kafka" in names):
            continue
        result = {"error": "no answer at all"}
        # In a thread of its own: some clients retry for minutes.
        asking = threading.Thread(target=ask, args=[probe, result], daemon=True)
        asking.start()
        asking.join(FIND_LIMIT_S)
        where = f"{knob}={os.environ[knob]}"
        advice = account_advice(result["error"])
        if advice == GET_TICKET:
            raise Failure(f"no ticket for {where}", result["error"], advice)
        if advice:
            raise Failure(f"{name} at {where} refuses this account", result["error"], advice)
        if "found" not in result:
            raise Failure(
                f"{name} does not answer at {where}",
                f"tried for {FIND_LIMIT_S} s: {result['error']}",
                "is the address right, and reachable from here? "
                "does it ask for passwords or certificates? "
                "(docs/deployment.md: STACK=cluster, CLIENT_CONF)",
            )
        yield name, os.environ[knob], result["found"]


class Refusals(logging.Handler):
    """The last refused login or certificate that kafka-python logged: its exceptions hide it."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if re.search("AuthenticationFailed|CERTIFICATE_VERIFY_FAILED", text):
            self.last = re.sub(r"^.*?failed: | \(backoff.*", "", text)


def ask(probe: Callable[[], str | None], result: dict[str, str]) -> None:
    """Probes until there is an answer, result["found"], or the account is refused. result["error"]
    is the last error."""
    refusals = Refusals()
    logging.getLogger("kafka").addHandler(refusals)
    while "found" not in result:
        try:
            found = probe()
            result["found"] = f": {found}" if found else ""
        except Exception as error:  # each client has exceptions of its own
            result["error"] = refusals.last or cause(error)
            if account_advice(result["error"]):
                return
            time.sleep(0.5)  # between two probes
