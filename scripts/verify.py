"""Reconcile: file = topic = ledger = tables. Prints both numbers of each check; non-zero when two differ.

Run by: make verify
    scripts/env.sh python scripts/verify.py

The tables are read by deltalake and counted by DuckDB, not by Spark: what Spark wrote is checked with other eyes,
and an outside reader sees just this. Each table is read as it was when `attempts` was opened first.
"""
import array
import collections
import json
import os

import duckdb
import numpy
import pyarrow.compute

import feed
import message
import tables
from file_in_topic import compare
from printable import printable

MOST_FIELDS, DIFFERENT_FIELDS = 20, 10_000
# What mends a difference of each kind.
PUBLISH = "records of the file are not in the topic: make publish"
LAND = "the topic is not landed as it is now: make land"
REBUILD = "tables do not agree with the ledger: make reprocess"
ANEW = (f"the ledger does not agree with the topic (somebody has changed it): move the feed aside: make shell, then: hadoop fs -mv {feed.table_path('')[:-1]} "
        f"{feed.table_path('')[:-1]}_old; then make restore, if there is a backup, or make land, which lands the topic anew")
CHILDREN_WITHOUT_ATTEMPT = "anti join (select distinct keen_id from attempts) using (keen_id)"


def one(database, sql):
    return database.execute(sql).fetchone()[0] or 0


def checks(database, ends, begins):
    """Yields (what, name of one side, its number, name of the other, its number, what mends a difference): each pair must be
    equal; and notes, as text."""
    count = {name: one(database, f"select count(*) from {name}") for name in message.TABLES}

    known_id = feed.open_table("messages").metadata().configuration.get(feed.TOPIC_ID)
    yield ("topic id = ledger's", "topic", 1, "the ledger's", int(known_id == feed.topic_id()), LAND)

    # 1. Every record from the first kept one to the end is in the ledger exactly once.
    in_topic = None
    for partition in sorted(ends):
        inside = f"from messages where kafka_partition = {partition} and kafka_offset >= {begins[partition]}"
        records, in_ledger = ends[partition] - begins[partition], one(database, f"select count(distinct kafka_offset) {inside} and kafka_offset < {ends[partition]}")
        if records != in_ledger:  # an offset may hold no record: the end of a transaction. Only reading all of it tells.
            if in_topic is None:
                in_topic, compacted = offsets_in_topic(), "compact" in feed.topic_settings().get("cleanup.policy", "")
            records = len(in_topic[partition])
            if compacted:
                landed = database.execute(f"select distinct kafka_offset {inside} and kafka_offset < {ends[partition]}").fetchnumpy()["kafka_offset"]
                dropped = len(numpy.setdiff1d(landed, in_topic[partition]))
                records += dropped
                yield f"note: topic {feed.TOPIC} is compacted. Of partition {partition} Kafka has dropped {dropped:,} records after they were landed (they are in the ledger), and {ends[partition] - begins[partition] - records:,} before (they are lost; the end of a transaction counts here, too)"
        yield (f"topic = ledger, partition {partition}", "records", records, "offsets in ledger", in_ledger, LAND if records > in_ledger else ANEW)
        yield (f"  and none twice, none beyond the end", "rows", one(database, f"select count(*) {inside}"), "distinct offsets", in_ledger, ANEW)

    yield ("keys unique: messages", "rows", count["messages"], "offsets", one(database, "select count(*) from (select distinct kafka_partition, kafka_offset from messages)"), ANEW)

    # 2. Accepted messages = attempts, each at the position it names; keys are unique.
    status = dict(database.execute("select status, count(*) from messages group by all").fetchall())
    yield ("ledger: each message has one verdict", "messages", count["messages"], "accepted + duplicate + rejected", sum(status.get(s, 0) for s in ("accepted", "duplicate", "rejected")), REBUILD)
    yield ("accepted = attempts", "accepted", status.get("accepted", 0), "attempts", count["attempts"], REBUILD)
    yield ("  each at the position it names", "attempts", count["attempts"], "found in ledger", one(database, """
        select count(*) from attempts a join messages m using (kafka_partition, kafka_offset)
        where m.status = 'accepted' and m.keen_id = a.keen_id and m.content_hash = a.content_hash"""), REBUILD)
    yield ("keys unique: attempts", "rows", count["attempts"], "keen_id", one(database, "select count(distinct keen_id) from attempts"), REBUILD)
    for table, key in (("questions", "keen_id, question_position"), ("options", "keen_id, question_position, option_position")):
        yield (f"keys unique: {table}", "rows", count[table], "keys", one(database, f"select count(*) from (select distinct {key} from {table})"), REBUILD)

    # 3. Rows of the children = what their parents say. A parent whose own children are short is a difference
    #    even when another has too many.
    yield ("questions of each attempt", "question_count", one(database, "select sum(question_count) from attempts"), "questions", count["questions"], REBUILD)
    yield ("  attempts whose number differs", "wanted", 0, "found", one(database, """
        select count(*) from attempts left join (select keen_id, count(*) as n from questions group by all) using (keen_id)
        where question_count <> coalesce(n, 0)"""), REBUILD)
    yield ("options of each question", "option_count", one(database, "select sum(option_count) from questions"), "options", count["options"], REBUILD)
    yield ("  questions whose number differs", "wanted", 0, "found", one(database, """
        select count(*) from questions left join (select keen_id, question_position, count(*) as n from options group by all) using (keen_id, question_position)
        where option_count <> coalesce(n, 0)"""), REBUILD)
    yield ("rows without their attempt", "wanted", 0, "found", sum(one(database, f"select count(*) from {child} {CHILDREN_WITHOUT_ATTEMPT}") for child in ("questions", "options")), REBUILD)


def offsets_in_topic():
    """{partition: the offsets of its records}: 8 bytes each."""
    found = collections.defaultdict(lambda: array.array("q"))
    for record in feed.records():
        found[record.partition].append(record.offset)
    return collections.defaultdict(list, {partition: numpy.array(offsets) for partition, offsets in found.items()})


def unknown_fields():
    """{path: accepted messages that have it}: what publishers send and nobody declared.

    The ledger holds each message's bytes; they are read a few at a time, so that memory is the same at any size, and
    no more than DIFFERENT_FIELDS paths are kept, whatever is sent.
    """
    ledger = feed.open_table("messages").to_pyarrow_dataset()
    counts = collections.Counter()
    for batch in ledger.scanner(columns=["status", "value"], batch_size=1000, batch_readahead=2, fragment_readahead=1).to_reader():
        for value in batch.filter(pyarrow.compute.equal(batch["status"], "accepted"))["value"]:
            # Numbers as text: Python reads no integer of more than 4,300 digits, and only the fields' names count here.
            found = set(undeclared(json.loads(value.as_py(), parse_int=str, parse_float=str), message.MESSAGE))
            counts.update(found if len(counts) < DIFFERENT_FIELDS else found & counts.keys())
    return counts


def undeclared(value, declared, path=""):
    """Yields the path of each field of a valid message that is not declared, sequences.questions[].hint; of what is
    inside such a field, nothing."""
    if isinstance(declared, message.Array):
        for element in value:
            yield from undeclared(element, declared.element, path + "[]")
    elif isinstance(declared, message.Object):
        kinds = {field.name: field.kind for field in declared.fields}
        for name, inner in value.items():
            inner_path = f"{path}.{name}" if path else name
            if name not in kinds:
                yield inner_path
            elif inner is not None:
                yield from undeclared(inner, kinds[name], inner_path)


def open_tables():
    """The feed's four tables in a DuckDB of bounded memory, `attempts` opened first."""
    tables.check_none_is_gone()
    if feed.open_table("messages") is None:
        raise feed.Failure(f"there are no tables of feed {feed.TOPIC} yet", f"looked in {feed.table_path('')}", "make land")
    database = duckdb.connect()
    database.execute("set memory_limit = '1GB'")
    database.execute(f"set temp_directory = '{feed.RUN_DIR}/duckdb'")
    # DuckDB filters by itself. It would have pyarrow do it, which cannot compare texts in files that delta-rs wrote (it
    # leaves them as string_view), and a feed's owner may well rewrite a table with that: optimize, update.
    database.execute("set disabled_optimizers = 'filter_pushdown,join_filter_pushdown'")
    for name in ("attempts", "questions", "options", "messages"):
        database.register(name, feed.open_table(name).to_pyarrow_dataset())
    return database


def main():
    data = os.environ["DATA"]
    ends, begins = feed.end_offsets(), feed.beginning_offsets()
    database = open_tables()
    mends = []  # one for each difference

    def line(what, left, a, right, b, mend, note=""):
        if a != b:
            mends.append(mend)
        print(f"{what:<40} {a:>10,} {left:<16} {b:>10,} {right:<31} {'ok' if a == b else f'DIFFERS by {b - a:+,}'}{note}", flush=True)

    if os.path.isfile(data):
        total, _, found, missing = compare(data, repeats=False)
        line("file = topic", "in the file", total, "of them in the topic", found, PUBLISH, f" (the first: number {', '.join(map(str, missing))})" if missing else "")
    else:
        print(f"{'file = topic':<40} not checked: there is no file {data}")
    notes = []
    for row in checks(database, ends, begins):
        notes.append(row) if isinstance(row, str) else line(*row)
    print(*notes, sep="\n", end="\n" if notes else "")
    for partition, spans in sorted(feed.expired(feed.open_table("messages")).items()):
        for first, end in spans:
            print(f"note: partition {partition}, offsets {first} to {end - 1} were gone from the topic before they were landed, and skipped on demand")

    print("\nverdicts in the ledger")
    for status, reason, number in database.execute("""
            select status, coalesce(split_part(reason, ':', 1), ''), count(*) from messages group by all order by 1, 3 desc""").fetchall():
        print(f"{status:<12} {printable(reason):<18} {number:>10,}")
    fields = unknown_fields()
    if fields:
        print(f"\naccepted messages with fields that nobody declared ({len(fields):,} fields)")
        for field, number in sorted(fields.items(), key=lambda item: (-item[1], item[0]))[:MOST_FIELDS]:
            print(f"{printable(field)[:56]:<56} {number:>10,}")
        if len(fields) > MOST_FIELDS:
            print(f"… and {len(fields) - MOST_FIELDS:,} more")
    database.close()
    if mends:
        raise feed.Failure(f"{len(mends)} of the checks differ", "the numbers are above", "\n       ".join(dict.fromkeys(mends)))


if __name__ == "__main__":
    with feed.report_failures():
        main()
