"""What each account may not do on a secured cluster, tried with real clients."""

import os
import re
import stat
import subprocess

import pytest

from reader import connect
from stacks import ROOT

pytestmark = pytest.mark.timeout(3000)
# {act: (statement in Python, what the error says)}. {own}, {other}: feeds of two customers.
PRODUCER = "KafkaProducer(bootstrap_servers=settings.kafka, **security.for_python(settings))"
CONSUMER = "KafkaConsumer(bootstrap_servers=settings.kafka, **security.for_python(settings))"
READ = (
    "(lambda c: (c.assign([TopicPartition('{topic}', 0)]), c.seek_to_beginning(), "
    "c.poll(10000)))(" + CONSUMER + ")"
)
ACL_OF_ITS_OWN = (
    "topics.admin(settings).create_acls([ACL('User:{own}_publisher', '*', ACLOperation.READ, "
    "ACLPermissionType.ALLOW, ResourcePattern(ResourceType.TOPIC, '{own}'))])['failed']"
)
KEPT_SHORTER = (
    "topics.admin(settings).alter_configs([ConfigResource(ConfigResourceType.TOPIC, '{own}', "
    "{{'retention.ms': '1'}})])"
)
BY_PUBLISHER = {
    "publish to another's topic": (
        PRODUCER + ".send('{other}', b'x').get(20)",
        "TopicAuthorizationFailed",
    ),
    "read one's own topic": (READ.replace("{topic}", "{own}"), "TopicAuthorizationFailed"),
    "alter a topic": (KEPT_SHORTER, "AuthorizationFailed"),
    "delete a topic": ("topics.admin(settings).delete_topics(['{own}'])", "AuthorizationFailed"),
    "create a topic": (
        "topics.admin(settings).create_topics([NewTopic('mine', 1, 2)])",
        "AuthorizationFailed",
    ),
    "give oneself rights": (ACL_OF_ITS_OWN, "AuthorizationFailed"),
    "see the tables": ("hdfs.get_file_info('/warehouse/{own}/attempts')", "Permission denied"),
}
BY_READER = {
    "read another's table with deltalake": (
        "deltalake.DeltaTable(settings.hdfs + '/warehouse/{other}/attempts').count()",
        "Permission denied|AccessControl",
    ),
    "read another's ledger": (
        "list(hdfs.list_status('/warehouse/{other}/messages'))",
        "Permission denied",
    ),
    "list the feeds": ("list(hdfs.list_status('/warehouse'))", "Permission denied"),
    "delete one's own table": (
        "hdfs.delete('/warehouse/{own}/attempts', True)",
        "Permission denied",
    ),
    "write to one's own table": (
        "hdfs.create('/warehouse/{own}/attempts/x', hdfs_native.WriteOptions())",
        "Permission denied",
    ),
    "make a folder among the feeds": ("hdfs.mkdirs('/warehouse/mine')", "Permission denied"),
    "rename a table": (
        "hdfs.rename('/warehouse/{own}/options', '/warehouse/{own}/o')",
        "Permission denied",
    ),
    "open one's feed for everybody": (
        "hdfs.set_permission('/warehouse/{own}', 0o777)",
        "Permission denied|not the owner",
    ),
    "take possession of a feed": (
        "hdfs.set_owner('/warehouse/{other}', owner='alice')",
        "superuser|Permission denied",
    ),
    "delete rows with deltalake": (
        "deltalake.DeltaTable(settings.hdfs + '/warehouse/{own}/attempts').delete()",
        "Permission denied|AccessControl",
    ),
}
BY_PIPELINE = {
    "publish": (PRODUCER + ".send('{own}', b'x').get(20)", "AuthorizationFailed"),
    "delete a topic": ("topics.admin(settings).delete_topics(['{own}'])", "AuthorizationFailed"),
    "change an owner": ("hdfs.set_owner('/user', owner='pipeline')", "superuser|Permission denied"),
}
ACTS = {"{own}_publisher": BY_PUBLISHER, "alice": BY_READER, "pipeline": BY_PIPELINE}


@pytest.fixture(scope="module")
def feeds(pearson, wiley):
    return {"own": pearson, "other": wiley}


def tried(cluster, account, acts, feeds):
    """Tries every act; returns those that did not fail as they should."""
    statements = [statement.format(**feeds) for statement, _ in acts.values()]
    outcomes = cluster.python(account, *statements)
    return {
        act: text
        for (act, (_, expected)), (done, text) in zip(acts.items(), outcomes, strict=True)
        if not re.search(expected, text) or (done == "done" and "Failed" not in text)
    }


@pytest.fixture(scope="module")
def not_refused(cluster, feeds):
    """Every account has tried what it may not do: {account: the acts that did not fail so}."""
    return {name: tried(cluster, name.format(**feeds), ACTS[name], feeds) for name in ACTS}


@pytest.mark.parametrize("account", ACTS)
def test_forbidden_acts(not_refused, account):
    assert not_refused[account] == {}


def test_accounts_see_their_own_names_only(cluster, feeds):
    (seen,) = cluster.python(f"{feeds['own']}_publisher", "topics.names(settings)")
    assert seen == ["done", repr([feeds["own"]])]
    rows = "deltalake.DeltaTable(settings.hdfs + '/warehouse/{}/attempts').count() > 0"
    for reader, feed in (("alice", feeds["own"]), ("bob", feeds["other"])):
        assert cluster.python(reader, rows.format(feed)) == [["done", "True"]]


def test_a_ticket_opens_no_topic(cluster, feeds):
    """kcat logs in to Kafka by ticket: a publisher in another's topic, a reader in any."""
    for account, feed in ((f"{feeds['own']}_publisher", "other"), ("alice", "own")):
        said = cluster.client(account, "kcat", "-C", "-e", "-b", cluster.kafka, "-t", feeds[feed])
        assert said.returncode and "authorization failed" in said.stdout, said.stdout


def test_readers_with_hadoops_and_sparks_own_tools(cluster, feeds):
    own, other = (f"/warehouse/{feeds[name]}" for name in ("own", "other"))
    for arguments in (["-ls", other], ["-cat", f"{other}/attempts/_delta_log/*0.json"]):
        refused = cluster.client("alice", "hadoop", "fs", *arguments)
        assert refused.returncode and "Permission denied" in refused.stdout, refused.stdout
    refused = cluster.client("alice", "hadoop", "fs", "-rm", "-r", "-skipTrash", f"{own}/options")
    assert refused.returncode and "Permission denied" in refused.stdout
    sql = [
        f"SELECT count(*) > 0 AS readable FROM delta.`{cluster.hdfs}{own}/attempts`",
        f"SELECT count(*) FROM delta.`{cluster.hdfs}{other}/attempts`",
        f"DELETE FROM delta.`{cluster.hdfs}{own}/attempts`",
    ]
    go_on = ("--hiveconf", "hive.cli.errors.ignore=true")
    said = cluster.client(
        *("alice", "spark-sql", "-S", *go_on, "-f", "/dev/stdin"),
        text=";\n".join(sql) + ";\n",
        TOPIC=feeds["own"],
    ).stdout
    assert re.search("^true$", said, re.MULTILINE), said
    for feed in other, own:
        assert re.search(rf'Permission denied: user=alice, access=\w+, inode="{feed}', said), said
    one = ("spark-sql", "-e", "SELECT 1")
    on_yarn = cluster.client("alice", *one, SPARK_MASTER="yarn", TOPIC=feeds["own"])
    assert on_yarn.returncode and re.search("queue|ACL|submit", on_yarn.stdout), on_yarn.stdout


def test_the_query_server_reads_what_its_account_reads(cluster, feeds):
    """make serve as alice: her feed, and neither another's tables nor anybody's functions."""
    own, other = feeds["own"], feeds["other"]
    cluster.make("serve", account="alice", TOPIC=own, SPARK_MASTER="local[2]")
    try:
        found, path, function, write = connect(
            cluster,
            own,
            f"SELECT count(*) > 0 FROM {own}.attempts",
            f"SELECT * FROM delta.`{cluster.hdfs}/warehouse/{other}/attempts`",
            'spark.range(1).select(F.udf(lambda number: open("/etc/passwd").read())("id"))',
            f"DELETE FROM {own}.attempts",
        )
    finally:
        cluster.make("down", account="alice")
    assert found == [[True]]
    assert "Permission denied" in path, path
    assert isinstance(function, str) and isinstance(write, str), (function, write)


def test_without_a_login_or_with_a_wrong_one(cluster, feeds, tmp_path):
    publisher = f"{feeds['own']}_publisher"
    client = "KafkaAdminClient(bootstrap_servers=settings.kafka, bootstrap_timeout_ms=8000, {})"
    names = f"{client}.list_topics()"
    ca = f"ssl_cafile={str(cluster.folder / 'tls/ca.pem')!r}"
    login = "sasl_mechanism='SCRAM-SHA-512', sasl_plain_username={!r}, sasl_plain_password='x'"
    outcomes = cluster.python(
        publisher,
        names.format("security_protocol='PLAINTEXT'"),
        names.format(f"security_protocol='SSL', {ca}"),
        names.format(f"security_protocol='SASL_SSL', {ca}, {login.format(publisher)}"),
        names.format(f"security_protocol='SASL_SSL', {ca}, {login.format('nobody')}"),
        names.format(f"security_protocol='SASL_SSL', {login.format(publisher)}"),
    )
    assert [done for done, _ in outcomes] == ["refused"] * 5, outcomes
    nobody = {"KRB5CCNAME": str(tmp_path / "none"), "HADOOP_USER_NAME": "pipeline"}
    core_site = (cluster.folder / "clients/bob/core-site.xml").read_text()
    plain = tmp_path / "plain"
    plain.mkdir(mode=0o700)
    (plain / "core-site.xml").write_text(core_site.replace(">kerberos<", ">simple<"))
    for folder in (plain, cluster.folder / "clients/bob"):
        without_keytab = tmp_path / folder.name / "conf"
        without_keytab.mkdir(parents=True, mode=0o700, exist_ok=True)
        for name in ("core-site.xml", "hdfs-site.xml"):
            source = folder / name
            if source.exists():
                (without_keytab / name).write_text(source.read_text())
        refused = cluster.client(
            "bob", "hadoop", "fs", "-ls", "/", CLIENT_CONF=str(without_keytab), **nobody
        )
        assert refused.returncode and re.search(
            "SIMPLE authentication is not enabled|Client cannot authenticate", refused.stdout
        ), refused.stdout


def test_a_keytab_that_the_realm_does_not_know(cluster, tmp_path):
    """As if it came from another realm: the right name, another key."""
    forged = tmp_path / "forged.keytab"
    script = (
        f"addent -password -p pipeline@PIPELINE.TEST -k 1 -e aes256-cts\nx\nwkt {forged}\nquit\n"
    )
    subprocess.run(["ktutil"], input=script, text=True, check=True, capture_output=True)
    client = tmp_path / "client"
    client.mkdir(mode=0o700)
    for file in (cluster.folder / "clients/pipeline").iterdir():
        text = file.read_text().replace(str(cluster.folder / "keytabs/pipeline"), str(forged))
        (client / file.name).write_text(text)
    refused = cluster.client("pipeline", "hadoop", "fs", "-ls", "/", CLIENT_CONF=str(client))
    assert refused.returncode == 2
    assert "gives pipeline@PIPELINE.TEST no ticket" in refused.stdout, refused.stdout


def test_refusals_are_in_the_servers_logs(cluster, feeds, not_refused):
    namenode = cluster.log("namenode").read_text()
    assert re.search(r"allowed=false\s+ugi=alice.*cmd=listStatus\s+src=/warehouse\s", namenode)
    brokers = "".join(cluster.log(name).read_text() for name in ("kafka", "kafka2"))
    denied = rf"Principal = User:{feeds['own']}_publisher is Denied operation = (READ|WRITE|ALTER)"
    assert re.search(denied, brokers)


def test_secrets_are_in_private_files_only(cluster, feeds):
    login = ROOT / cluster.run_dir / "customers" / feeds["own"] / "client.properties"
    assert stat.S_IMODE(os.stat(login).st_mode) == 0o600
    secret = re.search('password="(.*)"', login.read_text())[1]
    for log in (ROOT / cluster.run_dir / "logs").iterdir():
        assert secret not in log.read_text(errors="replace"), log
    assert secret not in cluster.customer(feeds["own"])


def test_a_customer_taken_away(cluster, wiley):
    publisher = f"{wiley}_publisher"
    assert cluster.python(publisher, "topics.names(settings)")[0][0] == "done"
    said = cluster.make("customer", account="operator", NAME=wiley, REMOVE=1)
    assert "still there" in said
    assert cluster.python(publisher, "topics.names(settings)")[0][0] == "refused"
    count = f"deltalake.DeltaTable(settings.hdfs + '/warehouse/{wiley}/attempts').count()"
    assert cluster.python("bob", count)[0][0] == "refused"
    assert cluster.python("pipeline", count)[0][0] == "done"
    cluster.customer(wiley)  # and given back
    assert cluster.python("bob", count)[0][0] == "done"


def test_an_operator_creates_a_topic_of_its_own(cluster):
    said = cluster.make("topic", account="operator", TOPIC="synthetic_more", REPLICATION=2)
    assert re.search(r"Topic: synthetic_more\s.*ReplicationFactor: 2", said), said


def test_an_account_without_the_rights_is_told_what_to_have_typed(cluster, pearson):
    said = cluster.make("customer", ok=False, NAME="third")
    assert "kafka-acls --bootstrap-server" in said and "hadoop fs -chown pipeline:third_r" in said
    assert "of the steps are left" in said
    left = "; ".join(re.findall(r"^ +((?:kafka-|hadoop ).*)", said, re.MULTILINE)).split("; ")
    said = cluster.make("customer", ok=False, NAME="third", REMOVE=1)
    assert "--delete-config" in said and "--remove" in said and "may nothing" not in said
    for command in left:
        if "=…" not in command:  # the password is for the operator to choose
            done = cluster.client("operator", *command.split())
            assert done.returncode == 0, done.stdout
    kafka = ["--bootstrap-server", cluster.kafka]
    rights = cluster.client("operator", "kafka-acls", *kafka, "--list", "--topic", "third")
    assert "User:third_publisher" in rights.stdout, rights.stdout
    logins = [*kafka, "--describe", "--entity-type", "users"]
    logins = cluster.client("operator", "kafka-configs", *logins).stdout
    assert f"{pearson}_publisher" in logins and "third_publisher" not in logins, logins
    said = cluster.make("customer", ok=False, NAME="Third")
    assert "NAME is 'Third'" in said
