"""Actionable error messages: what is wrong, why, and what to type next.

Foreseeable faults are raised as Failure. report_failures, around a script's main, prints them in
three lines. Any other exception is reduced to its root cause; its trace goes to
$RUN_DIR/logs/<script>.log.
"""

import contextlib
import errno
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import NoReturn

import config
import knobs
from printable import printable

FULL_DISK = (
    "No space left|quota exceeded|could only be written to|NotEnoughReplicas|"
    "low on available disk space|Resources are low"
)
SERVER_GONE = (
    r"[Cc]onnection|RPC error(?!: org\.apache)|UnknownHost|SafeMode|DataNode|NameNode|"
    "not find a leader|LEADER_NOT_AVAILABLE"
)
# GSSAPI's own words, and Hadoop's, when there is no ticket or it has ended.
NO_TICKET = (
    "GSSAPI ?[Ee]rror|GSS initiate failed|Ticket expired|Client cannot authenticate via|"
    "Failed to find any Kerberos"
)
GET_TICKET = (
    "get a ticket: kinit; or name a keytab in spark-defaults.conf of CLIENT_CONF "
    "(docs/customers.md), which gets one by itself; if klist shows one that is valid, set the clock"
)
WRONG_CLOCK = "Clock skew too great"
SET_CLOCK = (
    "Kerberos refuses a clock that is more than five minutes off: set this machine's clock (date; "
    "sudo timedatectl set-ntp true)"
)
WRONG_LOGIN = "AuthenticationFailed"
OTHER_LOGIN = (
    "Kafka does not know this name with this password: put the right ones into client.properties "
    "of CLIENT_CONF (docs/deployment.md)"
)
NO_RIGHT = f"AuthorizationFailed|{WRONG_LOGIN}|Permission ?[Dd]enied|AccessControlException"
OTHER_ACCOUNT = (
    "this account has no right to that: use the one that has it, or ask its owner for it "
    "(STACK=cluster: docs/deployment.md says where accounts are named)"
)
# hdfs-native prints all fields of a DataNode, a thousand characters.
DATANODE = (
    r'DatanodeInfoProto \{ id: DatanodeIdProto \{ ip_addr: \\?"(.*?)\\?".*?xfer_port: (\d+)'
    r".*?num_blocks: \w+(?:\(\d+\))? \}"
)


class Failure(Exception):
    """A foreseeable fault: what is wrong, why, and what to type next."""

    def __init__(self, what: str, why: str, then: str):
        super().__init__(what)
        self.what, self.why, self.then = what, why, then


class Outage(Failure):
    """A Failure that may pass by itself: a server does not answer, or a landing was interrupted."""


def log_path() -> str:
    """The path of this script's log."""
    script = os.path.basename(sys.argv[0]).removesuffix(".py")
    return os.path.join(config.RUN_DIR, "logs", script + ".log")


def log_trace() -> None:
    """Appends the trace of the current exception to the script's log, if the disk is not full."""
    with contextlib.suppress(OSError), open(log_path(), "a") as file:
        traceback.print_exc(file=file)


def cause(error: BaseException) -> str:
    """The root cause in one line: the last Java cause, the end of a Python trace, or the error."""
    text = str(error).strip().replace("\\n", "\n")  # hdfs-native passes Java's trace on as one line
    text = re.sub(r"\x1b\[[\d;]*m|↳ ?", "", text)  # and colours its own messages
    text = re.sub(DATANODE, r"\1:\2", text)
    # "Reason" is Spark's word for the cause of a failed batch.
    causes = re.findall(r"^Caused by: (.*)", text, re.MULTILINE) or re.findall(
        r"Reason: (.+)", text
    )
    # Java first tries to parse an error of Kerberos as a ticket, and reports that failure last.
    causes = [each for each in causes if "Identifier doesn't match" not in each]
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("at ")] or [""]
    if "Generic" in lines[0]:  # delta-rs gives the details in the following lines
        lines = [": ".join(lines[:3])]
    if causes:
        line = causes[-1]
    elif "Traceback (most recent call last):" in text:
        line = lines[-1]
    else:
        line = f"{type(error).__name__}: {lines[0]}"
    return re.sub(r"[\x00-\x1f\x7f]", " ", line)[:300]


def is_from_kafka(error: BaseException) -> bool:
    """Whether kafka-python raised it. By name, so that scripts without Kafka do not import it."""
    return any(each.__module__.startswith("kafka.") for each in type(error).__mro__)


def is_outage(error: BaseException) -> bool:
    """Whether a server does not answer, so that waiting for it may help."""
    if isinstance(error, Failure):
        return isinstance(error, Outage)
    return is_from_kafka(error) or re.search(SERVER_GONE, cause(error)) is not None


def is_no_right(error: BaseException) -> bool:
    """Whether Kafka or HDFS refused something to this account."""
    return re.search(NO_RIGHT, cause(error)) is not None


def account_advice(what: str) -> str | None:
    """What to type when a server refused the account; None when it did not."""
    for pattern, advice in (
        (WRONG_CLOCK, SET_CLOCK),
        (NO_TICKET, GET_TICKET),
        (WRONG_LOGIN, OTHER_LOGIN),
        (NO_RIGHT, OTHER_ACCOUNT),
    ):
        if re.search(pattern, what):
            return advice
    return None


def disk_is_full() -> bool:
    """Whether the local servers have less space than a NameNode needs to leave its safe mode."""
    if config.STACK == "local":
        with contextlib.suppress(FileNotFoundError):  # they were never started
            return shutil.disk_usage(os.path.join(config.RUN_DIR, "storage")).free < 100 * 2**20
    return False


def mend(error: BaseException, what: str) -> str | None:
    """What to type after an exception with the root cause `what`; None for an unknown cause."""
    no_space = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    server_gone = getattr(error, "retriable", False) or re.search(SERVER_GONE, what)
    # The NameNode gives low space as the reason of its safe mode in a second line.
    # Kafka's broker halts without giving a reason to its clients.
    if no_space or re.search(FULL_DISK, f"{what} {error}") or (server_gone and disk_is_full()):
        return (
            "the disk is full, or nearly: free some space "
            f"(df -h {config.RUN_DIR} shows how much there is)"
        )
    if isinstance(error, PermissionError):
        return f"give yourself the right to it: ls -ld {error.filename} shows who has it"
    if advice := account_advice(what):
        return advice
    if server_gone:
        return f"check whether all servers run: make status{knobs.of_stack()}"
    if "long overflow" in what:
        return (
            "the time of a record is after the year 294246 (its producer does not count "
            "milliseconds): have the topic's records published again, to another topic"
        )
    if "JAVA_GATEWAY_EXITED" in what:
        return f"Java says why: tail -n 60 {config.RUN_DIR}/logs/spark.log; mend that, then again"
    if "JVM ended" in what:
        return (
            "if it was out of memory: stop other programs "
            "(Spark's driver needs 2 GB; free -m shows what is left)"
        )
    return None


def interrupted(work: str, error: BaseException, what: str, harmless: str, again: str) -> Outage:
    """The Outage of a landing or reprocessing that an exception interrupted, after log_trace().

    what: the root cause; harmless: why nothing is lost; again: how to retry.
    """
    known = mend(error, what)
    report = "should it say the same again, please report it, with the end of the traces"
    return Outage(
        f"{work} was interrupted: {what}",
        f"{harmless}; the traces: {log_path()}, {config.RUN_DIR}/logs/spark.log",
        f"{known}; then: {again}" if known else f"{again}; {report}",
    )


@contextlib.contextmanager
def report_failures() -> Iterator[None]:
    """Turns exceptions into a message of three lines and a non-zero exit code."""
    try:
        yield
    except Failure as failure:
        what, why, then = failure.what, failure.why, failure.then
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output ended (| head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        log_trace()
        what = cause(error)
        why = f"the whole trace: {log_path()}; Spark's own log: {config.RUN_DIR}/logs/spark.log"
        then = (
            mend(error, what)
            or "no cause of this is known: please report it, with the end of the trace"
        )
        if is_from_kafka(error):
            what = f"Kafka at {config.KAFKA} does not answer as it should ({what})"
    else:
        return
    # The message may quote published texts. spark_session redirects sys.stderr to Spark's log.
    print(printable(f"error: {what}\n       {why}\n       {then}", keep="\n"), file=sys.__stderr__)
    sys.exit(1)


def run(main: Callable, *arguments: object) -> NoReturn:
    """Runs a script's main within report_failures, and ends the process with its exit code.

    The interpreter is not finalized: Arrow's I/O threads call Python for files in HDFS, and one
    that does so during finalization aborts the process ("terminate called without an active
    exception").
    """
    code: object = 0
    try:
        with report_failures():
            main(*arguments)
    except SystemExit as exit:
        code = exit.code or 0
    for stream in sys.stdout, sys.stderr, sys.__stderr__:
        with contextlib.suppress(OSError, AttributeError):  # None: it was closed from the start
            stream.flush()
    os._exit(code if isinstance(code, int) else 1)
