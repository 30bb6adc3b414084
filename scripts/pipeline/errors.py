"""Actionable errors: what is wrong, why, and what to type next.

A foreseeable fault is raised as a Failure. Faults of libraries and servers come as exceptions of
their own; kind_of() is the one place that recognises them, by class where a library has classes,
otherwise by the signs in its text.
"""

from __future__ import annotations

import errno
import re

# hdfs-native prints all fields of a DataNode, a thousand characters.
DATANODE = (
    r'DatanodeInfoProto \{ id: DatanodeIdProto \{ ip_addr: \\?"(.*?)\\?".*?xfer_port: (\d+)'
    r".*?num_blocks: \w+(?:\(\d+\))? \}"
)


class Failure(Exception):
    """A foreseeable fault: what is wrong, why, and what to type next."""

    exit_code = 1
    retriable = False  # whether it may pass by itself

    def __init__(self, what: str, why: str, then: str):
        super().__init__(what)
        self.what, self.why, self.then = what, why, then


class UsageError(Failure):
    """A knob or an argument that does not fit."""

    exit_code = 2


class Outage(Failure):
    """A server does not answer, or a landing was interrupted."""

    retriable = True


# --- faults of libraries and servers --------------------------------------------------------------


class Known(Failure):
    """A kind of fault that comes as an exception of a library.

    signs: a pattern of its text. folder: a pattern of what it names in HDFS. then: what to type;
    {status} and {shell} are these targets for this stack, {run_dir} the run folder, {warehouse}
    the folder of all feeds, {folder} what `folder` finds.
    """

    signs = ""
    folder = ""
    then = ""


class DiskFull(Known):
    signs = (
        "No space left|Disk quota exceeded|could only be written to|NotEnoughReplicasException|"
        "low on available disk space|Resources are low|Read-only file system"
    )
    then = (
        "the disk is full, or nearly, or read-only: free some space (df -h {run_dir} shows how "
        "much there is; on a cluster: {shell}, then: hdfs dfsadmin -report)"
    )


class SpaceQuota(Known):
    signs = r"DSQuotaExceeded|Space quota of \S+ is exceeded"
    folder = r"Space quota of (\S+) is exceeded"
    then = (
        "HDFS's administrator has limited the space of {folder} (a file that is being written "
        "counts as a whole block for each copy): {shell}, then: hdfs dfs -count -q -h {folder}; "
        "hdfs dfsadmin -clrSpaceQuota {folder} (or -setSpaceQuota with more)"
    )


class NameQuota(Known):
    signs = r"NSQuotaExceeded|NameSpace quota \(directories and files\)"
    folder = r"of directory (\S+) is exceeded"
    then = (
        "HDFS's administrator has limited the number of files in {folder}: {shell}, then: "
        "hdfs dfs -count -q -h {folder}; hdfs dfsadmin -clrQuota {folder} (or -setQuota with more)"
    )


class SafeMode(Known):
    """HDFS only reads."""

    retriable = True


class SafeModeByHand(SafeMode):
    signs = "It was turned on manually"
    then = (
        "HDFS's administrator has put HDFS into safe mode, in which it only reads; to end that: "
        "{shell}, then: hdfs dfsadmin -safemode leave"
    )


class BlocksGone(SafeMode):
    """Every DataNode with the block is down, or has lost it: a client cannot tell which.

    The NameNode starts in safe mode until DataNodes have reported enough blocks.
    """

    signs = "All DataNodes failed|BlockMissing|The reported blocks|no live nodes contain"
    then = (
        "a DataNode is down, or has lost blocks: {status} shows whether all servers run; when they "
        "do: {shell}, then: hdfs fsck {warehouse} names the files that lack a block; "
        "for a feed whose files are lost: hadoop fs -mv it aside, then restore or land it"
    )


class Refused(Known):
    """A server refuses this account."""


class ClockSkew(Refused):
    signs = "Clock skew too great"
    then = (
        "Kerberos refuses a clock that is more than five minutes off: set this machine's clock "
        "(date; sudo timedatectl set-ntp true)"
    )


class NoTicket(Refused):
    """No Kerberos ticket, or an expired one: GSSAPI's words, and Hadoop's."""

    signs = (
        "GSSAPI ?[Ee]rror|GSS initiate failed|Ticket expired|Client cannot authenticate via|"
        "Failed to find any Kerberos"
    )
    then = (
        "get a ticket: kinit; or name a keytab in spark-defaults.conf of CLIENT_CONF "
        "(docs/customers.md), which gets one by itself; if klist shows one that is valid, set the "
        "clock"
    )


class WrongLogin(Refused):
    signs = "AuthenticationFailed"
    then = (
        "Kafka does not know this name with this password: put the right ones into "
        "client.properties of CLIENT_CONF (docs/deployment.md)"
    )


class NoRight(Refused):
    signs = "AuthorizationFailed|Permission ?[Dd]enied|AccessControlException"
    then = (
        "this account has no right to that: use the one that has it, or ask its owner for it "
        "(STACK=cluster: docs/deployment.md says where accounts are named)"
    )


class NoRightInHdfs(NoRight):
    signs = "Permission denied: user="
    folder = r'inode="([^"]+)"'
    then = (
        "this account has no right to that: use the one that has it, or have its owner, or HDFS's "
        "administrator, give it the right: {shell}, then: hadoop fs -chown USER {folder} "
        "(STACK=cluster: docs/customers.md says who may do what)"
    )


class ServerGone(Known):
    retriable = True
    signs = (
        r"[Cc]onnection|RPC error(?!: org\.apache)|UnknownHost|SafeMode|DataNode|NameNode|"
        r"not find a leader|LEADER_NOT_AVAILABLE|kafka\.common\.errors\.TimeoutException"
    )
    then = "check whether all servers run: {status}"


class TimeTooLate(Known):
    signs = "long overflow"
    then = (
        "the time of a record is after the year 294246 (its producer does not count "
        "milliseconds): have the topic's records published again, to another topic"
    )


class NoMemory(Known):
    signs = (
        "OutOfMemory|Java heap space|GC overhead limit|MemoryError|bad_alloc|malloc of size|"
        "Cannot allocate memory|unable to create (new )?native thread|"
        "Python worker exited unexpectedly"
    )
    then = (
        "there is too little memory: stop other programs (free -m shows what is left), then again"
    )


class TooManyFiles(Known):
    signs = "Too many open files"
    then = "allow this shell more open files, ulimit -n 10000, then again"


class TooLarge(Known):
    signs = "MessageSizeTooLarge|RecordListTooLarge|RecordTooLarge|Message size too large"
    then = (
        "the topic takes no records of this size: have its setting max.message.bytes raised "
        "(kafka-configs --alter), then again"
    )


class KafkaRefuses(Known):
    """Any error of Kafka that waiting does not mend."""

    then = (
        "Kafka refuses this, for the reason that the error's name says; more is in its broker's "
        "log (here {run_dir}/logs/kafka.log): have that mended, then again"
    )


class DamagedTable(Known):
    """A table, or a file of one, that is not what landing wrote."""

    signs = (
        "Parquet (file|magic|footer)|magic bytes|_delta_log|Invalid JSON|"
        "Unsupported (reader|writer|table)|[Tt]able feature"
    )
    then = (
        "a table of this feed was changed by another program, or is damaged: restore the feed from "
        "a backup, or move it aside and land it again (docs/recovery.md)"
    )


class NoJava(Known):
    signs = "JAVA_GATEWAY_EXITED"
    then = "Java says why: tail -n 60 {run_dir}/logs/spark.log; mend that, then again"


class JvmEnded(Known):
    """Spark's JVM has ended, whatever the library says about it."""

    signs = "JVM ended"
    then = (
        "if it was out of memory: stop other programs "
        "(Spark's driver needs 2 GB; free -m shows what is left)"
    )

    def __init__(self, exit_code: int):
        what = f"Spark's JVM ended with {exit_code}: killed, or out of memory"
        super().__init__(what, "", self.then)


# Of delta-rs, by name, so that scripts without tables do not import it.
DELTA_ERRORS = ("DeltaError", "DeltaProtocolError", "SchemaMismatchError", "TableNotFoundError")
# In this order: a text may have signs of several.
KINDS: tuple[type[Known], ...] = (
    SpaceQuota, NameQuota, DiskFull, SafeModeByHand, BlocksGone, ClockSkew, NoTicket, WrongLogin,
    NoRightInHdfs, NoRight, ServerGone, TimeTooLate, NoJava, JvmEnded, NoMemory, TooManyFiles,
    TooLarge, DamagedTable,
)  # fmt: skip


def kind_of_text(text: str, among: type[Known] = Known) -> type[Known] | None:
    """The first of the KINDS whose signs are in the text."""
    for kind in KINDS:
        if issubclass(kind, among) and re.search(kind.signs, text):
            return kind
    return None


def kind_of(error: BaseException) -> type[Failure] | None:
    """Which kind of fault an exception is; None for an unknown one."""
    if isinstance(error, Failure):
        return type(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull
    kind = kind_of_text(root_cause(error))
    # Of kafka-python's errors, some carry nothing but their class.
    if kind is None and is_from_kafka(error):
        return ServerGone if getattr(error, "retriable", False) else KafkaRefuses
    if kind is None and type(error).__name__ in DELTA_ERRORS:
        return DamagedTable
    return kind


def is_outage(error: BaseException) -> bool:
    """Whether a server does not answer, so that waiting for it may help."""
    kind = kind_of(error)
    return is_from_kafka(error) or (kind is not None and kind.retriable)


def is_from_kafka(error: BaseException) -> bool:
    """Whether kafka-python raised it. By name, so that scripts without Kafka do not import it."""
    return any(each.__module__.startswith("kafka.") for each in type(error).__mro__)


def is_refused(error: BaseException) -> bool:
    """Whether Kafka or HDFS refused something to this account."""
    kind = kind_of(error)
    return kind is not None and issubclass(kind, Refused)


def cause(error: BaseException) -> str:
    """The root cause in one line that can be printed."""
    return root_cause(error)[:300]


def root_cause(error: BaseException) -> str:
    """The last Java cause, the end of a Python trace, or the error; in one line of any length."""
    text = str(error).strip().replace("\\n", "\n")  # hdfs-native passes Java's trace on as one line
    text = re.sub(r'RPCError\("(?:\w+\.)*(\w+)", "', r"\1: ", text).replace('\\"', '"')
    text = re.sub(r"\x1b\[[\d;]*m|↳ ?", "", text)  # and colours its own messages
    text = re.sub(DATANODE, r"\1:\2", text)
    text = re.sub(r"\[STREAM_FAILED\] Query .*? with exception: ", "", text)
    text = text.replace("is in safe mode.\n", "is in safe mode. ")  # the reason follows
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
    elif len(traces := text.split("Traceback (most recent call last):\n")) > 1:
        # Behind its indented lines comes the exception, which may have lines of its own.
        line = next(filter(re.compile(r"\S").match, traces[-1].splitlines()), lines[-1])
    elif isinstance(error, Failure):
        line = error.what
    else:
        line = f"{type(error).__name__}: {lines[0]}"
    return re.sub(r"[\x00-\x1f\x7f]", " ", line)
