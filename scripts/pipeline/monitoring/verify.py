"""The checks of make verify: file = topic = ledger = tables.

Without Spark: deltalake reads the tables and DuckDB counts, as an outside reader would.
"""

import array
import collections
import functools
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import deltalake
import numpy
import pyarrow.compute as pc

from pipeline.errors import Failure
from pipeline.kafka import topics
from pipeline.message.declaration import MESSAGE, TABLES, Array, Object
from pipeline.publishing import comparison
from pipeline.settings import Feed
from pipeline.tables import delta, position, sql
from pipeline.tables.lock import feed_lock

# What to type after a difference, by its kind.
PUBLISH = "records of the file are not in the topic: {publish}"
UNSENDABLE = "records of the file cannot be sent: mend them; {validate} names them"
LAND = "the topic is not landed as it is now: {land}"
REBUILD = "tables do not agree with the ledger: {reprocess}"
WRONG_LEDGER = (
    "the ledger does not agree with the topic (somebody has changed it): move the feed aside: "
    "{shell}, then: hadoop fs -mv {folder} {folder}_old; then {restore}, "
    "if there is a backup, or {land}, which lands the topic again"
)
MOST_FIELDS = 10_000  # distinct paths that are counted; a publisher may send any number
MESSAGES_A_SLICE = 1000


class Check(NamedTuple):
    """Two numbers that must be equal, and what to type when they differ."""

    what: str
    left: str
    left_number: int
    right: str
    right_number: int
    mend: str = REBUILD
    remark: str = ""


def failure(feed: Feed, mends: list[str]) -> Failure:
    """The Failure for differences of these kinds."""
    if WRONG_LEDGER in mends:  # tables that agree with it would be wrong, too
        mends = [mend for mend in mends if mend != REBUILD]
    commands = {name: feed.make(name) for name in ("land", "reprocess", "restore", "shell")}
    commands |= {name: feed.make(name, "DATA") for name in ("publish", "validate")}
    then = "\n       ".join(dict.fromkeys(mends)).format(folder=feed.path()[:-1], **commands)
    return Failure(f"{len(mends)} of the checks differ", "the numbers are above", then)


class Reconciliation:
    """The checks of a feed as it is when this is created, between two landings."""

    def __init__(self, feed: Feed):
        self.feed = feed
        self.notes: list[str] = []  # what people should know, besides the numbers of the checks
        # Between two landings the tables agree, and hold nothing beyond the topic's end.
        with feed_lock(feed):
            self.ends, self.begins = topics.end_offsets(feed), topics.beginning_offsets(feed)
            self.database = sql.with_tables(feed)
            self.ledger = delta.existing_table(feed, "messages")
        self.rows = {name: self.number(name) for name in TABLES}

    def number(self, source: str, expression: str = "count(*)") -> int:
        """What SQL's expression is over a table, a join or a query; 0 when it is null."""
        query = self.database.execute(f"select {expression} from {source}")
        (found,) = query.fetchone() or (0,)
        return found or 0

    def checks(self) -> Iterator[Check]:
        """Yields each check; that of the file if there is one. Then the notes are complete."""
        if os.path.isfile(self.feed.settings.data):
            file = comparison.compare(self.feed, self.feed.settings.data, repeats=False)
            mend = PUBLISH if file.found < file.sendable else UNSENDABLE
            missing = ", ".join(map(str, file.missing))
            remark = f" (the first: number {missing})" if missing else ""
            what, left, right = "file = topic", "in the file", "of them in the topic"
            yield Check(what, left, file.total, right, file.found, mend, remark)
        known_id = self.ledger.metadata().configuration.get(delta.TOPIC_ID)
        same_topic = int(known_id == topics.topic_id(self.feed))
        yield Check("topic id = ledger's", "topic", 1, "the ledger's", same_topic, LAND)
        yield from self.checks_of_topic()
        yield from self.checks_of_ledger()
        yield from self.checks_of_children()
        for partition, spans in sorted(position.expired(self.ledger).items()):
            self.notes += (
                f"note: partition {partition}, offsets {first} to {end - 1} were gone from the "
                "topic before they were landed, and skipped on demand"
                for first, end in spans
            )

    def checks_of_topic(self) -> Iterator[Check]:
        """Every record from the first kept one to the end is in the ledger exactly once."""
        landed_ends = position.position_of(self.ledger) or {}
        for partition, end in sorted(self.ends.items()):
            begin = self.begins[partition]
            place = f"messages where kafka_partition = {partition} and kafka_offset >= {begin}"
            landed = f"select distinct kafka_offset from {place} and kafka_offset < {end}"
            records, offsets = end - begin, self.number(f"({landed})")
            if records != offsets:
                # Transaction markers occupy offsets, too. Only reading the topic tells how many.
                records = len(self.in_topic[partition])
                if topics.is_compacted(self.feed):
                    in_ledger = self.database.execute(landed).fetchnumpy()
                    dropped = numpy.setdiff1d(in_ledger["kafka_offset"], self.in_topic[partition])
                    records += len(dropped)
                    self.notes.append(
                        f"note: topic {self.feed.topic} is compacted. Of partition {partition} "
                        f"Kafka has dropped {len(dropped):,} records after they were landed "
                        f"(they are in the ledger), and {end - begin - records:,} before "
                        "(they are lost; the end of a transaction counts here, too)"
                    )
            mend = LAND if landed_ends.get(partition, 0) < end else WRONG_LEDGER
            what = f"topic = ledger, partition {partition}"
            yield Check(what, "records", records, "offsets in ledger", offsets, mend)
            what, rows = "  and none twice, none beyond the end", self.number(place)
            yield Check(what, "rows", rows, "distinct offsets", offsets, WRONG_LEDGER)

    @functools.cached_property
    def in_topic(self) -> Mapping[int, "array.array[int]"]:
        """{partition: offsets of its records before `ends`}; reads the whole topic.

        Memory: 8 bytes a record.
        """
        found: Mapping[int, array.array[int]] = collections.defaultdict(lambda: array.array("q"))
        for record in topics.records(self.feed):  # up to its current end
            if record.offset < self.ends.get(record.partition, 0):
                found[record.partition].append(record.offset)
        return found

    def checks_of_ledger(self) -> Iterator[Check]:
        """Accepted messages = attempts, each at the position it names; keys are unique."""
        messages, attempts = self.rows["messages"], self.rows["attempts"]
        offsets = self.number("(select distinct kafka_partition, kafka_offset from messages)")
        yield Check("keys unique: messages", "rows", messages, "offsets", offsets, WRONG_LEDGER)
        known = self.number("messages where status in ('accepted', 'duplicate', 'rejected')")
        what, right = "ledger: each message has one verdict", "accepted + duplicate + rejected"
        yield Check(what, "messages", messages, right, known)
        accepted = self.number("messages where status = 'accepted'")
        yield Check("accepted = attempts", "accepted", accepted, "attempts", attempts)
        found = self.number("""
            attempts a join messages m using (kafka_partition, kafka_offset)
            where m.status = 'accepted' and m.keen_id = a.keen_id
            and m.content_hash = a.content_hash""")
        what, right = "  each at the position it names", "found in ledger"
        yield Check(what, "attempts", attempts, right, found)
        keen_ids = self.number("attempts", "count(distinct keen_id)")
        yield Check("keys unique: attempts", "rows", attempts, "keen_id", keen_ids)

    def checks_of_children(self) -> Iterator[Check]:
        """Rows of the children = what their parents say; keys are unique.

        Parents whose number differs are counted, too: the sums agree when one parent lacks a row
        and another has one too many.
        """
        levels = [("attempts", "questions", "keen_id")]
        levels += [("questions", "options", "keen_id, question_position")]
        for _, child, key in levels:
            keys = self.number(f"(select distinct {key}, {child[:-1]}_position from {child})")
            yield Check(f"keys unique: {child}", "rows", self.rows[child], "keys", keys)
        for parent, child, key in levels:
            column = f"{child[:-1]}_count"
            wanted = self.number(parent, f"sum({column})")
            yield Check(f"{child} of each {parent[:-1]}", column, wanted, child, self.rows[child])
            found = self.number(f"""
                {parent}
                left join (select {key}, count(*) as n from {child} group by all) using ({key})
                where {column} <> coalesce(n, 0)""")
            yield Check(f"  {parent} whose number differs", "wanted", 0, "found", found)
        without = "anti join (select distinct keen_id from attempts) using (keen_id)"
        orphans = sum(self.number(f"{child} {without}") for _, child, _ in levels)
        yield Check("rows without their attempt", "wanted", 0, "found", orphans)

    def verdicts(self) -> list[tuple[str, str, int]]:
        """[(status, reason word, messages)] of the ledger."""
        return self.database.execute("""
            select status, coalesce(split_part(reason, ':', 1), ''), count(*)
            from messages group by all order by 1, 3 desc""").fetchall()


def undeclared_fields(ledger: deltalake.DeltaTable) -> collections.Counter[str]:
    """{path of an undeclared field: number of accepted messages that have it}

    Memory does not grow with the feed: at most about MOST_FIELDS paths are kept.
    """
    counts: collections.Counter[str] = collections.Counter()
    slices = {"batch_size": MESSAGES_A_SLICE, "batch_readahead": 2, "fragment_readahead": 1}
    scanner = ledger.to_pyarrow_dataset().scanner(columns=["status", "value"], **slices)
    for batch in scanner.to_reader():
        for value in batch.filter(pc.equal(batch["status"], "accepted"))["value"]:
            # Numbers stay text: Python rejects integers of more than 4,300 digits.
            content = json.loads(value.as_py(), parse_int=str, parse_float=str)
            found = set(paths(content, MESSAGE))
            counts.update(found if len(counts) < MOST_FIELDS else found & counts.keys())
    return counts


def paths(value: Any, declared: object, path: str = "") -> Iterator[str]:
    """Yields the path of each undeclared field of a valid message: sequences.questions[].hint

    declared: the declaration of `value` (an Object, Array or Kind), which is at `path`.
    """
    if isinstance(declared, Array):
        for element in value:
            yield from paths(element, declared.element, path + "[]")
    elif isinstance(declared, Object):
        kinds = {field.name: field.kind for field in declared.fields}
        for name, inner in value.items():
            inner_path = f"{path}.{name}" if path else name
            if name not in kinds:
                yield inner_path
            elif inner is not None:
                yield from paths(inner, kinds[name], inner_path)
