"""Sends the ledger's records to a new topic, when a backup is restored into another Kafka.

Each record gets its old partition and offset, with its key, value and time. So the committed
position stays valid, and landing continues after it.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator
from typing import Any, NoReturn

import deltalake
import numpy
import pyarrow.compute as pc
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from pyarrow.dataset import Dataset

import config
import kafka_client
import knobs
import topics
from archive_file import progress
from errors import Failure

RECORDS_A_SLICE = 10_000
RECORDS_IN_FLIGHT = 1000
KAFKA_LIMIT = 2**20 + 12  # bytes: Kafka's default of max.message.bytes
OVERHEAD = 4096  # bytes of a batch besides its record


def ledger_rows(ledger: Dataset, partition: int, begin: int, end: int) -> Iterator[tuple]:
    """Yields (offset, key, value, milliseconds) of the ledger's records, in order of offset.

    Reads RECORDS_A_SLICE offsets at a time: the ledger may be larger than memory.
    """
    for first in range(begin, end, RECORDS_A_SLICE):
        place = (
            (pc.field("kafka_partition") == partition)
            & (pc.field("kafka_offset") >= first)
            & (pc.field("kafka_offset") < min(end, first + RECORDS_A_SLICE))
        )
        found = ledger.to_table(
            columns=["kafka_offset", "key", "value", "kafka_timestamp"], filter=place
        ).sort_by("kafka_offset")
        times = pc.divide(found["kafka_timestamp"].cast("int64"), 1000)
        yield from zip(
            found["kafka_offset"].to_pylist(),
            found["key"].to_pylist(),
            found["value"].to_pylist(),
            times.to_pylist(),
            strict=True,
        )


def holes_end(ledger: Dataset, partition: int, end: int) -> int:
    """The offset after the last one below `end` that the ledger lacks; 0 when it lacks none.

    It lacks offsets whose records had expired before they were landed.
    """
    in_partition = pc.field("kafka_partition") == partition
    rows = ledger.to_table(columns=["kafka_offset"], filter=in_partition)
    offsets = rows["kafka_offset"].to_numpy()
    return 0 if len(offsets) == end else int(numpy.setdiff1d(numpy.arange(end), offsets).max()) + 1


def largest_record(ledger: Dataset) -> int:
    """Bytes of the ledger's largest record, key and value."""
    batches = ledger.scanner(columns=["key", "value"], batch_size=RECORDS_A_SLICE).to_reader()
    sizes = (
        pc.add(
            pc.fill_null(pc.binary_length(batch["value"]), 0),
            pc.fill_null(pc.binary_length(batch["key"]), 0),
        )
        for batch in batches
    )
    return max((pc.max(size).as_py() or 0 for size in sizes), default=0)


def other_topic(why: str) -> NoReturn:
    """Failure: the topic is not a copy of the ledger."""
    raise Failure(
        f"topic {config.TOPIC} on {config.KAFKA} holds other records than the backup",
        why,
        "nothing was restored: restore into another stack (RUN_DIR, KAFKA, HDFS); "
        f"or delete the topic: make shell{knobs.of_feed()}, then: "
        f"kafka-topics --delete --topic {config.TOPIC} --bootstrap-server {config.KAFKA}",
    )


def compare(ledger: Dataset, holes: dict[int, int], landed: dict[int, int]) -> None:
    """Failure unless the topic's records are the first part of the ledger's.

    They are after an interrupted restore: the next one continues after them.
    """
    rows = {
        partition: ledger_rows(ledger, partition, holes[partition], end)
        for partition, end in landed.items()
    }
    for record in topics.records():
        if holes.get(record.partition, 0) <= record.offset < landed.get(record.partition, 0):
            offset, *content = next(
                row for row in rows[record.partition] if row[0] >= record.offset
            )
            if offset != record.offset or content != [record.key, record.value, record.timestamp]:
                other_topic(
                    f"partition {record.partition}, offset {record.offset} is another record"
                )


def create_topic(admin: KafkaAdminClient, partitions: int, limit: int) -> None:
    """Creates the topic with this number of partitions, for records of up to `limit` bytes."""
    # CreateTime: each record keeps its own time.
    settings = {
        "retention.ms": "-1",
        "max.message.bytes": str(limit),
        "message.timestamp.type": "CreateTime",
    }
    topic = {
        "num_partitions": partitions,
        "replication_factor": int(os.environ["REPLICATION"]),
        "configs": settings,
    }
    admin.create_topics({config.TOPIC: topic}, wait_for_metadata=True)
    print(f"created topic {config.TOPIC} with {partitions} partition(s)")


def send(manifest: dict, ledger_path: str) -> None:
    """Sends the records of the ledger at ledger_path. Failure when the topic holds other records.

    Safe to repeat: what the topic holds already is not sent again.
    """
    landed = {int(partition): end for partition, end in manifest["landed"].items()}
    ledger = deltalake.DeltaTable(ledger_path).to_pyarrow_dataset()
    holes = {partition: holes_end(ledger, partition, end) for partition, end in landed.items()}
    limit = max(KAFKA_LIMIT, largest_record(ledger) + OVERHEAD)
    with contextlib.closing(topics.admin()) as admin:
        if topics.topic_id() is None:
            create_topic(admin, manifest["partitions"], limit)
        ends = topics.end_offsets()
        if any(partition not in ends for partition in landed):
            other_topic(f"it has {len(ends)} partition(s), the feed has {manifest['partitions']}")
        compare(ledger, holes, landed)
        sent = send_missing(admin, ledger, holes, landed, ends, limit)
        # The topic's own settings come last: a short retention would delete records meanwhile.
        settings = {
            name: value
            for name, value in manifest.get("topic_settings", {}).items()
            if name != "max.message.bytes" or int(value) > limit
        }
        if settings:
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, config.TOPIC, settings)])
    total = sum(landed.values())
    print(
        f"sent the ledger's records to topic {config.TOPIC} on {config.KAFKA}, "
        f"each to its old offset: {sent:,} of {total:,}"
        f"{'' if sent == total else '; the others were there'}"
    )


def send_missing(
    admin: KafkaAdminClient,
    ledger: Dataset,
    holes: dict[int, int],
    landed: dict[int, int],
    ends: dict[int, int],
    limit: int,
) -> int:
    """Sends what the topic lacks: of each partition the offsets from its end to the landed one.

    Returns the number of records sent. Failure when a record gets another offset than its own.
    """
    sent = 0
    waiting: list[tuple[int, int, Any]] = []  # (partition, offset, future)
    missing = sum(max(0, end - ends[partition]) for partition, end in landed.items())
    more = progress(missing, "sent", "records", 1)
    producer = KafkaProducer(
        bootstrap_servers=config.KAFKA,
        acks="all",
        enable_idempotence=True,
        linger_ms=20,
        batch_size=2**18,
        max_request_size=2 * limit,
        **kafka_client.for_python(),
    )

    def settle():
        for partition, offset, future in waiting:
            given = future.get(timeout=60).offset
            if given != offset:
                other_topic(
                    f"the record of partition {partition}, offset {offset} got offset {given} "
                    "from the broker: another producer is writing to this topic"
                )
        more(len(waiting))
        waiting.clear()

    for partition, end in sorted(landed.items()):
        # The broker assigns offsets one after the other, so holes are filled with empty records,
        # which are deleted afterwards.
        hole = range(ends[partition], holes[partition])
        empty = ((offset, None, None, None) for offset in hole)
        rows = ledger_rows(ledger, partition, max(ends[partition], holes[partition]), end)
        for offset, key, value, milliseconds in itertools.chain(empty, rows):
            future = producer.send(
                config.TOPIC, key=key, value=value, partition=partition, timestamp_ms=milliseconds
            )
            waiting.append((partition, offset, future))
            sent += 1
            if len(waiting) == RECORDS_IN_FLIGHT:
                settle()
        settle()
        if holes[partition] > topics.beginning_offsets()[partition]:
            admin.delete_records({TopicPartition(config.TOPIC, partition): holes[partition]})
    producer.close()
    return sent
