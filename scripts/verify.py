"""Reconcile: file = topic = ledger = tables.

Prints both numbers of each check; non-zero when two differ.

Run by: make verify
    scripts/lib/env.sh python scripts/verify.py

Without Spark: deltalake reads the tables and DuckDB counts, as an outside reader would. `attempts`
is opened first.
"""

import array
import collections
import os
import typing

import numpy

import config
import errors
import feed_sql
import knobs
import lake
import message
import topics
import undeclared
import writing
from file_in_topic import compare
from printable import printable

MOST_FIELDS = 20  # undeclared fields that are listed
CHILDREN_WITHOUT_ATTEMPT = "anti join (select distinct keen_id from attempts) using (keen_id)"
# What to type after a difference, by its kind.
PUBLISH = "records of the file are not in the topic: make publish{file}"
UNSENDABLE = "records of the file cannot be sent: mend them; make validate{file} names them"
LAND = "the topic is not landed as it is now: make land{feed}"
REBUILD = "tables do not agree with the ledger: make reprocess{feed}"
WRONG_LEDGER = (
    "the ledger does not agree with the topic (somebody has changed it): move the feed aside: "
    "make shell{feed}, then: hadoop fs -mv {folder} {folder}_old; then make restore{feed}, "
    "if there is a backup, or make land{feed}, which lands the topic again"
)


def one(database, sql):
    """The only number of a query's result; 0 when it is null."""
    return database.execute(sql).fetchone()[0] or 0


# --- the checks ---------------------------------------------------------------------------------


class Check(typing.NamedTuple):
    """Two numbers that must be equal, each with its name, and what to type when they differ."""

    what: str
    left: str
    left_number: int
    right: str
    right_number: int
    mend: str


def checks(database, ends, begins):
    """Yields each Check; and notes, as text. ends and begins: {partition: offset} of the topic."""
    count = {name: one(database, f"select count(*) from {name}") for name in message.TABLES}
    known_id = lake.open_table("messages").metadata().configuration.get(lake.TOPIC_ID)
    same_topic = int(known_id == topics.topic_id())
    yield Check("topic id = ledger's", "topic", 1, "the ledger's", same_topic, LAND)
    yield from checks_of_topic(database, ends, begins)
    yield from checks_of_ledger(database, count)
    yield from checks_of_children(database, count)


def checks_of_topic(database, ends, begins):
    """Every record from the first kept one to the end is in the ledger exactly once."""
    in_topic, landed_ends = None, lake.landed_offsets()
    for partition in sorted(ends):
        begin, end = begins[partition], ends[partition]
        inside = f"from messages where kafka_partition = {partition} and kafka_offset >= {begin}"
        landed = f"{inside} and kafka_offset < {end}"
        records = end - begin
        offsets = one(database, f"select count(distinct kafka_offset) {landed}")
        if records != offsets:
            # Transaction markers occupy offsets, too. Only reading the topic tells how many.
            if in_topic is None:
                in_topic = offsets_in_topic()
                compacted = "compact" in topics.settings().get("cleanup.policy", "")
            records = len(in_topic[partition])
            if compacted:
                distinct = database.execute(f"select distinct kafka_offset {landed}").fetchnumpy()
                dropped = len(numpy.setdiff1d(distinct["kafka_offset"], in_topic[partition]))
                records += dropped
                yield (
                    f"note: topic {config.TOPIC} is compacted. Of partition {partition} "
                    f"Kafka has dropped {dropped:,} records after they were landed "
                    f"(they are in the ledger), and {end - begin - records:,} before "
                    "(they are lost; the end of a transaction counts here, too)"
                )
        what, mend = f"topic = ledger, partition {partition}", WRONG_LEDGER
        if landed_ends.get(partition, 0) < end:
            mend = LAND
        yield Check(what, "records", records, "offsets in ledger", offsets, mend)
        what, rows = "  and none twice, none beyond the end", f"select count(*) {inside}"
        yield Check(what, "rows", one(database, rows), "distinct offsets", offsets, WRONG_LEDGER)


def checks_of_ledger(database, count):
    """Accepted messages = attempts, each at the position it names; keys are unique."""
    messages, attempts = count["messages"], count["attempts"]
    positions = "select distinct kafka_partition, kafka_offset from messages"
    offsets = one(database, f"select count(*) from ({positions})")
    yield Check("keys unique: messages", "rows", messages, "offsets", offsets, WRONG_LEDGER)

    status = dict(database.execute("select status, count(*) from messages group by all").fetchall())
    accepted = status.get("accepted", 0)
    total = accepted + status.get("duplicate", 0) + status.get("rejected", 0)
    what, right = "ledger: each message has one verdict", "accepted + duplicate + rejected"
    yield Check(what, "messages", messages, right, total, REBUILD)
    yield Check("accepted = attempts", "accepted", accepted, "attempts", attempts, REBUILD)

    found = one(
        database,
        """
        select count(*) from attempts a join messages m using (kafka_partition, kafka_offset)
        where m.status = 'accepted' and m.keen_id = a.keen_id
        and m.content_hash = a.content_hash""",
    )
    what = "  each at the position it names"
    yield Check(what, "attempts", attempts, "found in ledger", found, REBUILD)
    keen_ids = one(database, "select count(distinct keen_id) from attempts")
    yield Check("keys unique: attempts", "rows", attempts, "keen_id", keen_ids, REBUILD)


def checks_of_children(database, count):
    """Rows of the children = what their parents say; keys are unique.

    Parents whose number differs are counted, too: the sums agree when one parent lacks a row and
    another has one too many.
    """
    for table, key in (
        ("questions", "keen_id, question_position"),
        ("options", "keen_id, question_position, option_position"),
    ):
        keys = one(database, f"select count(*) from (select distinct {key} from {table})")
        yield Check(f"keys unique: {table}", "rows", count[table], "keys", keys, REBUILD)

    for parent, child, key in (
        ("attempts", "questions", "keen_id"),
        ("questions", "options", "keen_id, question_position"),
    ):
        one_parent, column = parent.removesuffix("s"), f"{child.removesuffix('s')}_count"
        wanted = one(database, f"select sum({column}) from {parent}")
        yield Check(f"{child} of each {one_parent}", column, wanted, child, count[child], REBUILD)
        found = one(
            database,
            f"""
            select count(*) from {parent}
            left join (select {key}, count(*) as n from {child} group by all) using ({key})
            where {column} <> coalesce(n, 0)""",
        )
        what = f"  {parent} whose number differs"
        yield Check(what, "wanted", 0, "found", found, REBUILD)

    orphans = sum(
        one(database, f"select count(*) from {child} {CHILDREN_WITHOUT_ATTEMPT}")
        for child in ("questions", "options")
    )
    yield Check("rows without their attempt", "wanted", 0, "found", orphans, REBUILD)


def offsets_in_topic():
    """{partition: the offsets of its records}; reads the whole topic. Memory: 8 bytes a record."""
    found = collections.defaultdict(lambda: array.array("q"))
    for record in topics.records():
        found[record.partition].append(record.offset)
    return collections.defaultdict(
        list, {partition: numpy.array(offsets) for partition, offsets in found.items()}
    )


# --- the report ---------------------------------------------------------------------------------


def print_verdicts(database):
    print("\nverdicts in the ledger")
    verdicts = """
        select status, coalesce(split_part(reason, ':', 1), ''), count(*)
        from messages group by all order by 1, 3 desc"""
    for status, reason, number in database.execute(verdicts).fetchall():
        print(f"{status:<12} {printable(reason):<18} {number:>10,}")


def print_undeclared_fields():
    fields = undeclared.count()
    if not fields:
        return
    print(f"\naccepted messages with undeclared fields ({len(fields):,} fields)")
    most_frequent_first = sorted(fields.items(), key=lambda item: (-item[1], item[0]))
    for field, number in most_frequent_first[:MOST_FIELDS]:
        print(f"{printable(field)[:56]:<56} {number:>10,}")
    if len(fields) > MOST_FIELDS:
        print(f"… and {len(fields) - MOST_FIELDS:,} more")


def main():
    data = os.environ["DATA"]
    # Between two landings the tables agree, and hold nothing beyond the topic's end.
    with writing.feed_lock():
        ends, begins = topics.end_offsets(), topics.beginning_offsets()
        database = feed_sql.open_tables()
    mends = []  # one for each difference

    def line(what, left, a, right, b, mend, note=""):
        if a != b:
            mends.append(mend)
        verdict = "ok" if a == b else f"DIFFERS by {b - a:+,}"
        print(f"{what:<40} {a:>10,} {left:<16} {b:>10,} {right:<31} {verdict}{note}", flush=True)

    if os.path.isfile(data):
        total, sendable, found, missing = compare(data, repeats=False)
        mend = PUBLISH if found < sendable else UNSENDABLE
        first = f" (the first: number {', '.join(map(str, missing))})" if missing else ""
        line("file = topic", "in the file", total, "of them in the topic", found, mend, first)
    else:
        print(f"{'file = topic':<40} not checked: there is no file {data}")
    notes = []
    for row in checks(database, ends, begins):
        notes.append(row) if isinstance(row, str) else line(*row)
    print(*notes, sep="\n", end="\n" if notes else "")
    for partition, spans in sorted(lake.expired(lake.open_table("messages")).items()):
        for first, end in spans:
            print(
                f"note: partition {partition}, offsets {first} to {end - 1} were gone from the "
                "topic before they were landed, and skipped on demand"
            )
    print_verdicts(database)
    print_undeclared_fields()
    database.close()
    if WRONG_LEDGER in mends:  # tables that agree with it would be wrong, too
        mends = [mend for mend in mends if mend != REBUILD]
    if mends:
        raise errors.Failure(
            f"{len(mends)} of the checks differ",
            "the numbers are above",
            "\n       ".join(dict.fromkeys(mends)).format(
                feed=knobs.of_feed(), file=knobs.of_file(), folder=lake.table_path("")[:-1]
            ),
        )


if __name__ == "__main__":
    errors.run(main)
