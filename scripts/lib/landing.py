"""Lands one batch of records: steps 1 to 3 of land.py."""

import collections
import time
from typing import Any, NamedTuple

import pyarrow as pa
from deltalake import Transaction

import batch
import config
import lake
import table_files
from feed_state import SECONDS

RECENT_RECORDS = 5_000  # per partition. Most repeats follow within a few records.


class Batch(NamedTuple):
    """What one batch landed."""

    number: int
    spans: dict[int, tuple[int, int]]  # {partition: (first offset, last offset)}
    statuses: collections.Counter[str]  # {status: messages}
    seconds: float


class Landing:
    """The opened tables, and {keen_id: (content hash, position)} of recently accepted messages.

    Recent: among the last RECENT_RECORDS of a partition in the last batch. The workers get
    `accepted`, and write no rows for repeats of these. Rows of other repeats are removed by step 2.
    """

    def __init__(self, query_id: str, tables: lake.Tables):
        self.query_id, self.tables = query_id, tables
        self.accepted: table_files.Accepted = {}

    def land(self, records: Any, batch_id: int) -> Batch | None:
        """Lands one batch: `records` is a DataFrame, batch_id its number.

        Returns a Batch; None when there were no records.
        """
        begin = time.monotonic()
        # Step 1: `judged` has a row per record, with a first verdict.
        parts = batch.write_files(records, config.HDFS, lake.folder(), self.accepted)
        judged = pa.concat_tables(judged for _, judged in parts)
        if not len(judged):
            return None
        # The batch's first and last offset of each partition.
        extremes = [("kafka_offset", "min"), ("kafka_offset", "max")]
        spans = {
            row["kafka_partition"]: (row["kafka_offset_min"], row["kafka_offset_max"])
            for row in judged.group_by("kafka_partition").aggregate(extremes).to_pylist()
        }
        # Step 2: a message may repeat one of the same batch, or one that is in `attempts` already.
        keen_ids = judged.filter(judged["valid"])["keen_id"].unique().to_pylist()
        starts = {partition: first for partition, (first, _) in spans.items()}
        earlier = batch.accepted_before(self.tables["attempts"], keen_ids, starts)
        status, reason = batch.resolve(judged, earlier)
        files = batch.correct_files(config.HDFS, lake.folder(), parts, status, reason)

        # Step 3: options and questions in parallel, then attempts, last the ledger.
        def commit(table):
            committed = self.tables[table].transaction_version(self.query_id)
            if committed is None or committed < batch_id:
                marks = [Transaction(self.query_id, batch_id)]
                # make status and the metrics read the duration from the ledger's history.
                notes = {SECONDS: f"{time.monotonic() - begin:.3f}"}
                batch.commit(table, self.tables[table], files, transactions=marks, notes=notes)

        table_files.at_once(commit, ["options", "questions"])
        commit("attempts")
        commit("messages")

        columns = ("keen_id", "content_hash", "kafka_partition", "kafka_offset")
        self.accepted = {
            keen_id: (content_hash, f"{partition}-{offset}")
            for keen_id, content_hash, partition, offset, its_status in zip(
                *(judged[name].to_pylist() for name in columns), status, strict=True
            )
            if its_status == "accepted" and offset > spans[partition][1] - RECENT_RECORDS
        }
        return Batch(batch_id, spans, collections.Counter(status), time.monotonic() - begin)
