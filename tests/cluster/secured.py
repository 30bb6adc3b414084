"""A secured cluster on loopback, of real servers: Kerberos, HDFS, YARN and Kafka with TLS and ACLs.

`make test-cluster` starts and stops it; by hand (RUN_DIR, KAFKA and HDFS say where):
    scripts/env.sh python tests/cluster/secured.py up | down

It needs no root. Each server is one of servers.py's services: same start, probe, log and pid file.
Kafka uses the port of KAFKA and those after it, all others use the port of HDFS and those after it.

    kdc             the realm PIPELINE.TEST: a user per account, a principal per server
    kafka, kafka2   two brokers: clients by SASL_SSL (SCRAM or a ticket); ACLs
    namenode        HDFS with Kerberos: all connections encrypted
    datanode
    resourcemanager YARN with Kerberos, two NodeManagers
    nodemanager, nodemanager2
"""

import os
import pathlib
import subprocess
import sys

import pyspark

from pipeline import script, settings
from pipeline.errors import Failure
from pipeline.settings import Settings
from pipeline.stack import servers, storage
from pipeline.stack.servers import Service

SETTINGS = settings.load()
REALM = "PIPELINE.TEST"
SPARK_JARS = pathlib.Path(pyspark.__file__).with_name("jars")
CONF = pathlib.Path(__file__).with_name("conf")
BOUNCY_CASTLE = ("bcprov", "bcpkix", "bcutil")
SERVERS = ("nn", "dn", "rm", "nm", "HTTP", "kafka")  # names of their principals, all on localhost
# Whose groups the cluster knows. The operator is HDFS's superuser; the pipeline lands all feeds.
CUSTOMERS = ("pearson", "synthetic_pearson", "synthetic_wiley", "synthetic_many")
GROUPS = {
    "operator": ["operators"],
    "nn": ["operators"],
    "pipeline": [],
    "alice": ["pearson_readers", "synthetic_pearson_readers"],
    "bob": ["synthetic_wiley_readers"],
    **{f"{customer}_publisher": [] for customer in CUSTOMERS},
}
KAFKA_LOGINS = ("operator", "pipeline")  # those of publishers are made by make customer


def folder(*parts: str) -> pathlib.Path:
    return SETTINGS.in_run_dir("cluster", *parts)


def ports() -> dict[str, int]:
    """{name in the templates: port}"""
    kafka, hdfs = SETTINGS.ports.kafka, SETTINGS.ports.namenode
    names = (
        "NAMENODE_PORT NAMENODE_HTTPS_PORT DATANODE_PORT DATANODE_HTTPS_PORT DATANODE_IPC_PORT "
        "SCHEDULER_PORT TRACKER_PORT RESOURCEMANAGER_PORT "
        "RESOURCEMANAGER_ADMIN_PORT RESOURCEMANAGER_HTTPS_PORT KDC_PORT "
        "NODEMANAGER_PORT LOCALIZER_PORT NODEMANAGER_HTTPS_PORT "
        "NODEMANAGER2_PORT LOCALIZER2_PORT NODEMANAGER2_HTTPS_PORT"
    ).split()
    of_kafka = "KAFKA_PORT BROKERS_PORT CONTROLLER_PORT KAFKA2_PORT BROKERS2_PORT".split()
    return {name: hdfs + number for number, name in enumerate(names)} | {
        name: kafka + number for number, name in enumerate(of_kafka)
    }


def render(name: str, target: pathlib.Path, **more: object) -> None:
    """Fills in a file of conf/. Only this user may read the result."""
    values = ports() | {
        "REALM": REALM,
        "FOLDER": folder(),
        "HDFS": SETTINGS.hdfs,
        "GROUPS": ";".join(f"{user}={','.join(groups)}" for user, groups in GROUPS.items()),
        **more,
    }
    text = (CONF / name).read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def run(*command: object, **more: object) -> str:
    done = subprocess.run(
        [*map(str, command)], text=True, capture_output=True, stdin=subprocess.DEVNULL, **more
    )
    if done.returncode:
        raise Failure(f"{command[0]} failed", done.stderr or done.stdout, "mend what it says")
    return done.stdout


def password(name: str) -> str:
    """A secret of this cluster, made at its first use: 16 bytes in base64, as Kafka's ids are."""
    file = folder("passwords", name)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(storage.new_cluster_id())
    return file.read_text()


def make_realm() -> None:
    """Creates the Kerberos database, a keytab per server and one per account."""
    if (folder("kdc") / "principal").exists():
        return
    folder("kdc").mkdir(parents=True)
    folder("keytabs").mkdir()
    run("kdb5_util", "create", "-s", "-r", REALM, "-P", password("kdc"))
    for name in [*SERVERS, *(user for user in GROUPS if user not in SERVERS)]:
        principal = f"{name}/localhost@{REALM}" if name in SERVERS else f"{name}@{REALM}"
        # Whatever takes longer than the pipeline's tickets live needs a new one by its keytab.
        life = "-maxlife 2min" if name == "pipeline" else ""
        for query in (
            f"addprinc -randkey {life} {principal}",
            f"ktadd -k {keytab(name)} {principal}",
        ):
            run("kadmin.local", "-r", REALM, "-q", query)


def keytab(name: str) -> pathlib.Path:
    return folder("keytabs", name)


def make_certificates() -> None:
    """Creates a CA, and for brokers and Hadoop a certificate for localhost."""
    tls = folder("tls")
    if (tls / "server.p12").exists():
        return
    tls.mkdir(parents=True, exist_ok=True)
    new_key = ["-newkey", "rsa:2048", "-noenc"]
    ca = ["-x509", "-days", "30", "-subj", "/CN=test CA", "-keyout", tls / "ca.key"]
    run("openssl", "req", *new_key, *ca, "-out", tls / "ca.pem")
    for name in ("broker", "server"):
        key, request, signed = (tls / f"{name}.{kind}" for kind in ("key", "csr", "crt"))
        run("openssl", "req", *new_key, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        names = tls / "names"
        names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        by_ca = ["-CA", tls / "ca.pem", "-CAkey", tls / "ca.key", "-CAcreateserial"]
        sign = ["-req", "-days", "30", "-in", request, "-extfile", names, "-out", signed]
        run("openssl", "x509", *sign, *by_ca)
        chain = "".join(part.read_text() for part in (key, signed, tls / "ca.pem"))
        (tls / f"{name}.pem").write_text(chain)
    to_p12 = ["pkcs12", "-export", "-in", tls / "server.pem", "-out", tls / "server.p12.new"]
    run("openssl", *to_p12, "-passout", f"pass:{password('keystore')}")
    (tls / "server.p12.new").rename(tls / "server.p12")


def make_configuration() -> None:
    """Renders the settings of all servers."""
    render("krb5.conf", folder("krb5.conf"))
    render("kdc.conf", folder("kdc.conf"))
    # As in the plain stack; but who was refused what is noted.
    plain = (SETTINGS.conf_dir / "kafka/log4j2.properties").read_text()
    audit = "logger.audit.level = info\nlogger.acl.name = kafka.authorizer.logger\n"
    folder("log4j2.properties").write_text(plain.replace("logger.audit.level = off\n", audit))
    for number in ("", "2"):
        listens = f",CONTROLLER://127.0.0.1:{ports()['CONTROLLER_PORT']}" if not number else ""
        of_broker = {
            "NAME": f"kafka{number}",
            "NODE_ID": number or 1,
            "ROLES": "broker" if number else "broker,controller",
            "KAFKA_PORT": ports()[f"KAFKA{number}_PORT"],
            "BROKERS_PORT": ports()[f"BROKERS{number}_PORT"],
            "CONTROLLER_LISTENER": listens,
            "CONTROLLER_ADVERTISED": listens.replace("127.0.0.1", "localhost"),
        }
        render("server.properties", folder(f"kafka{number}.properties"), **of_broker)
        own = {
            "NODEMANAGER": f"nodemanager{number}",
            "KEYSTORE_PASSWORD": password("keystore"),
            "NODEMANAGER_PORT": ports()[f"NODEMANAGER{number}_PORT"],
            "LOCALIZER_PORT": ports()[f"LOCALIZER{number}_PORT"],
            "NODEMANAGER_HTTPS_PORT": ports()[f"NODEMANAGER{number}_HTTPS_PORT"],
        }
        for name in (
            *("core-site.xml", "hdfs-site.xml", "yarn-site.xml"),
            *("ssl-server.xml", "capacity-scheduler.xml"),
        ):
            render(name, folder(f"hadoop{number}", name), **own)


def make_clients() -> None:
    """A folder per account for CLIENT_CONF, as the owner of a cluster hands it out."""
    of_spark = {
        "SPARK_JARS": SPARK_JARS,
        "CONNECTORS": ",".join(f"local:{jar}" for jar in (SETTINGS.jars / "spark").glob("*.jar")),
    }
    for account in set(GROUPS) - set(SERVERS):
        client = folder("clients", account)
        for name in (
            *("core-site.xml", "hdfs-site.xml", "yarn-site.xml"),
            *("spark-defaults.conf", "kcat.conf"),
        ):
            render(name, client / name, USER=account, NODEMANAGER="", **of_spark)
        if account in KAFKA_LOGINS:
            login = {"LOGIN": account, "PASSWORD": password(account)}
            render("client.properties", client / "client.properties", **login)
        client.chmod(0o700)


def jvm_options(megabytes: int) -> str:
    log = f"-Dlog4j2.configurationFile={folder('log4j2.properties')}"
    return f"-Xmx{megabytes}m {log}"


def yarn_jars() -> str:
    """What the ResourceManager needs and HDFS does not: a class path."""
    log4j = map(str, SPARK_JARS.glob("log4j-1.2-api-*.jar"))
    return ":".join([*log4j, *(f"/usr/share/java/{name}.jar" for name in BOUNCY_CASTLE)])


class ClusterService(Service):
    """A server of the cluster: it works when all its ports accept connections.

    ports: their names; command: Java's main class and its arguments, or another program.
    """

    def __init__(self, name: str, names: str, command: list[object], heap_mb: int = 256):
        own = {
            ports()[f"{each}_PORT"]: "KAFKA, or HDFS, and what follows" for each in names.split()
        }
        text = [*map(str, command)]
        conf = "hadoop2" if name.endswith("2") else "hadoop"
        # java-tool puts it on the class path, so what YARN needs besides can stand in it, too.
        environment = ["env", f"HADOOP_CONF_DIR={folder(conf)}:{yarn_jars()}"]
        address = f"127.0.0.1:{next(iter(own))}"
        options = jvm_options(heap_mb)
        super().__init__(
            *(SETTINGS, name, address, own, environment + text, text[2], options),
            probe=lambda _: None,
        )

    def prepare(self) -> None:
        """Formats the storage of the NameNode, and of a broker with the first logins in it."""
        tool = self.command
        format_options: list[object] = []
        if self.name == "namenode" and not folder("name").exists():
            format_options = ["-format", "-force", "-nonInteractive"]
        elif self.name.startswith("kafka") and not folder(self.name).exists():
            tool = [*tool[:4], "kafka.tools.StorageTool", "format"]
            quorum = "--standalone" if self.name == "kafka" else "--no-initial-controllers"
            logins = [
                f"--add-scram=SCRAM-SHA-512=[name={user},password={password(user)}]"
                for user in KAFKA_LOGINS
            ]
            of_cluster = ["--cluster-id", password("kafka-cluster"), "--config", self.command[-1]]
            format_options = [quorum, *of_cluster, *logins]
        if format_options:
            java = {"JAVA_TOOL_OPTS": self.heap}
            run(*tool, *format_options, env=os.environ | java)


def services() -> list[Service]:
    kdc = ["krb5kdc", "-n", "-P", folder("kdc", "pid"), "-r", REALM]
    hdfs, yarn = "org.apache.hadoop.hdfs.server", "org.apache.hadoop.yarn.server"
    manager = ["java-tool", "hdfs", f"{yarn}.nodemanager.NodeManager"]

    def broker(name: str) -> list[object]:
        return ["java-tool", "kafka", "kafka.Kafka", folder(f"{name}.properties")]

    return [
        ClusterService("kdc", "KDC", kdc),
        ClusterService("kafka", "KAFKA BROKERS CONTROLLER", broker("kafka"), 512),
        ClusterService("kafka2", "KAFKA2 BROKERS2", broker("kafka2"), 512),
        ClusterService(
            "namenode", "NAMENODE NAMENODE_HTTPS", ["java-tool", "hdfs", storage.NAMENODE]
        ),
        ClusterService(
            "datanode",
            "DATANODE DATANODE_HTTPS DATANODE_IPC",
            ["java-tool", "hdfs", f"{hdfs}.datanode.DataNode"],
        ),
        ClusterService(
            "resourcemanager",
            "RESOURCEMANAGER SCHEDULER TRACKER RESOURCEMANAGER_ADMIN",
            ["java-tool", "hdfs", f"{yarn}.resourcemanager.ResourceManager"],
            512,
        ),
        ClusterService("nodemanager", "NODEMANAGER LOCALIZER", manager),
        ClusterService("nodemanager2", "NODEMANAGER2 LOCALIZER2", manager),
    ]


def main(_: Settings) -> None:
    os.environ["KRB5_CONFIG"] = str(folder("krb5.conf"))
    os.environ["KRB5_KDC_PROFILE"] = str(folder("kdc.conf"))
    if sys.argv[1] == "down":
        servers.stop(services(), SETTINGS)
        return
    make_configuration()
    make_realm()
    make_certificates()
    make_clients()
    password("kafka-cluster")  # before both brokers want it at once
    servers.START_LIMIT_S = 600  # eight servers at once, beside other work
    servers.start(services(), SETTINGS)


if __name__ == "__main__":
    script.run(main)
