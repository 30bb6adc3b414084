"""The committed position of a feed: the highest offsets in its ledger (table messages)."""

import json
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import deltalake
from deltalake import Transaction
from deltalake.exceptions import TableNotFoundError
from pyarrow.dataset import Fragment

from pipeline.settings import Feed

# Property of the ledger: offsets never landed, JSON {partition: [[from, to], …]}
EXPIRED = "kafka.expired"
# Each commit of a batch carries, as Delta's transaction of this name, the batch's end.
PARTITION = "kafka.partition.{}"

Position = dict[int, int]  # {partition: offset after the last landed or expired record}


def files_of(delta: deltalake.DeltaTable) -> list[dict[str, Any]]:
    """The files of the table's current version, each with its size and statistics."""
    actions = delta.get_add_actions(flatten=True).to_struct_array()
    return actions.to_pylist()  # type: ignore[return-value]  # arro3 declares an ndarray


def path_of(file: Fragment) -> str:
    """The path of a file of a dataset, in its table's folder."""
    return str(file.path.lstrip("/"))


def fragments(delta: deltalake.DeltaTable, paths: Collection[str]) -> Iterator[Fragment]:
    """The files of the table with these paths, to be read."""
    for fragment in delta.to_pyarrow_dataset().get_fragments() if paths else ():
        if path_of(fragment) in paths:
            yield fragment


def landed_offsets(feed: Feed) -> Position | None:
    """The committed position of the feed; None when it has no ledger."""
    try:
        return position_of(deltalake.DeltaTable(feed.path("messages")))
    except TableNotFoundError:
        return None


def position_of(ledger: deltalake.DeltaTable | None) -> Position | None:
    """The committed position by a ledger.

    Uses the statistics in the table's log, and reads only files for which they are not enough.
    """
    if ledger is None:
        return None
    landed = {partition: spans[-1][1] for partition, spans in expired(ledger).items()}
    last_offsets, to_read = [], set()
    for file in files_of(ledger):
        partition, last = file.get("min.kafka_partition"), file.get("max.kafka_offset")
        # No statistics, or several partitions in one file.
        if partition is None or partition != file["max.kafka_partition"] or last is None:
            to_read.add(file["path"])
        else:
            last_offsets.append((partition, last))
    for fragment in fragments(ledger, to_read):
        columns = fragment.to_table(columns=["kafka_partition", "kafka_offset"])
        last_of_each = columns.group_by("kafka_partition").aggregate([("kafka_offset", "max")])
        for row in last_of_each.to_pylist():
            last_offsets.append((row["kafka_partition"], row["kafka_offset_max"]))
    for partition, last in last_offsets:
        landed[partition] = max(landed.get(partition, 0), last + 1)
    return landed


def expired(ledger: deltalake.DeltaTable) -> dict[int, list[list[int]]]:
    """{partition: [[from, to], …]}: offsets from…to - 1 expired before they were landed."""
    spans = json.loads(ledger.metadata().configuration.get(EXPIRED) or "{}")
    return {int(partition): of_partition for partition, of_partition in spans.items()}


def note_expired(feed: Feed, gone: dict[int, tuple[int, int]]) -> None:
    """Adds {partition: (from, to)} to expired(). The committed position is then after them."""
    ledger = deltalake.DeltaTable(feed.path("messages"))
    known = expired(ledger)
    for partition, span in gone.items():
        known.setdefault(partition, []).append(list(span))
    ledger.alter.set_table_properties({EXPIRED: json.dumps(known)}, raise_if_not_exists=False)


def marks(ends: Position) -> list[Transaction]:
    """What a commit of a batch with these ends carries."""
    return [Transaction(PARTITION.format(partition), end) for partition, end in ends.items()]


def marked(delta: deltalake.DeltaTable) -> Position:
    """The ends of the last batch that was committed to this table. A batch marks all partitions."""
    found: Position = {}
    while (end := delta.transaction_version(PARTITION.format(len(found)))) is not None:
        found[len(found)] = end
    return found


def complete(landed: Position, tables: Iterable[deltalake.DeltaTable]) -> Position:
    """The position with all partitions that any of the tables has a mark of."""
    known = {partition for table in tables for partition in marked(table)}
    return dict.fromkeys(sorted(known | landed.keys()), 0) | landed
