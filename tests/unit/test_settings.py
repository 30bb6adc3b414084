"""The knobs: typed, checked, and repeated in messages as one types them; the feed and its paths."""

import re

import pytest

from hostile import HOSTILE
from pipeline import customer, environment, settings
from pipeline.errors import Failure, UsageError
from pipeline.settings import ROOT

OTHERS = {"KAFKA": "127.0.0.1:19092", "HDFS": "hdfs://127.0.0.1:18020", "RUN_DIR": ".run-2"}


def test_without_variables_each_knob_has_its_default():
    found = settings.read({})
    assert {name: found.text(name) for name in settings.declared()} == {
        name: knob.default for name, knob in settings.declared().items()
    }
    assert set(found.origins.values()) == {"default"}
    assert (found.topic, found.partitions, found.force, found.synthetic) == (
        *("assessments", 1, False, 0),
    )
    assert found.in_run_dir("logs", "x.log") == ROOT / ".run/logs/x.log"
    assert found.make("land") == found.feed().make("land") == "make land"
    ports = (29092, 29093, 8020, 8021, 8022, 8023, 8024, 15002, 10000)
    assert found.ports == ports and found.is_local_spark


def test_messages_repeat_what_is_not_at_its_default():
    found = settings.read({**OTHERS, "TOPIC": "other", "DATA": "my file.json", "FORCE": "1"})
    stack = "KAFKA=127.0.0.1:19092 HDFS=hdfs://127.0.0.1:18020 RUN_DIR=.run-2"
    assert found.make("up") == f"make up {stack}"
    assert (
        found.feed().make("land", SKIP_EXPIRED=1) == f"make land {stack} TOPIC=other SKIP_EXPIRED=1"
    )
    with_file = f"make publish {stack} TOPIC=other DATA='my file.json'"
    assert found.feed().make("publish", "DATA") == with_file
    assert found.feed("third").make("land") == f"make land {stack} TOPIC=third"
    assert found.feed("assessments").make("land") == f"make land {stack}"
    assert found.force and found.ports[-2:] == (18025, 18026)


def test_a_feed_has_a_folder_and_the_paths_of_its_tables():
    feed = settings.read({"TOPIC": "synthetic_a", "WAREHOUSE": "/w"}).feed()
    assert (
        feed.folder() == "/w/synthetic_a" and feed.folder("attempts") == "/w/synthetic_a/attempts"
    )
    assert feed.path("attempts") == "hdfs://127.0.0.1:8020/w/synthetic_a/attempts"
    assert feed.is_synthetic and not settings.read({}).feed().is_synthetic


def test_what_make_has_from_its_command_line_is_told_from_the_environment():
    origins = "TOPIC=command_line SEED=environment_override DATA=file"
    found = settings.read({"KNOB_ORIGINS": origins, "TOPIC": "a", "SEED": "2", "YES": "1"})
    assert [found.origins[name] for name in ("TOPIC", "SEED", "DATA", "YES")] == [
        *("make", "environment", "default", "environment"),
    ]


def test_an_address_is_shown_without_its_password():
    found = settings.read({"DATA_URL": "https://user:s3cret@example.org/file?token=s3cret"})
    shown = "\n".join(found.in_force())
    assert "s3cret" not in shown and "https://…@example.org/file?…" in shown


def test_no_proxy_is_asked_for_this_machine():
    def hosts(**given):
        found = environment.clean(given)
        assert found["no_proxy"] == found["NO_PROXY"]
        return found["no_proxy"].split(",")

    assert hosts() == hosts(http_proxy="http://proxy:1") == ["localhost", "127.0.0.1"]
    assert hosts(NO_PROXY="a.org,.b.org") == ["a.org", ".b.org", "localhost", "127.0.0.1"]
    assert hosts(no_proxy="*") == ["*"]
    assert hosts(PIPELINE_INSTALLED="/opt", http_proxy="x") == ["localhost", "127.0.0.1"]


def test_a_cluster_of_containers_has_three_of_what_nobody_set():
    found = settings.read({"STACK": "docker", "CLUSTER": "1", "PARTITIONS": "2"})
    assert (found.partitions, found.replication) == (2, 3)
    assert found.spark_master == "spark://spark-master:7077"


def test_two_accounts_of_a_cluster_have_two_folders_of_settings(tmp_path):
    cluster = {"STACK": "cluster", "KAFKA": "a:1,b:2", "HDFS": "hdfs://name"}
    accounts = [settings.read(cluster | {"CLIENT_CONF": conf}) for conf in ("", str(tmp_path))]
    folders = {account.conf_dir for account in accounts} | {settings.read({}).conf_dir}
    assert len(folders) == 3 and all(folder.is_relative_to(ROOT / ".run") for folder in folders)
    assert accounts[0].client_properties is accounts[1].client_properties is None
    (tmp_path / "client.properties").touch()
    assert accounts[1].client_properties == tmp_path / "client.properties"
    assert accounts[0].ports.connect == 15002


@pytest.mark.parametrize(
    "knob, value",
    [
        ("TOPIC", "Assessments"),
        ("TOPIC", "a" * 101),
        ("TOPIC", "a\n"),
        ("TOPIC", "a\x1b[31m"),
        ("TOPIC", ""),
        ("TOPIC", "default"),
        ("TOPIC", "global_temp"),
        ("TOPIC", "information_schema"),
        ("KAFKA", "0.0.0.0:29092"),
        ("KAFKA", "127.0.0.1:99999"),
        ("HDFS", "hdfs://example.org:8020"),
        ("HDFS", "hdfs://127.0.0.1:65530"),
        ("PARTITIONS", "0"),
        ("WAREHOUSE", "/a/../b"),
        ("WAREHOUSE", "relative"),
        ("STACK", "cloud"),
        ("CLUSTER", "1"),
        ("CLIENT_CONF", "/no/such/folder"),
        ("CLIENT_CONF", "/tmp"),
        ("RUN_DIR", ".run,x"),
        ("RUN_DIR", "a b"),
        ("RUN_DIR", "a;b"),
        ("DATA", "~/x"),
        ("FORCE", "yes"),
        ("SEED", "٣"),
    ],
)
def test_a_value_that_does_not_fit_is_named_safely(knob, value):
    with pytest.raises(UsageError) as caught:
        settings.read({knob: value})
    failure = caught.value
    assert failure.exit_code == 2 and (knob in failure.what or "port" in failure.what)
    assert failure.what.isprintable() and failure.then


def test_a_customer_has_no_name_that_spark_has_for_itself():
    found = settings.read({"NAME": "global_temp", "KNOB_ORIGINS": "NAME=command_line"})
    with pytest.raises(Failure, match="NAME is 'global_temp'") as caught:
        customer.pipeline_account(found)
    assert "which Spark and Hive have for themselves" in caught.value.why


# --- hostile values -------------------------------------------------------------------------------

ANY_CHARACTERS = ["DATA", "DATA_URL", "BACKUP", "OUT"]  # but control characters
FOLDERS = ["CLIENT_CONF", "RUN_DIR"]  # ../x is one
# pipeline/customer.py checks NAME.
CHECKED = [knob for knob in settings.declared() if knob not in [*ANY_CHARACTERS, "NAME"]]


def refusal(environ):
    """Returns the UsageError of these settings; None when they are accepted."""
    try:
        settings.read(environ)
    except UsageError as error:
        return error


@pytest.mark.parametrize("knob", CHECKED)
@pytest.mark.parametrize(
    "origin, words",
    [("environment", "the environment"), ("command_line", "the make command line")],
)
def test_a_hostile_value_of_a_knob_is_named(knob, origin, words):
    values = [value for value in HOSTILE if not (knob in FOLDERS and value == "../x")]
    assert len(values) >= 18
    for value in values:
        failure = refusal({"KNOB_ORIGINS": f"{knob}={origin}", knob: value})
        assert failure and failure.exit_code == 2, value
        assert failure.what.startswith(f"{knob} is ") and f"from {words}," in failure.why, value
        assert f"{failure.what}{failure.why}{failure.then}".isprintable(), value


@pytest.mark.parametrize("knob", ANY_CHARACTERS)
@pytest.mark.parametrize("value", ["a\ntouch owned", "a\x1b[31m"])
def test_a_control_character_in_a_path_or_an_address_is_refused(knob, value):
    failure = refusal({knob: value})
    assert failure and failure.what.startswith(f"{knob} is ") and failure.what.isprintable()


def test_make_protects_every_knob():
    """The Makefile keeps the text and the origin of those in KNOBS, whatever their value."""
    (knobs,) = re.findall(r"^KNOBS := (.*)", settings.makefile(), re.MULTILINE)
    assert sorted(knobs.split()) == sorted(settings.declared())


@pytest.mark.parametrize(
    "given, message",
    [
        ({"TOPICS": "a,B"}, "TOPICS is a,B"),
        ({"TOPICS": "a,,b"}, "TOPICS is a,,b"),
        ({"TOPICS": "a,b,a"}, "TOPICS names a twice"),
        ({"TOPICS": ""}, "TOPICS is empty"),
        ({"TOPICS": "a", "TOPIC": "b"}, "TOPIC is b, and TOPICS is a"),
    ],
)
def test_topics_that_name_no_feeds_are_refused(given, message):
    origins = " ".join(f"{name}=command_line" for name in given)
    with pytest.raises(UsageError, match=message) as refused:
        settings.read({**given, "KNOB_ORIGINS": origins})
    assert "make" in refused.value.then


def test_all_topics_are_those_whose_names_can_be_a_feeds():
    found = settings.read({"TOPICS": "all"}).feeds(["a_feed", "Other", "with-dash", "b2"])
    assert [feed.topic for feed in found] == ["a_feed", "b2"]
    found = settings.read({"TOPICS": "b,a"}).feeds(["a"])
    assert [feed.topic for feed in found] == ["b", "a"]


def test_a_target_of_one_feed_takes_no_topics():
    with pytest.raises(UsageError, match="TOPICS is a,b"):
        settings.read({"TOPICS": "a,b"}).feed()
