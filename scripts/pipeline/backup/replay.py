"""Sends the ledger's records to a new topic, when a backup is restored into another Kafka.

Each record gets its old partition and offset, with its key, value and time. So the committed
position stays valid, and landing continues after it.
"""

import contextlib
import functools
import itertools
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

import numpy
import pyarrow.compute as pc
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.serializer import SerializeWrapper
from pyarrow.dataset import Dataset

from pipeline.backup.archive import Manifest
from pipeline.errors import Failure
from pipeline.kafka import security, topics
from pipeline.settings import Feed
from pipeline.text import progress

RECORDS_A_SLICE = 10_000
RECORDS_IN_FLIGHT = 1000
KAFKA_LIMIT = 2**20 + 12  # bytes: Kafka's default of max.message.bytes
OVERHEAD = 4096  # bytes of a batch besides its record


class Record(NamedTuple):
    """A record of a partition."""

    offset: int
    key: bytes | None = None
    value: bytes | None = None
    milliseconds: int | None = None


class Replay:
    """The records of a backup's ledger, and the topic that they are sent to."""

    def __init__(self, feed: Feed, manifest: Manifest, ledger: Dataset):
        self.feed, self.manifest, self.ledger = feed, manifest, ledger
        self.topic, self.kafka = feed.topic, feed.settings.kafka
        self.landed = {int(partition): end for partition, end in manifest.landed.items()}
        self.holes = {at: self.holes_end(at, end) for at, end in self.landed.items()}
        self.limit = max(KAFKA_LIMIT, self.largest_record() + OVERHEAD)

    def records(self, partition: int, begin: int, end: int) -> Iterator[Record]:
        """Yields the ledger's records from offset `begin` to before `end`, in order of offset.

        Reads RECORDS_A_SLICE offsets at a time: the ledger may be larger than memory.
        """
        for first in range(begin, end, RECORDS_A_SLICE):
            place = (
                (pc.field("kafka_partition") == partition)
                & (pc.field("kafka_offset") >= first)
                & (pc.field("kafka_offset") < min(end, first + RECORDS_A_SLICE))
            )
            columns = ["kafka_offset", "key", "value", "kafka_timestamp"]
            found = self.ledger.to_table(columns=columns, filter=place).sort_by("kafka_offset")
            times = pc.divide(found["kafka_timestamp"].cast("int64"), 1000)
            found = found.set_column(3, "milliseconds", times)
            yield from map(Record, *(column.to_pylist() for column in found.columns))

    def holes_end(self, partition: int, end: int) -> int:
        """The offset after the last one below `end` that the ledger lacks; 0 when it lacks none.

        It lacks offsets whose records had expired before they were landed.
        """
        in_partition = pc.field("kafka_partition") == partition
        rows = self.ledger.to_table(columns=["kafka_offset"], filter=in_partition)
        there = rows["kafka_offset"].to_numpy()
        lacking = numpy.setdiff1d(numpy.arange(end), there, assume_unique=True)
        return int(lacking.max()) + 1 if len(lacking) else 0

    def largest_record(self) -> int:
        """Bytes of the ledger's largest record, key and value."""
        scanner = self.ledger.scanner(columns=["key", "value"], batch_size=RECORDS_A_SLICE)
        sizes = (
            pc.add(*(pc.fill_null(pc.binary_length(column), 0) for column in batch.columns))
            for batch in scanner.to_reader()
        )
        return max((pc.max(size).as_py() or 0 for size in sizes), default=0)

    def send(self) -> None:
        """Sends the records. Failure when the topic holds other records.

        Safe to repeat: what the topic holds already is not sent again.
        """
        with contextlib.closing(topics.admin(self.feed.settings)) as admin:
            if topics.topic_id(self.feed) is None:
                self.create_topic(admin)
            ends = topics.end_offsets(self.feed)
            if any(partition not in ends for partition in self.landed):
                wanted = self.manifest.partitions
                self.other_topic(f"it has {len(ends)} partition(s), the feed has {wanted}")
            self.compare()
            missing = sum(max(0, end - ends[at]) for at, end in self.landed.items())
            self.send_missing(admin, ends, missing)
            # The topic's own settings come last: a short retention would delete records meanwhile.
            settings = {
                name: value
                for name, value in self.manifest.topic_settings.items()
                if name != "max.message.bytes" or int(value) > self.limit
            }
            if settings:
                admin.alter_configs(
                    [ConfigResource(ConfigResourceType.TOPIC, self.topic, settings)]
                )
        total = sum(self.landed.values())
        print(
            f"sent the ledger's records to topic {self.topic} on {self.kafka}, "
            f"each to its old offset: {missing:,} of {total:,}"
            f"{'' if missing == total else '; the others were there'}"
        )

    def create_topic(self, admin: KafkaAdminClient) -> None:
        """Creates the topic with the feed's number of partitions, for its largest record."""
        settings = {
            "retention.ms": "-1",
            "max.message.bytes": str(self.limit),
            "message.timestamp.type": "CreateTime",  # each record keeps its own time
        }
        declared = {
            "num_partitions": self.manifest.partitions,
            "replication_factor": self.feed.settings.replication,
            "configs": settings,
        }
        admin.create_topics({self.topic: declared}, wait_for_metadata=True)
        print(f"created topic {self.topic} with {self.manifest.partitions} partition(s)")

    def compare(self) -> None:
        """Failure unless the topic's records are the first part of the ledger's.

        They are after an interrupted restore: the next one continues after them.
        """
        ours = {at: self.records(at, self.holes[at], end) for at, end in self.landed.items()}
        for record in topics.records(self.feed):
            at, offset = record.partition, record.offset
            if self.holes.get(at, 0) <= offset < self.landed.get(at, 0):
                found = Record(offset, record.key, record.value, record.timestamp)
                if found != next(our for our in ours[at] if our.offset >= offset):
                    self.other_topic(f"partition {at}, offset {offset} is another record")

    def send_missing(self, admin: KafkaAdminClient, ends: dict[int, int], missing: int) -> None:
        """Sends what the topic lacks: of each partition the offsets from its end to the landed one.

        Failure when a record gets another offset than its own.
        """
        more = progress(missing, "sent", "records", 1)
        producer = KafkaProducer(
            bootstrap_servers=self.kafka,
            acks="all",
            enable_idempotence=True,
            linger_ms=20,
            batch_size=2**18,
            max_request_size=2 * self.limit,
            # kafka-python rejects a record without key and value, and does not look into a tuple.
            value_serializer=SerializeWrapper(lambda value: value[0]),
            **security.for_python(self.feed.settings),
        )
        for partition, end in sorted(self.landed.items()):
            begin, hole = ends[partition], self.holes[partition]
            # The broker assigns offsets one after the other, so holes are filled with empty
            # records, which are deleted afterwards.
            empty = map(Record, range(begin, hole))
            waiting = itertools.chain(empty, self.records(partition, max(begin, hole), end))
            while records := list(itertools.islice(waiting, RECORDS_IN_FLIGHT)):
                self.send_to(partition, records, producer)
                more(len(records))
            if hole > topics.beginning_offsets(self.feed)[partition]:
                admin.delete_records({TopicPartition(self.topic, partition): hole})
        producer.close()

    def send_to(self, partition: int, records: list[Record], producer: KafkaProducer) -> None:
        """Sends the records, and waits for their offsets."""
        send = functools.partial(producer.send, self.topic, partition=partition)
        futures = [
            send(key=key, value=(value,), timestamp_ms=milliseconds)
            for _, key, value, milliseconds in records
        ]
        for record, future in zip(records, futures, strict=True):
            given = future.get(timeout=60).offset
            if given != record.offset:
                self.other_topic(
                    f"the record of partition {partition}, offset {record.offset} got offset "
                    f"{given} from the broker: another producer is writing to this topic"
                )

    def other_topic(self, why: str) -> NoReturn:
        """Failure: the topic is not a copy of the ledger."""
        raise Failure(
            f"topic {self.topic} on {self.kafka} holds other records than the backup",
            why,
            "nothing was restored: restore into another stack (RUN_DIR, KAFKA, HDFS); "
            f"or delete the topic: {self.feed.make('shell')}, then: "
            f"kafka-topics --delete --topic {self.topic} --bootstrap-server {self.kafka}",
        )
