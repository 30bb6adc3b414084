"""Sends the ledger's records to a new topic, when a backup is restored into another Kafka.

Each record gets its old partition and offset, so that the committed position stays valid.
"""

import contextlib
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

RECORDS_A_SLICE, BYTES_A_SLICE = 10_000, 64 * 2**20  # at most
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
        largest = self.largest_record()
        self.limit = max(KAFKA_LIMIT, largest + OVERHEAD)
        self.slice = min(RECORDS_A_SLICE, max(1, BYTES_A_SLICE // max(1, largest)))

    def records(self, partition: int, begin: int, end: int) -> Iterator[Record]:
        """Yields the ledger's records from offset `begin` to before `end`, in order of offset.

        Reads some offsets at a time: the ledger may be larger than memory.
        """
        at, offset = pc.field("kafka_partition"), pc.field("kafka_offset")
        for first in range(begin, end, self.slice):
            to = min(end, first + self.slice)
            place = (at == partition) & (offset >= first) & (offset < to)
            columns = ["kafka_offset", "key", "value", "kafka_timestamp"]
            found = self.ledger.to_table(columns=columns, filter=place).sort_by("kafka_offset")
            times = pc.divide(found["kafka_timestamp"].cast("int64"), 1000)
            found = found.set_column(3, "milliseconds", times)
            yield from map(Record, *(column.to_pylist() for column in found.columns))

    def holes_end(self, partition: int, end: int) -> int:
        """The offset after the last expired one before `end`, which the ledger lacks; 0: none."""
        in_partition = pc.field("kafka_partition") == partition
        rows = self.ledger.to_table(columns=["kafka_offset"], filter=in_partition)
        there = rows["kafka_offset"].to_numpy()
        lacking = numpy.setdiff1d(numpy.arange(end), there, assume_unique=True)
        return int(lacking.max(initial=-1)) + 1

    def largest_record(self) -> int:
        """Bytes of the ledger's largest record, key and value."""
        scanner = self.ledger.scanner(columns=["key", "value"], batch_size=RECORDS_A_SLICE)
        sizes = (
            pc.add(*(pc.fill_null(pc.binary_length(column), 0) for column in batch.columns))
            for batch in scanner.to_reader()
        )
        return max((pc.max(size).as_py() or 0 for size in sizes), default=0)

    def send(self) -> None:
        """Sends the records that the topic lacks. Failure when it holds others."""
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
            settings = dict(self.manifest.topic_settings)
            if int(settings.get("max.message.bytes", self.limit)) <= self.limit:
                settings.pop("max.message.bytes", None)
            if settings:
                resource = ConfigResource(ConfigResourceType.TOPIC, self.topic, settings)
                admin.alter_configs([resource])
        total = sum(self.landed.values())
        print(
            f"sent the ledger's records to topic {self.topic} on {self.kafka}, "
            f"each to its old offset: {missing:,} of {total:,}"
            f"{'' if missing == total else '; the others were there'}"
        )

    def create_topic(self, admin: KafkaAdminClient) -> None:
        """Creates the topic with the feed's number of partitions, for its largest record."""
        declared = {
            "num_partitions": self.manifest.partitions,
            "replication_factor": self.feed.settings.replication,
            "configs": {
                "retention.ms": "-1",
                "max.message.bytes": str(self.limit),
                "message.timestamp.type": "CreateTime",  # each record keeps its own time
            },
        }
        admin.create_topics({self.topic: declared}, wait_for_metadata=True)
        print(f"created topic {self.topic} with {self.manifest.partitions} partition(s)")

    def compare(self) -> None:
        """Failure unless the topic's records are the first ones of the ledger.

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
        """Sends of each partition the records from its end to the landed one.

        Failure when one gets another offset than its own.
        """
        most = min(RECORDS_IN_FLIGHT, self.slice)
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
            # Empty records, which are deleted afterwards, fill the holes between offsets.
            empty = map(Record, range(begin, hole))
            waiting = itertools.chain(empty, self.records(partition, max(begin, hole), end))
            while records := list(itertools.islice(waiting, most)):
                sent = [
                    producer.send(self.topic, (value,), key, partition=partition, timestamp_ms=time)
                    for _, key, value, time in records
                ]
                for record, future in zip(records, sent, strict=True):
                    if (given := future.get(timeout=60).offset) != record.offset:
                        self.other_topic(
                            f"the record of partition {partition}, offset {record.offset} got "
                            f"offset {given} from the broker: another producer is writing to "
                            "this topic"
                        )
                more(len(records))
            if hole > topics.beginning_offsets(self.feed)[partition]:
                admin.delete_records({TopicPartition(self.topic, partition): hole})
        producer.close()

    def other_topic(self, why: str) -> NoReturn:
        """Failure: the topic is not a copy of the ledger."""
        raise Failure(
            f"topic {self.topic} on {self.kafka} holds other records than the backup",
            why,
            "nothing was restored: restore into another stack (RUN_DIR, KAFKA, HDFS); "
            f"or delete the topic: {self.feed.make('shell')}, then: "
            f"kafka-topics --delete --topic {self.topic} --bootstrap-server {self.kafka}",
        )
