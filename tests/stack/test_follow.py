"""make follow: what is published while it runs is landed once, and it ends as a user expects."""

import collections
import contextlib
import os
import re
import signal
import time

import deltalake
import hdfs_native
import pexpect
import pyarrow as pa
import pytest
from deltalake.exceptions import TableNotFoundError

from following import Following
from messages import good, spoil
from pipeline.tables.delta import _reuse
from stacks import LIMIT_S, ROOT, clean_environment, wait_until

pytestmark = pytest.mark.thorough


@pytest.fixture
def follow(stack):
    """Starts make follow of a topic; kills it when the test fails."""
    started = []

    def start(topic, **how):
        started.append(Following(stack, topic, **how))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.kill()


def messages(first, count):
    return [good(keen_id=f"follow-{number:06}") for number in range(first, first + count)]


def landed(stack, topic):
    """Returns {value: statuses of its records, sorted}, and the keen_ids of `attempts`, sorted."""
    found = collections.defaultdict(list)
    for row in stack.table(topic, "messages"):
        found[row["value"]].append(row["status"])
    keen_ids = sorted(row["keen_id"] for row in stack.table(topic, "attempts"))
    return {value: sorted(statuses) for value, statuses in found.items()}, keen_ids


SAMPLE = re.compile(
    r'([a-z_]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+)\} (-?\d+(?:\.\d+)?(?:e[+-]\d+)?)'
)


def parsed(text):
    """Parses Prometheus's text format, strictly. Returns {name: {labels as a set: value}}."""
    assert text.endswith("\n")
    found, name = {}, None
    lines = iter(text[:-1].split("\n"))
    for line in lines:
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in found and re.fullmatch("[a-z][a-z_]*", name), line
            kind = re.fullmatch(f"# TYPE {name} (gauge|counter)", next(lines))[1]
            assert (kind == "counter") == name.endswith("_total")
            found[name] = {}
        else:
            its_name, labels, value = SAMPLE.fullmatch(line).groups()
            assert its_name == name, line
            pairs = re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', labels)
            assert len(dict(pairs)) == len(pairs)
            assert frozenset(pairs) not in found[name], line
            found[name][frozenset(pairs)] = float(value)
    return found


def test_what_is_published_while_it_follows_is_landed_once_and_counted(stack, follow):
    topic = "synthetic_follow"
    following = follow(topic)
    following.wait_for(f"there is no topic {topic} yet: waiting for make publish")
    stack.run("topic", TOPIC=topic, PARTITIONS=2)
    groups = [messages(100 * number, 20) for number in range(4)]
    stack.kcat(topic, *groups[0])
    following.wait_for_rows(20)
    stack.kcat(topic, *groups[1], groups[0][0], spoil("exam_name", ...), b"{", b"{ ")
    output = stack.make("land", TOPIC=topic)  # beside it
    assert "nothing new: all" in output or "landed in " in output
    stack.kcat(topic, *groups[2])
    following.wait_for_rows(64)
    stack.kcat(topic, *groups[3])
    following.wait_for_rows(84)
    said = following.end()
    # One aligned line per batch, all of one width.
    lines = [line for line in said.splitlines() if re.match(r"(time|\d\d:\d\d:\d\d) +[\dr]", line)]
    assert len(lines) > 2 and len({len(line) for line in lines}) == 1, said
    assert said.splitlines()[-1].endswith(" rejected")
    stack.run("land", TOPIC=topic)  # writes the metrics after the last batch

    everything = sum(groups, [])
    values, keen_ids = landed(stack, topic)
    expected = {value: ["accepted"] for value in everything}
    expected[groups[0][0]] = ["accepted", "duplicate"]
    rejected = {spoil("exam_name", ...): ["rejected"], b"{": ["rejected"], b"{ ": ["rejected"]}
    assert values == expected | rejected
    assert keen_ids == sorted(f"follow-{100 * n + k:06}" for n in range(4) for k in range(20))
    assert "DIFFERS" not in stack.run("verify", TOPIC=topic, DATA="none")

    found = parsed((ROOT / stack.run_dir / "metrics" / f"{topic}.prom").read_text())

    def labelled(name, label):
        samples = {tuple(sorted(labels)): value for labels, value in found[name].items()}
        return {dict(labels)[label]: value for labels, value in samples.items()}

    assert {dict(labels)["topic"] for values in found.values() for labels in values} == {topic}
    ends = labelled("feed_topic_end_offset", "partition")
    assert set(ends) == {"0", "1"} and sum(ends.values()) == 84
    assert labelled("feed_landed_offset", "partition") == ends
    assert labelled("feed_lag_records", "topic") == {topic: 0}
    assert labelled("feed_lag_seconds", "topic") == {topic: 0}
    counts = {"accepted": 80, "duplicate": 1, "rejected": 3}
    assert labelled("feed_messages_total", "status") == counts
    assert labelled("feed_rejected_messages_total", "reason") == {"missing": 1, "not_json": 2}
    assert 0 < labelled("feed_last_batch_duration_seconds", "topic")[topic] < LIMIT_S
    age = time.time() - labelled("feed_last_batch_timestamp_seconds", "topic")[topic]
    assert 0 < age < LIMIT_S

    status = stack.make("status").split(f"\n{topic} ")[2]
    assert "80 accepted, 1 duplicate, 3 rejected\n" in status
    assert re.search(
        r"rejected +2 not_json, 1 missing\n +lag +0 records, 0 s; last batch: 2", status
    )


@pytest.mark.parametrize("working", [False, True])
def test_ctrl_c_at_a_terminal_ends_it_with_exit_code_0(stack, working):
    topic = f"synthetic_ctrl_c_{working}".lower()
    stack.run("topic", TOPIC=topic)
    sent = messages(0, 50)
    stack.kcat(topic, *sent)
    program, *arguments = stack.command("follow", TOPIC=topic)
    terminal = pexpect.spawn(
        program, arguments, cwd=ROOT, env=clean_environment(), timeout=LIMIT_S, encoding="utf-8"
    )
    terminal.expect("lag after")
    if not working:
        terminal.expect(r"\d\d:\d\d:\d\d +50 +50 ")
    else:  # the session starts, or the first batch is being landed
        time.sleep(4)
    terminal.sendintr()
    terminal.expect(r"ended after \d batch")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert (terminal.exitstatus, terminal.signalstatus) == (0, None), terminal.before
    stack.run("land", TOPIC=topic)
    values, keen_ids = landed(stack, topic)
    assert values == {value: ["accepted"] for value in sent} and len(keen_ids) == 50


def test_killed_while_it_lands_nothing_is_lost_or_doubled(stack, follow):
    topic = "synthetic_follow_killed"
    stack.run("topic", TOPIC=topic)
    sent = []
    for number in range(3):
        more = messages(100 * number, 30)
        sent += more
        stack.kcat(topic, *more)
        following = follow(topic, slowly=True)
        table = "questions" if number else "options"  # the first, so it is killed in its midst
        path = f"{stack.hdfs}/warehouse/{topic}/{table}"

        def begun(path=path, rows=30 * number):
            with contextlib.suppress(TableNotFoundError):
                return deltalake.DeltaTable(path).count() > 2 * rows

        wait_until(begun, following.said)
        following.kill()
    stack.run("land", TOPIC=topic)
    values, keen_ids = landed(stack, topic)
    assert values == {value: ["accepted"] for value in sent}
    assert keen_ids == sorted(set(keen_ids)) and len(keen_ids) == 90
    assert "DIFFERS" not in stack.run("verify", TOPIC=topic, DATA="none")


def test_it_waits_for_servers_that_died_and_ends_with_make_down(stack, follow):
    topic = "synthetic_follow_servers"
    stack.run("topic", TOPIC=topic)
    sent = messages(0, 20)
    stack.kcat(topic, *sent)
    following = follow(topic)
    following.wait_for_rows(20)
    os.kill(stack.service_pids()["kafka"], signal.SIGKILL)
    following.wait_for("waiting for the servers: ")
    stack.make("up")
    following.wait_for("the servers answer")
    sent += messages(100, 20)
    stack.kcat(topic, *sent[20:])
    following.wait_for_rows(40)
    stack.make("down")
    try:
        following.wait_for("make down has stopped the servers")
        assert following.process.wait(LIMIT_S) == 0
        assert "40 accepted, 0 duplicate, 0 rejected" in following.said()
    finally:
        stack.make("up")
    values, _ = landed(stack, topic)
    assert values == {value: ["accepted"] for value in sent}


def test_a_table_that_was_replaced_is_opened_anew(stack):
    path, row = f"{stack.hdfs}/tmp/replaced", pa.table({"one": [1]})
    client = hdfs_native.Client(stack.hdfs)

    def append(times=1):
        for _ in range(times):
            deltalake.write_deltalake(path, row, mode="append")

    append(times=3)
    kept = deltalake.DeltaTable(path)
    append()
    assert _reuse(kept, deltalake.DeltaTable(path)) and kept.version() == 3
    client.delete("/tmp/replaced", True)  # another table
    append(times=5)
    assert not _reuse(kept, deltalake.DeltaTable(path))
    kept = deltalake.DeltaTable(path)
    client.delete("/tmp/replaced/_delta_log/00000000000000000004.json")  # the table of a backup
    assert not _reuse(kept, deltalake.DeltaTable(path))
    append()  # as many versions as before
    assert not _reuse(kept, deltalake.DeltaTable(path))
