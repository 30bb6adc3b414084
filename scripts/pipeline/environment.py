"""The environment in which every command of the project runs, and its rendered configuration.

scripts/env.sh runs main(). Of the user's variables only those of PASSED_ON reach a tool, so that
settings made for other work do not change ours. (Settings in the home folder do not reach them
either: tools get another HOME.) Only this module knows where the stack is; scripts see addresses.
Needs no package: it runs before set-up, by any python3.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import pwd
import re
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from xml.etree import ElementTree

from pipeline import files, settings
from pipeline.errors import Failure, UsageError
from pipeline.settings import ROOT, Settings

PASSED_ON = (
    # from one of our scripts to another
    "USER_HOME USER_UMASK KNOB_ORIGINS TRACE REAL_DATA CLASS_LISTS "
    # where the system's programs and their libraries are
    "PATH LD_LIBRARY_PATH JAVA_HOME TMPDIR "
    # the terminal
    "TERM COLUMNS LINES PYTHON_BASIC_REPL PYTHONUNBUFFERED "
    # how the network is reached; the last one in set-up only
    "http_proxy https_proxy no_proxy all_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY "
    "SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE REQUESTS_CA_BUNDLE JAVA_TOOL_OPTIONS "
    # where Python packages come from, and no other setting of pip
    "PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_TRUSTED_HOST PIP_CERT PIP_CLIENT_CERT "
    "PIP_PROXY PIP_DEFAULT_TIMEOUT PIP_RETRIES PIP_CONFIG_FILE PIP_CACHE_DIR "
    # the account on somebody else's services, and the Python there
    "HADOOP_USER_NAME HADOOP_TOKEN_FILE_LOCATION KRB5CCNAME KRB5_CONFIG PYSPARK_PYTHON "
    # Docker
    "DOCKER_HOST DOCKER_CONTEXT DOCKER_CONFIG DOCKER_TLS_VERIFY DOCKER_CERT_PATH "
    "XDG_RUNTIME_DIR COMPOSE_PROJECT_NAME BASE"
).split()
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
THIS_MACHINE = ("localhost", "127.0.0.1")
INTERACTIVE = ("pyspark", "spark-sql", "scripts/shell.sh")  # their history is the user's
# {option of env.sh: the servers that the command needs, as up.py names them}
NEEDS = {"--up": [], "--kafka": ["kafka"], "--hdfs": ["namenode", "datanode"]}
# Spark opens more than some systems allow at first (a Mac: 256). So does make follow, which keeps
# four connections to HDFS for each feed of TOPICS.
OPEN_FILES = 10_000
SPARK_JARS = "lib/python3*/site-packages/pyspark/jars"
# They hold most of the classes that Spark's class archive lists, and come first on the driver's
# class path: while the JVM makes the archive, it compares the jar of each class with all jars
# before it, by two system calls each. That took a quarter of the time.
FIRST_JARS = (
    "spark-catalyst_*.jar hadoop-client-*.jar scala-*.jar spark-core_*.jar spark-sql*.jar "
    "log4j-*.jar jackson-*.jar parquet-*.jar arrow-vector-*.jar spark-network-common_*.jar "
    "netty-common-*.jar netty-transport-4*.jar ivy-*.jar antlr4-*.jar guava-*.jar"
).split()
ADDRESS_SPACE = 5 * 2**30  # bytes; Spark's JVM has reserved up to 3.5 GB

Environment = dict[str, str]


def main(arguments: list[str]) -> None:
    """Replaces this process by the command, in its environment; see scripts/env.sh."""
    option = arguments.pop(0) if arguments[0] in ("--bare", *NEEDS) else ""
    os.chdir(ROOT)
    try:
        environ = clean(os.environ)
        knobs = settings.read(environ)
        check(knobs)
        if knobs.stack != "docker":
            check_address_space()
        environ |= exported(knobs)
        if option != "--bare" and knobs.stack == "docker":
            arguments = ["scripts/containers.sh", *([option] if option else []), *arguments]
        elif option != "--bare":
            environ = prepared(knobs, environ, arguments[0])
            if option:
                up = ["python", "scripts/up.py", "--quiet", *NEEDS[option]]
                if code := subprocess.run(up, env=environ).returncode:
                    sys.exit(code if code > 0 else 1)
        os.execvpe(arguments[0], arguments, environ)
    except Failure as error:
        print(f"error: {error.what}\n       {error.why}\n       {error.then}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"error: {arguments[0]} cannot be run: {error}", file=sys.stderr)
        sys.exit(127)


def clean(environ: Mapping[str, str]) -> Environment:
    """Of the user's environment what a command may see. In a container it is the image's: all."""
    if environ.get("PIPELINE_INSTALLED"):
        return past_proxies(dict(environ))
    home = environ.get("USER_HOME", environ.get("HOME", ""))
    # An empty knob is a value of its own; another variable that is empty might as well be missing.
    kept = {name: environ[name] for name in PASSED_ON if environ.get(name)}
    kept |= {name: environ[name] for name in settings.declared() if name in environ}
    if not os.path.isdir(kept.get("TMPDIR", "/")):
        del kept["TMPDIR"]
    for name, value in kept.items():
        if value.startswith("~/"):  # zsh, and make itself, leave this alone in NAME=~/file
            kept[name] = f"{home}/{value[2:]}"
    kept = {"PATH": DEFAULT_PATH, "DOCKER_CONFIG": f"{home}/.docker"} | kept
    return past_proxies(kept | {"USER_HOME": home})


def past_proxies(environ: Environment) -> Environment:
    """The environment with the servers of this machine among those that no proxy is asked for.

    gRPC, which Spark Connect uses, would ask a proxy even for localhost.
    """
    given = environ.get("no_proxy") or environ.get("NO_PROXY")
    hosts = given if given == "*" else ",".join(filter(None, [given, *THIS_MACHINE]))
    return environ | {"no_proxy": hosts, "NO_PROXY": hosts}


def exported(knobs: Settings) -> Environment:
    """The knobs, checked, and what shell scripts and Compose derive from them."""
    names, feed, ports = list(settings.declared()), knobs.feed(knobs.topic), knobs.ports
    found = {"CONNECT_PORT": ports.connect, "JDBC_PORT": ports.jdbc}
    if knobs.stack != "cluster":
        found |= {
            "KAFKA_PORT": ports.kafka,
            "HDFS_PORT": ports.namenode,
            "NAMENODE_HTTP_PORT": ports.namenode_http,
            "DATANODE_PORT": ports.datanode,
            "DATANODE_HTTP_PORT": ports.datanode_http,
            "DATANODE_IPC_PORT": ports.datanode_ipc,
        }
    environ = {name: knobs.text(name) for name in names}
    environ |= {name: str(port) for name, port in found.items()}
    return environ | {
        "PIPELINE_ENV": "1",  # scripts that need it check this
        "RUN_DIR": str(knobs.in_run_dir()),
        "KNOBS": " ".join(names),
        "KNOB_ORIGINS": " ".join(f"{name}={knobs.origins[name]}" for name in names),
        # What makes a make command mean this stack, this feed, this file; for shell scripts.
        "STACK_KNOBS": knobs.stack_knobs,
        "FEED_KNOBS": feed.make("").removeprefix("make "),
        "FILE_KNOBS": feed.make("", "DATA").removeprefix("make "),
    }


def check(knobs: Settings) -> None:
    """UsageError when the user has no name (in a container it gets one), or BACKUP is a folder."""
    user = os.getuid()
    try:
        pwd.getpwuid(user)
    except KeyError:
        if knobs.installed:  # a container can run under any user number
            with open("/etc/passwd", "a", encoding="utf-8") as file:
                file.write(f"w205:x:{user}:0::{os.environ.get('HOME', '/')}:/bin/bash\n")
        elif knobs.stack != "docker":
            raise UsageError(
                f"the user number {user} has no name on this machine",
                "Hadoop and Spark ask the system for it, and stop without one",
                f"give it one, as root: useradd --uid {user} --no-create-home pipeline\n"
                "       in a container: run it as a user that its image knows",
            ) from None
    if knobs.backup and os.path.isdir(knobs.backup):
        raise UsageError(
            f"BACKUP is {knobs.backup}, a folder",
            "it names the file that backup writes and restore reads",
            f"type: BACKUP={knobs.backup.rstrip('/')}/{knobs.topic}.tar",
        )


# --- the tools' environment -----------------------------------------------------------------------


def prepared(knobs: Settings, environ: Environment, command: str) -> Environment:
    """The environment of a command on the local stack, or on a cluster; prepares the run folder.

    UsageError when set-up has not run.
    """
    if not knobs.installed and not knobs.in_run_dir("run-folder").is_file():
        raise UsageError(
            f"there is no run folder {knobs.in_run_dir()}",
            "set-up makes it, and has not run yet",
            f"type: {knobs.make('setup')}",
        )
    raise_limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    umask = os.umask(0o077)  # the run folder holds customers' data
    environ.setdefault("USER_UMASK", f"{umask:03o}")
    for folder in (
        knobs.in_run_dir("logs"),
        *(knobs.conf_dir / name for name in ("kafka", "hadoop", "spark")),
    ):
        folder.mkdir(parents=True, exist_ok=True)
    environ.pop("JAVA_TOOL_OPTIONS", None)  # only set-up needs it
    if knobs.stack == "local":
        # It belongs to another cluster; here the user who starts the servers owns them.
        environ.pop("HADOOP_USER_NAME", None)
        environ |= of_local_stack(knobs)
    environ |= of_installation(knobs, environ)
    if not knobs.installed:  # a container has a home and a /tmp of its own
        environ |= of_run_folder(knobs, environ, command)
    environ |= of_spark(knobs, environ)
    render(knobs, environ)
    environ |= of_kafka_clients(knobs, environ)
    return environ | of_kerberos(knobs, environ)


def check_address_space() -> None:
    """UsageError where Java cannot start. Set-up would take it for a Java that does not run."""
    if limit := raise_limit(resource.RLIMIT_AS, ADDRESS_SPACE):
        raise UsageError(
            f"a process may have {limit // 1024:,} kB of address space here (ulimit -v)",
            f"Java reserves up to {ADDRESS_SPACE // 1024:,} kB, most of which it never uses; with "
            "less it crashes or hangs",
            "type: ulimit -v unlimited; if the system refuses that, start a new shell, or have "
            "its administrator raise the limit (/etc/security/limits.conf, or the scheduler's)",
        )


def raise_limit(kind: int, wanted: int) -> int:
    """Raises a limit of this process to what is wanted. Returns it when it stays lower, else 0."""
    soft, hard = resource.getrlimit(kind)
    if not 0 <= soft < wanted:  # RLIM_INFINITY is negative
        return 0
    try:
        resource.setrlimit(kind, (wanted, hard))
        return 0
    except (ValueError, OSError):
        return soft


def of_local_stack(knobs: Settings) -> Environment:
    """Names that conf/ needs for the servers. In a container they come from docker-compose.yml."""
    controller = f"127.0.0.1:{knobs.ports.controller}"
    listeners = f"INSIDE://127.0.0.1:{knobs.ports.kafka},CONTROLLER://{controller}"
    found = {"KAFKA_LISTENERS": listeners, "KAFKA_ADVERTISED": listeners}
    found |= {"KAFKA_NODE_ID": "1", "KAFKA_CONTROLLERS": controller}
    found |= {"KAFKA_COPIES": "1", "KAFKA_MIN_COPIES": "1", "HDFS_COPIES": "1"}
    found |= {"HDFS_BIND": "127.0.0.1", "DATANODE_HOSTNAME": "127.0.0.1"}
    # Hadoop resolves this machine's own name. Where no name service knows it (a laptop without a
    # network), a hosts file of ours does.
    name = socket.gethostname()
    with contextlib.suppress(FileNotFoundError):  # no getent: a Mac
        try:
            look_up = ["getent", "ahosts", name]
            known = not subprocess.run(look_up, stdout=subprocess.DEVNULL, timeout=5).returncode
        except subprocess.TimeoutExpired:
            known = False
        if not known:
            hosts = knobs.in_run_dir("conf/hosts")
            write(hosts, f"127.0.0.1 localhost {name}\n")
            found["HOSTS_FILE"] = str(hosts)
    return found


def of_installation(knobs: Settings, environ: Environment) -> Environment:
    """Where set-up put Java, Python and the jars; and what makes tools alike on every machine."""
    java_home = environ.get("JAVA_HOME", "")
    with contextlib.suppress(FileNotFoundError):
        java_home = (knobs.jars.parent / "java_home").read_text().strip()
    bins = [
        f"{ROOT}/scripts/bin",
        f"{knobs.venv}/bin",
        *([f"{java_home}/bin"] if java_home else []),
    ]
    return {
        "ROOT": str(ROOT),
        "VENV": str(knobs.venv),
        # Resolved: a class archive contains the path, and every run folder uses it.
        "JARS": str(knobs.jars.resolve()),
        "JAVA_HOME": java_home,
        "PATH": ":".join([*bins, environ["PATH"]]),
        "PYTHONPATH": f"{ROOT}/scripts",  # for python -m; scripts find their package without it
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONUTF8": "1",
        # Freed memory can be used again by every thread and library.
        "MALLOC_ARENA_MAX": "2",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        # Nothing here uses numpy's threads, and each process would burn 0.1 s to start them.
        "OPENBLAS_NUM_THREADS": "1",
        "CONF_DIR": str(knobs.conf_dir),
        "HADOOP_CONF_DIR": str(knobs.conf_dir / "hadoop"),
        "HDFS_COPIES": environ.get("HDFS_COPIES", "3"),  # HDFS's own default
        "SERVE_BIND": environ.get("SERVE_BIND", "127.0.0.1"),
    }


def of_run_folder(knobs: Settings, environ: Environment, command: str) -> Environment:
    """HOME, and the folder into which Spark and Java spill and unpack, by the command's pid."""
    own, users = knobs.in_run_dir("home"), environ["USER_HOME"] or "/nowhere"
    own.mkdir(exist_ok=True)
    is_users = command in INTERACTIVE and os.access(users, os.W_OK)
    scratch = knobs.in_run_dir("tmp", str(os.getpid()))
    for left in scratch.parent.glob("*"):  # by killed commands
        if left.name.isdigit() and not is_running(int(left.name)):
            shutil.rmtree(left, ignore_errors=True)
    with contextlib.suppress(OSError):  # on a full disk the system's /tmp is used
        scratch.mkdir(parents=True, exist_ok=True)
        environ["SPARK_LOCAL_DIRS"] = str(scratch)
    return {"HOME": users if is_users else str(own)}


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)  # another user's
    return True


def of_spark(knobs: Settings, environ: Environment) -> Environment:
    """Spark's own variables.

    Its settings are passed as files. SPARK_CONF_DIR would put their folder on the class path, and
    the JVM accepts no class archive if the class path contains a folder.
    """
    conf, archive = knobs.conf_dir / "spark", knobs.jars / "spark.jsa"
    crash = f"-XX:ErrorFile={knobs.in_run_dir('logs')}/hs_err_pid%p.log"  # not into the project
    options = [f"-Dlog4j2.configurationFile={conf}/log4j2.properties", crash]
    if environ.get("CLASS_LISTS"):  # see scripts/class_lists.sh
        options.append(f"-XX:DumpLoadedClassList={environ['CLASS_LISTS']}/spark.{os.getpid()}")
    elif archive.exists():
        options += [f"-XX:SharedArchiveFile={archive}", "-Xlog:cds*=off"]
    for variable, name in (  # what other programs read as a variable, Java takes as a property
        ("SPARK_LOCAL_DIRS", "java.io.tmpdir"),
        ("KRB5_CONFIG", "java.security.krb5.conf"),
        ("HOSTS_FILE", "jdk.net.hosts.file"),
    ):
        options += [f"-D{name}={environ[variable]}"] if environ.get(variable) else []
    python, is_local = f"{knobs.venv}/bin/python", knobs.is_local_spark
    return {
        "SPARK_SETTINGS": f"{conf}/spark-defaults.conf",
        "PYSPARK_SUBMIT_ARGS": f"--properties-file {conf}/spark-defaults.conf pyspark-shell",
        "SPARK_SUBMIT_OPTS": " ".join(options),
        # The launcher is the JVM that works out the driver's command.
        "SPARK_LAUNCHER_OPTS": f"-XX:TieredStopAtLevel=1 -XX:+UseSerialGC {crash}",
        "PYSPARK_DRIVER_PYTHON": python,
        # Executors on other machines have a Python of their own, and must reach this machine's
        # driver. By default Spark picks any interface of the machine.
        "PYSPARK_PYTHON": python if is_local else environ.get("PYSPARK_PYTHON", python),
        "SPARK_BIND": "127.0.0.1" if is_local else "0.0.0.0",
    } | ({"SPARK_LOCAL_IP": "127.0.0.1"} if is_local else {})


def of_kafka_clients(knobs: Settings, environ: Environment) -> Environment:
    """Where clients of a Kafka with accounts find their settings. Exits when these are unusable."""
    found, own = {}, pathlib.Path(knobs.client_conf, "kcat.conf")
    if knobs.client_properties:
        kcat_conf = knobs.conf_dir / "kafka/kcat.conf"
        found["KAFKA_CLIENT_PROPERTIES"] = str(knobs.client_properties)
        found["KCAT_CONFIG"] = str(kcat_conf)
        # By the project's Python: it tries the certificates with the client's own library.
        command = ["python", "-m", "pipeline.kafka.security"]
        done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(done.returncode)
        write(kcat_conf, done.stdout)
    return found | ({"KCAT_CONFIG": str(own)} if knobs.client_conf and own.is_file() else {})


def of_kerberos(knobs: Settings, environ: Environment) -> Environment:
    """A ticket of this command's own, by a keytab that spark-defaults.conf of CLIENT_CONF names.

    Without a keytab the ticket of kinit is used. GSSAPI gets a new ticket before this one ends.
    """
    text = pathlib.Path(environ["SPARK_SETTINGS"]).read_text()
    said = dict(re.findall(r"^spark\.kerberos\.(\w+)[\s=]+(.*)", text, re.MULTILINE))
    keytab, principal = said.get("keytab", ""), said.get("principal", "")
    if not knobs.client_conf or not keytab:
        return {}
    if not shutil.which("kinit", path=environ["PATH"]):
        raise UsageError(
            f"there is no kinit, and {environ['SPARK_SETTINGS']} names a keytab",
            "it is the program that gets a ticket of Kerberos",
            "Debian: apt-get install krb5-user",
        )
    ticket = str(knobs.in_run_dir("tmp", str(os.getpid()), "ticket"))
    found = {"KRB5CCNAME": ticket, "KRB5_CLIENT_KTNAME": keytab}
    krb5 = f"conf/krb5.conf:{environ.get('KRB5_CONFIG', '/etc/krb5.conf')}"
    done = subprocess.run(
        ["kinit", "-k", "-t", keytab, principal],
        env=environ | found | {"KRB5_CONFIG": krb5},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise UsageError(
            f"Kerberos gives {principal} no ticket for the keytab {keytab}",
            done.stdout.strip(),
            f"mend what it says: this machine's clock, or {knobs.client_conf}/spark-defaults.conf",
        )
    return found


# --- configuration files --------------------------------------------------------------------------


def render(knobs: Settings, environ: Environment) -> None:
    """Fills in @NAME@ in each file of conf/kafka, conf/hadoop and conf/spark.

    CLIENT_CONF has the settings of somebody else's cluster as the standard files: Hadoop's replace
    ours, Spark's follow ours and take precedence.
    """
    # The driver has the connectors on its class path; executors in other processes fetch them.
    connectors = sorted(map(str, (knobs.jars.resolve() / "spark").glob("*.jar")))
    patterns = (f"{SPARK_JARS}/{name}" for name in FIRST_JARS)
    first = [str(jar) for pattern in patterns for jar in sorted(knobs.venv.glob(pattern))]
    # Spark's own warehouse stays empty. Readers have no right to create a folder among the feeds.
    warehouse = f"{knobs.hdfs}{knobs.warehouse}/_spark"
    names = environ | {
        "SPARK_CLASSPATH": ":".join(connectors + first),
        "SPARK_JARS": "" if knobs.is_local_spark else ",".join(connectors),
        "SPARK_WAREHOUSE": f"file:{knobs.in_run_dir('tmp')}" if knobs.client_conf else warehouse,
    }
    for kind in ("kafka", "hadoop", "spark"):
        for template in sorted(ROOT.glob(f"conf/{kind}/*")):
            text = re.sub("@([A-Z_]+)@", lambda name: names.get(name[1], ""), template.read_text())
            # On YARN Hadoop's settings travel with the job, to where Spark's Python workers do not
            # look.
            if knobs.spark_master == "yarn" and template.name == "spark-defaults.conf":
                text += "\nspark.executorEnv.HADOOP_CONF_DIR  __spark_conf__/__hadoop_conf__\n"
            given = pathlib.Path(knobs.client_conf, template.name)
            if knobs.client_conf and given.is_file() and kind == "hadoop":
                text = text_given(given)
            elif knobs.client_conf and given.is_file() and template.suffix == ".conf":
                text += "\n" + text_given(given)
            write(knobs.conf_dir / kind / template.name, text)


def text_given(path: pathlib.Path) -> str:
    """A file of CLIENT_CONF. UsageError when it is not text, or not the XML that its name says."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".xml":
            ElementTree.fromstring(text)
        return text
    except (ValueError, ElementTree.ParseError) as error:
        raise UsageError(
            f"{path} cannot be used",
            f"it is not {'XML' if path.suffix == '.xml' else 'text'} in UTF-8: {error}",
            "correct it, or get it once more from the owner of the cluster",
        ) from None


def write(path: pathlib.Path, text: str) -> None:
    """Replaces the whole file, and only if it changed."""
    if not path.is_file() or path.read_text() != text:
        files.replace(path, text)
