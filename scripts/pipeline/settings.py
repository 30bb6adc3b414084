"""The knobs: each with its type, its check and its origin; and what follows from them.

The Makefile has the defaults and the explanations, and only this module reads it. Nothing else
reads a knob. Scripts call load() once; what works on a topic and its tables is given a Feed.
Needs no package and no environment: without variables every knob has its default.
"""

from __future__ import annotations

import functools
import os
import pathlib
import re
import shlex
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from pipeline import VERSION
from pipeline.errors import UsageError
from pipeline.text import printable

ROOT = pathlib.Path(__file__).absolute().parents[2]
# They say which stack a command means. Messages repeat those that are not at their defaults.
STACK_KNOBS = "STACK CLUSTER CLIENT_CONF KAFKA HDFS SPARK_MASTER WAREHOUSE RUN_DIR".split()
# make's words for the origin of a value, and ours, which env.sh passes on.
ORIGINS = {"file": "default", "default": "default", "command_line": "make", "make": "make"}

_PORT, _HOST = r":[1-9][0-9]{0,4}", r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
_ANY_PATH = r"[^~\x00-\x1f\x7f][^\x00-\x1f\x7f]*"
_JAVA_PATH = r"[A-Za-z0-9_./][A-Za-z0-9_./+@=-]*"  # Java class paths and HDFS URIs hold no others
# Databases and catalogues that Spark or Hive has for itself.
RESERVED = (
    *("default", "global_temp", "builtin", "session", "system", "spark_catalog"),
    *("information_schema", "sys"),
)
TOPIC_NAME = rf"(?!({'|'.join(RESERVED)})(,|$))[a-z][a-z0-9_]{{0,99}}"
_CORES = r"([1-9][0-9]*|\*)(,[1-9][0-9]*)?"
_LOCAL_ONLY = (
    "the {stack} stack listens on this machine only; services that run elsewhere: STACK=cluster"
)
# {knob: (pattern, what a value must be)}, with STACK=cluster and otherwise
_ADDRESSES = {
    "KAFKA": (
        (f"{_HOST}{_PORT}(,{_HOST}{_PORT})*", "HOST:PORT, several with commas between them"),
        (rf"127\.0\.0\.1{_PORT}", f"127.0.0.1:PORT ({_LOCAL_ONLY})"),
    ),
    "HDFS": (
        (f"hdfs://{_HOST}({_PORT})?", "hdfs://HOST:PORT, or hdfs://NAME of a nameservice"),
        (rf"hdfs://127\.0\.0\.1{_PORT}", f"hdfs://127.0.0.1:PORT ({_LOCAL_ONLY})"),
    ),
}


def _knob(pattern: str, meaning: str) -> Any:
    return field(metadata={"rule": (pattern, meaning)})


def _flag() -> Any:
    return _knob("1?", "1 or nothing")


def _whole() -> Any:
    return _knob("[1-9][0-9]{0,8}", "a whole number from 1")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The values of the knobs, checked. `make help` explains each. SYNTHETIC is 0 for none."""

    stack: str = _knob("local|docker|cluster", "local, docker or cluster")
    cluster: bool = _flag()
    client_conf: str = _knob(
        f"({_JAVA_PATH})?", "a folder: a path of letters, digits and . _ / + @ = -"
    )
    topic: str = _knob(
        TOPIC_NAME,
        "lower-case letters, digits and _, first a letter: "
        "a plain name in Kafka, HDFS and SQL alike; and none that Spark or Hive has for its own "
        f"databases: {', '.join(RESERVED)}",
    )
    topics: str = _knob(
        f"(all|{TOPIC_NAME}(,{TOPIC_NAME})*)?", "names of topics with commas between them, or all"
    )
    data: str = _knob(_ANY_PATH, "a file's path")
    data_url: str = _knob(r"[^\x00-\x1f\x7f]*", "addresses with blanks between them")
    any_hash: bool = _flag()
    synthetic: int = _knob("([1-9][0-9]{0,8})?", "a whole number, 1 to 999999999")
    seed: int = _knob("[0-9]{1,9}", "a whole number")
    partitions: int = _whole()
    replication: int = _whole()
    force: bool = _flag()
    skip_expired: bool = _flag()
    yes: bool = _flag()
    backup: str = _knob(f"({_ANY_PATH})?", "a file's path")
    out: str = _knob(f"({_ANY_PATH})?", "a folder's path")
    format: str = _knob("parquet|csv|duckdb", "parquet, csv or duckdb")
    table: str = _knob("(attempts|questions|options|messages)?", "a table, or nothing for all four")
    kills: int = _whole()
    messages: int = _whole()
    runs: int = _whole()
    baseline: str = _knob("([A-Za-z0-9][A-Za-z0-9._/-]{0,99})?", "a git commit, branch or tag")
    query_limit_s: int = _whole()
    notebook_check: bool = _flag()
    name: str = _knob("(?s:.*)", "a name")  # pipeline/customer.py checks it, with its origin
    remove: bool = _flag()
    kafka: str = _knob("", "")  # see _ADDRESSES
    hdfs: str = _knob("", "")
    spark_master: str = _knob(
        rf"local(\[{_CORES}\])?|yarn|(spark|k8s)://[A-Za-z0-9:/.,_-]+",
        "local[*], spark://HOST:PORT, yarn or k8s://HOST:PORT",
    )
    warehouse: str = _knob(
        r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+", "an absolute path of letters, digits, . _ -"
    )
    run_dir: str = _knob(_JAVA_PATH, "a path of letters, digits and . _ / + @ = -")

    origins: dict[str, str] = field(compare=False, repr=False)  # {KNOB: default, make, environment}
    # What makes a make command mean this stack: " KAFKA=… RUN_DIR=…", empty for the default one.
    stack_knobs: str = field(default="", repr=False)
    installed: str = field(repr=False)  # the folder of the image in a container, otherwise empty

    def make(self, target: str, *knobs: str, **values: object) -> str:
        """A make command that means this stack, as one types it.

        knobs: names of those that it repeats when they are not at their defaults. values: others.
        """
        said = "".join(f" {name}={value}" for name, value in values.items())
        return f"make {target}{self.stack_knobs}{self.changed(*knobs)}{said}"

    def changed(self, *knobs: str) -> str:
        """Those of the knobs that are not at their defaults, as one types them: " TOPIC=name"."""
        return "".join(
            f" {name}={shlex.quote(self.text(name))}"
            for name in knobs
            if self.text(name) != declared()[name].default
        )

    def text(self, knob: str) -> str:
        """The value of a knob as the environment has it."""
        value = getattr(self, knob.lower())
        if isinstance(value, bool) or knob == "SYNTHETIC":
            return str(int(value)) if value else ""
        return str(value)

    def in_force(self) -> Iterator[str]:
        """Yields a line for each knob that has a value, with its origin; without passwords."""
        for name in declared():
            value = self.text(name)
            if name == "DATA_URL":
                value = re.sub(r"[?]\S*", "?…", re.sub(r"//[^/\s]*@", "//…@", value))
            if value:
                yield f"  {name:<14} {value:<62} {self.origins[name]}"

    def print(self) -> None:
        """Prints the knobs in force."""
        print("\n".join(self.in_force()), flush=True)

    def in_run_dir(self, *parts: str) -> pathlib.Path:
        """An absolute path below the run folder."""
        return ROOT.joinpath(self.run_dir, *parts)

    @property
    def venv(self) -> pathlib.Path:
        """The Python environment of the project."""
        return pathlib.Path(self.installed or ROOT, ".venv")

    @property
    def jars(self) -> pathlib.Path:
        """The folder of the server jars."""
        run_dir = pathlib.Path(self.installed, ".run") if self.installed else self.in_run_dir()
        return run_dir / "jars"

    @property
    def conf_dir(self) -> pathlib.Path:
        """The folder of the rendered configuration.

        Each cluster and account has its own: commands for two of them may run at the same time.
        """
        account = f"{self.kafka} {self.hdfs} {self.spark_master} {self.client_conf}"
        own = f"{zlib.crc32(os.fsencode(account)):08x}"
        return self.in_run_dir(
            "conf", own if self.stack == "cluster" and not self.installed else ""
        )

    @property
    def client_properties(self) -> pathlib.Path | None:
        """Kafka's client.properties of CLIENT_CONF; None when there is none."""
        path = pathlib.Path(self.client_conf, "client.properties")
        return path if self.client_conf and path.is_file() else None

    @property
    def is_local_spark(self) -> bool:
        """Whether Spark's executors run in the driver's process."""
        return self.spark_master.startswith("local")

    @property
    def ports(self) -> Ports:
        """The servers' ports. Those that no knob names follow the ones in KAFKA and HDFS."""
        if self.stack == "cluster":  # only the server of make serve is ours there
            return Ports(0, 0, 0, 0, 0, 0, 0, connect=15002, jdbc=10000)
        kafka, hdfs = _port(self.kafka), _port(self.hdfs)
        # Beside the default port of HDFS the usual ones of Spark Connect and of HiveServer2.
        doors = (15002, 10000) if hdfs == 8020 else (hdfs + 5, hdfs + 6)
        return Ports(kafka, kafka + 1, hdfs, hdfs + 1, hdfs + 2, hdfs + 3, hdfs + 4, *doors)

    def feed(self, topic: str = "") -> Feed:
        """The feed of a topic, by default that of the knob TOPIC."""
        if self.topics and not topic:
            raise UsageError(
                f"TOPICS is {self.topics}",
                "this target works on one feed; only make land and make follow take several",
                "name one: TOPIC=name",
            )
        return Feed(topic or self.topic, self.hdfs, self.warehouse, self)

    def feeds(self, existing: Iterable[str]) -> list[Feed]:
        """The feeds of the knob TOPICS. existing: the topics there are, of which "all" takes those
        with a feed's name."""
        names = existing if self.topics == "all" else self.topics.split(",")
        return [self.feed(name) for name in names if re.fullmatch(TOPIC_NAME, name)]


class Ports(NamedTuple):
    kafka: int
    controller: int
    namenode: int
    namenode_http: int
    datanode: int
    datanode_http: int
    datanode_ipc: int
    connect: int  # Spark Connect
    jdbc: int


@dataclass(frozen=True)
class Feed:
    """A topic and the tables landed from it, at {hdfs}{warehouse}/{topic}/<table>."""

    topic: str
    hdfs: str
    warehouse: str
    settings: Settings = field(repr=False)

    def folder(self, name: str = "") -> str:
        """A path in the feed's folder, without the address: /warehouse/assessments/_checkpoint"""
        return f"{self.warehouse}/{self.topic}" + (f"/{name}" if name else "")

    def path(self, name: str = "") -> str:
        """hdfs://…/warehouse/assessments/attempts; without a name it ends in a slash."""
        return f"{self.hdfs}{self.warehouse}/{self.topic}/{name}"

    def make(self, target: str, *knobs: str, **values: object) -> str:
        """A make command that means this stack and feed; as Settings.make."""
        topic = {} if self.topic == declared()["TOPIC"].default else {"TOPIC": self.topic}
        said = "".join(f" {name}={value}" for name, value in values.items())
        return self.settings.make(target, **topic) + self.settings.changed(*knobs) + said

    @property
    def is_synthetic(self) -> bool:
        """Whether it is for invented data."""
        return self.topic.startswith("synthetic")


# --- reading --------------------------------------------------------------------------------------


class Knob(NamedTuple):
    """A knob as the Makefile declares it: a comment above `NAME ?= default`."""

    default: str
    meaning: str


@functools.cache
def makefile() -> str:
    """The text of the Makefile."""
    return (ROOT / "Makefile").read_text(encoding="utf-8")


@functools.cache
def declared() -> dict[str, Knob]:
    """The knobs of the Makefile by name, in its order."""
    found = re.findall(r"((?:^# .*\n)+)^([A-Z_]+) \?= ?(.*)\n", makefile(), re.MULTILINE)
    return {
        name: Knob(default, " ".join(line[2:] for line in comment.splitlines()))
        for comment, name, default in found
        if name != "KNOB_ORIGINS"
    }


@functools.cache
def load() -> Settings:
    """The settings of this process, from its environment."""
    return read(os.environ)


def read(environ: Mapping[str, str]) -> Settings:
    """The settings by an environment; UsageError for a value that does not fit.

    KNOB_ORIGINS, which the Makefile sets, tells values that were typed behind make from others.
    """
    said = dict(pair.split("=", 1) for pair in environ.get("KNOB_ORIGINS", "").split())
    values = {name: environ.get(name, knob.default) for name, knob in declared().items()}
    origins = {
        name: ORIGINS.get(
            said.get(name, "environment" if name in environ else "file"), "environment"
        )
        for name in values
    }
    rules = {each.name.upper(): each for each in fields(Settings) if "rule" in each.metadata}
    for name, each in rules.items():
        rule = each.metadata["rule"]
        if name in _ADDRESSES:
            rule = _ADDRESSES[name][values["STACK"] != "cluster"]
        _check(name, values, origins[name], *rule)
    _check_topics(values, origins)
    _check_project_and_ports(values)
    if values["CLUSTER"]:
        _for_cluster_of_containers(values, origins)
    if values["CLIENT_CONF"]:
        _for_client_conf(values)
    values["RUN_DIR"] = values["RUN_DIR"].removeprefix(f"{ROOT}/").removeprefix("./") or "."
    typed: dict[str, Any] = {
        name.lower(): _typed(str(each.type), values[name]) for name, each in rules.items()
    }
    installed = environ.get("PIPELINE_INSTALLED", "")
    settings = Settings(**typed, origins=origins, installed=installed)
    # In a container: what means this stack outside of it.
    knobs = environ.get("STACK_KNOBS") if installed else None
    object.__setattr__(
        settings, "stack_knobs", settings.changed(*STACK_KNOBS) if knobs is None else knobs
    )
    return settings


def _typed(kind: str, text: str) -> object:
    if kind == "bool":
        return text == "1"
    return int(text or 0) if kind == "int" else text


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _check(name: str, values: dict[str, str], origin: str, pattern: str, meaning: str) -> None:
    """UsageError when a value does not fit its pattern."""
    if not re.fullmatch(pattern, values[name], re.ASCII):
        came_from = {"default": "the default", "make": "the make command line"}
        raise UsageError(
            f"{name} is {printable(shlex.quote(values[name]))}",
            f"it came from {came_from.get(origin, 'the environment')}, and must be "
            + (meaning.format(stack=values["STACK"])),
            "type: make help (the knobs, each with its default)",
        )


def _check_topics(values: dict[str, str], origins: dict[str, str]) -> None:
    """UsageError for TOPICS that is empty, beside TOPIC, or names a feed twice."""
    names = values["TOPICS"].split(",")
    twice = sorted({name for name in names if names.count(name) > 1})
    if not values["TOPICS"] and origins["TOPICS"] == "make":
        wrong, why = "TOPICS is empty", "it names the feeds to land"
    elif values["TOPICS"] and (
        origins["TOPIC"] == "make" or values["TOPIC"] != declared()["TOPIC"].default
    ):
        wrong = f"TOPIC is {values['TOPIC']}, and TOPICS is {values['TOPICS']}"
        why = "TOPIC is one feed, TOPICS several; a command takes one of the two"
    elif twice:
        wrong, why = f"TOPICS names {', '.join(twice)} twice", "each feed is landed once"
    else:
        return
    raise UsageError(
        wrong,
        f"it came from {origins['TOPICS'].replace('make', 'the make command line')}; {why}",
        "type: make land TOPICS=first,second; or make land TOPICS=all",
    )


def _check_project_and_ports(values: dict[str, str]) -> None:
    if not re.fullmatch(_JAVA_PATH, str(ROOT)):
        raise UsageError(
            f"this project lies in {shlex.quote(str(ROOT))}",
            "Java class paths cannot hold blanks and signs",
            "move it to a path of letters, digits and . _ -",
        )
    if values["STACK"] != "cluster":
        last = max(_port(values["KAFKA"]) + 1, _port(values["HDFS"]) + 6)
        if last > 65535:
            raise UsageError(
                f"port {last} does not exist",
                "KAFKA and HDFS name a port, and the ports after it are used too",
                "choose lower ones",
            )


def _for_cluster_of_containers(values: dict[str, str], origins: dict[str, str]) -> None:
    """Three brokers: by default three copies, and a partition for each."""
    if values["STACK"] != "docker":
        raise UsageError(
            f"CLUSTER is 1, and STACK is {values['STACK']}",
            "the cluster is one of containers",
            "type: make all STACK=docker CLUSTER=1",
        )
    three = {"PARTITIONS": "3", "REPLICATION": "3", "SPARK_MASTER": "spark://spark-master:7077"}
    values.update((name, value) for name, value in three.items() if origins[name] == "default")


def _for_client_conf(values: dict[str, str]) -> None:
    """Makes CLIENT_CONF absolute."""
    folder = ROOT / values["CLIENT_CONF"]
    if not (folder.is_dir() and os.access(folder, os.X_OK)):
        raise UsageError(
            f"there is no folder CLIENT_CONF={values['CLIENT_CONF']} that you may enter",
            "it should hold client.properties, core-site.xml, hdfs-site.xml or spark-defaults.conf",
            "correct the name, or its rights",
        )
    values["CLIENT_CONF"] = str(folder.resolve())
    if values["STACK"] != "cluster":
        raise UsageError(
            f"CLIENT_CONF is set, and STACK is {values['STACK']}",
            "only services of somebody else need such settings",
            "type: make … STACK=cluster",
        )


def help_text() -> str:
    """What make help prints: the targets and the knobs with their explanations.

    In the Makefile `##@ Section` starts a section, and `target: … ## text` explains a target.
    """
    lines = [f"tracking-user-activity {VERSION}", "usage: make TARGET [KNOB=value …]"]
    for section, target, meaning in re.findall(
        r"^(?:##@ (.*)|([a-z-]+):.*?## (.*))$", makefile(), re.MULTILINE
    ):
        lines.append(f"\n{section}" if section else f"  {target:<17} {meaning}")
    lines.append("\nKnobs")
    for name, knob in declared().items():
        lines += [f"  {name:<12} {knob.meaning}", f"{'':<17}default: {knob.default or 'none'}"]
    return "\n".join(lines)
