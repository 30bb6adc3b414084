"""The checks of make verify: file = topic = ledger = tables.

Without Spark: deltalake reads the tables and DuckDB counts, as an outside reader would. `attempts`
is opened first.
"""

import array
import collections
import functools
import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy

from pipeline.errors import Failure
from pipeline.kafka import topics
from pipeline.message.declaration import TABLES
from pipeline.publishing import comparison
from pipeline.settings import Feed
from pipeline.tables import delta, position, sql
from pipeline.tables.lock import feed_lock

CHILDREN_WITHOUT_ATTEMPT = "anti join (select distinct keen_id from attempts) using (keen_id)"
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


class Check(NamedTuple):
    """Two numbers that must be equal, each with its name, and what to type when they differ."""

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
            self.database = sql.open_tables(feed)
            self.ledger = delta.existing_table(feed, "messages")
        self.rows = {name: self.number(name) for name in TABLES}

    def number(self, source: str, expression: str = "count(*)") -> int:
        """What SQL's expression is over a table, a join or a query; 0 when it is null."""
        query = self.database.execute(f"select {expression} from {source}")
        (found,) = query.fetchone() or (0,)
        return found or 0

    def check_of_file(self) -> Check:
        """Every record of the file DATA is in the topic."""
        file = comparison.compare(self.feed, self.feed.settings.data, repeats=False)
        mend = PUBLISH if file.found < file.sendable else UNSENDABLE
        missing = ", ".join(map(str, file.missing))
        remark = f" (the first: number {missing})" if missing else ""
        what, left, right = "file = topic", "in the file", "of them in the topic"
        return Check(what, left, file.total, right, file.found, mend, remark)

    def checks(self) -> Iterator[Check]:
        """Yields each check; that of the file if there is one. Then the notes are complete."""
        if os.path.isfile(self.feed.settings.data):
            yield self.check_of_file()
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
                if "compact" in topics.topic_settings(self.feed).get("cleanup.policy", ""):
                    in_ledger = self.database.execute(landed).fetchnumpy()
                    dropped = numpy.setdiff1d(in_ledger["kafka_offset"], self.in_topic[partition])
                    records += len(dropped)
                    self.notes.append(
                        f"note: topic {self.feed.topic} is compacted. Of partition {partition} "
                        f"Kafka has dropped {len(dropped):,} records after they were landed "
                        f"(they are in the ledger), and {end - begin - records:,} before "
                        "(they are lost; the end of a transaction counts here, too)"
                    )
            what, mend = f"topic = ledger, partition {partition}", WRONG_LEDGER
            if landed_ends.get(partition, 0) < end:
                mend = LAND
            yield Check(what, "records", records, "offsets in ledger", offsets, mend)
            what, rows = "  and none twice, none beyond the end", self.number(place)
            yield Check(what, "rows", rows, "distinct offsets", offsets, WRONG_LEDGER)

    @functools.cached_property
    def in_topic(self) -> Mapping[int, "array.array[int]"]:
        """{partition: offsets of its records}; reads the whole topic. Memory: 8 bytes a record."""
        found: Mapping[int, array.array[int]] = collections.defaultdict(lambda: array.array("q"))
        for record in topics.records(self.feed):
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
        for table, key in (
            ("questions", "keen_id, question_position"),
            ("options", "keen_id, question_position, option_position"),
        ):
            keys = self.number(f"(select distinct {key} from {table})")
            yield Check(f"keys unique: {table}", "rows", self.rows[table], "keys", keys)

        for parent, child, key in (
            ("attempts", "questions", "keen_id"),
            ("questions", "options", "keen_id, question_position"),
        ):
            column = f"{child.removesuffix('s')}_count"
            wanted = self.number(parent, f"sum({column})")
            one = parent.removesuffix("s")
            yield Check(f"{child} of each {one}", column, wanted, child, self.rows[child])
            found = self.number(f"""
                {parent}
                left join (select {key}, count(*) as n from {child} group by all) using ({key})
                where {column} <> coalesce(n, 0)""")
            yield Check(f"  {parent} whose number differs", "wanted", 0, "found", found)

        orphans = sum(
            self.number(f"{child} {CHILDREN_WITHOUT_ATTEMPT}") for child in ("questions", "options")
        )
        yield Check("rows without their attempt", "wanted", 0, "found", orphans)

    def verdicts(self) -> list[tuple[str, str, int]]:
        """[(status, reason word, messages)] of the ledger."""
        return self.database.execute("""
            select status, coalesce(split_part(reason, ':', 1), ''), count(*)
            from messages group by all order by 1, 3 desc""").fetchall()
