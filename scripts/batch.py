"""One batch of records to the four tables: the part that land.py and reprocess.py share.

Spark's workers decode each record once and write the Parquet files of all four tables to HDFS (write); what they tell the
driver is small: files, verdicts, ids. The driver finds the repeats that one worker alone cannot see (resolve), corrects the
files that hold such (correct), and commits the files, a table after the other (commit). Files that no commit names belong
to no table: a batch that was interrupted is simply done again.

The shape of what goes in: kafka_partition int, kafka_offset bigint, kafka_timestamp timestamp, key binary, value binary.
"""
import bisect
import concurrent.futures
import json
import time
import uuid

import deltalake
import hdfs_native
import numpy
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from deltalake.transaction import AddAction

import rows
from message import TABLES

COMPRESSION, COMPRESSION_LEVEL = "zstd", 1
LONGEST_STATISTIC = 64  # characters; longer texts are left out of the statistics
# Files of a table below this size are small; so many of them are put together, to files of up to so many bytes.
SMALL_FILE, SMALL_FILES, COMPACTED_FILE = 2**20, 10, 64 * 2**20
KEPT_H = 24  # hours for which a file stays that only older versions need: no query runs longer
LAST = 2  # rank of a message that was not accepted before
RECORD = ["kafka_partition", "kafka_offset", "kafka_timestamp", "key", "value"]
RESULT = "result binary"  # what write gives Spark: one row a task

# Of each record, in the order of the task's records: what the driver needs to know. position: partition-offset.
# `order` (rank, time, partition, offset): of the valid messages with one keen_id the first in this order is accepted.
JUDGED = pa.schema([("kafka_partition", pa.int32()), ("kafka_offset", pa.int64()), ("kafka_timestamp", pa.int64()), ("rank", pa.int8()),
                    ("keen_id", pa.string()), ("content_hash", pa.string()), ("valid", pa.bool_()), ("status", pa.string()), ("reason", pa.string()),
                    ("written", pa.bool_()), ("questions", pa.int32()), ("options", pa.int32())])


class Repeats:
    """Which valid messages repeat one with the same keen_id that comes before them.

    accepted: {keen_id: (content hash, position)} of what was accepted before all of these."""

    def __init__(self, accepted):
        self.first = {keen_id: ((), *known) for keen_id, known in accepted.items()}

    def judge(self, keen_id, content_hash, order):
        """-> (status, reason). Final when messages come in order; otherwise as far as it is known."""
        position = f"{order[2]}-{order[3]}"
        first = self.first.get(keen_id)
        if first is None or order < first[0]:
            self.first[keen_id] = order, content_hash, position
            return "accepted", None
        _, its_hash, its_position = first
        return ("duplicate", f"duplicate_of: {its_position}") if its_hash == content_hash else ("rejected", f"conflicts_with: {its_position}")


def at_once(function, values):
    """Calls the function with each value in a thread of its own; -> the results. Closing a new file in HDFS takes half a second,
    nearly all of it waiting."""
    with concurrent.futures.ThreadPoolExecutor(len(values)) as pool:
        return list(pool.map(function, values))


# --- in Spark's workers --------------------------------------------------------------------------

class TableFile:
    """A Parquet file of a table, written as its rows come."""

    def __init__(self, client, folder, table):
        self.client, self.table, self.name = client, table, f"part-{uuid.uuid4()}.{COMPRESSION}.parquet"
        self.path = f"{folder}/{table}/{self.name}"
        self.writer = self.sink = None

    def write(self, frame):
        if not frame.num_rows:
            return
        if self.writer is None:
            self.sink = self.client.create(self.path, hdfs_native.WriteOptions(overwrite=False))
            self.footer = []
            # Without Arrow's own schema in the file: a column written as a dictionary would be read back as one.
            self.writer = pyarrow.parquet.ParquetWriter(
                self.sink, frame.schema, compression=COMPRESSION, compression_level=COMPRESSION_LEVEL, store_schema=False, metadata_collector=self.footer,
                use_dictionary=[name for name in frame.column_names if name not in ("value", "key", "content_hash", "clicked_at")])
        self.writer.write_table(frame, row_group_size=len(frame))

    def close(self):
        """-> what the commit needs to know of the file, or None when it holds no row."""
        if self.writer is None:
            return None
        self.writer.close()
        self.sink.close()
        return {"table": self.table, "path": self.name, "size": self.client.get_file_info(self.path).length, "modified": int(time.time() * 1000), "statistics": statistics(self.footer[0])}


def statistics(footer):
    """A Parquet file's footer -> Delta's statistics of the file: by them readers skip files, and landing finds its end."""
    found = {"numRecords": footer.num_rows, "minValues": {}, "maxValues": {}, "nullCount": {}}
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    for number in range(footer.num_columns):
        name, of_groups = footer.schema.column(number).name, [group.column(number).statistics for group in groups]
        if all(each is not None and each.has_null_count for each in of_groups):
            found["nullCount"][name] = sum(each.null_count for each in of_groups)
        filled = [each for each, group in zip(of_groups, groups) if each is None or each.null_count != group.num_rows]
        if filled and all(each is not None and each.has_min_max for each in filled):
            least, most = min(each.min for each in filled), max(each.max for each in filled)
            if hasattr(least, "isoformat"):  # milliseconds, as Delta has them: the lower end rounded down, the upper up
                least, most = (text.isoformat(timespec="milliseconds").replace("+00:00", "Z") for text in (least, most if most.microsecond % 1000 == 0 else rounded_up(most)))
            if isinstance(least, (bool, bytes)) or isinstance(least, str) and max(len(least), len(most)) > LONGEST_STATISTIC:
                continue
            found["minValues"][name], found["maxValues"][name] = least, most
    return found


def rounded_up(moment):
    thousands = moment.microsecond // 1000 + 1
    return moment.replace(microsecond=thousands * 1000) if thousands < 1000 else moment.replace(microsecond=999_000)  # readers of Delta add a millisecond


class Writing:
    """The files of one task, one a table."""

    def __init__(self, hdfs, folder):
        client = hdfs_native.Client(hdfs)
        self.files = {table: TableFile(client, folder, table) for table in TABLES}

    def close(self):
        return [closed for closed in at_once(TableFile.close, self.files.values()) if closed]


def nothing(_):
    """A no-op for DataFrame.mapInArrow: its task only starts a Python worker, which imports this module."""
    return iter(())


def write(hdfs, folder, accepted, ranks=None):
    """-> the function for DataFrame.mapInArrow: writes the files of its records, and gives one row (RESULT) that tells the
    driver what is in them. accepted: {keen_id: (content hash, position)}, as much as is known of what was accepted before;
    ranks: {partition: (sorted offsets, rank of each)} of the messages that come before others with their keen_id whatever the time."""
    def write_task(batches):
        writing, repeats, judged = Writing(hdfs, folder), Repeats(accepted), []
        for batch in batches:
            judged.append(write_records(batch, writing, repeats, ranks or {}))
        files = writing.close()
        yield pa.RecordBatch.from_arrays([pa.array([packed(files, pa.concat_tables(judged) if judged else JUDGED.empty_table())])], ["result"])
    return write_task


def write_records(records, writing, repeats, ranks):
    """Writes the rows of these records; -> JUDGED, a row a record."""
    partitions, offsets = records["kafka_partition"].to_numpy(), records["kafka_offset"].to_numpy()
    times = records["kafka_timestamp"].cast(pa.int64()).to_numpy()
    rank = numpy.full(len(records), LAST, dtype=numpy.int8)
    for place, (partition, offset) in enumerate(zip(partitions, offsets)) if ranks else ():
        rank[place] = rank_of(ranks.get(partition), offset)
    columns = {name: [] for name in ("keen_id", "content_hash", "valid", "status", "reason", "written")}
    messages, places = [], []
    for place, value in enumerate(records["value"]):
        message, keen_id, content_hash, reason = rows.examine(value.as_py())
        status = "rejected"
        if reason is None:
            status, reason = repeats.judge(keen_id, content_hash, (int(rank[place]), int(times[place]), int(partitions[place]), int(offsets[place])))
            if status == "accepted":
                messages.append(message)
                places.append(place)
        for name, cell in zip(columns, (keen_id, content_hash, message is not None, status, reason, status == "accepted")):
            columns[name].append(cell)
    questions, options = (numpy.zeros(len(records), dtype=numpy.int64) for _ in range(2))
    if messages:
        tables, questions[places], options[places] = rows.tables(messages, partitions[places], offsets[places], [columns["content_hash"][place] for place in places])
        for table, frame in tables.items():
            writing.files[table].write(frame)
    judged = pa.table({"kafka_partition": records["kafka_partition"], "kafka_offset": records["kafka_offset"], "kafka_timestamp": times, "rank": rank,
                       **columns, "questions": questions, "options": options}).cast(JUDGED)
    writing.files["messages"].write(pa.table([judged[name] if name in ("keen_id", "status", "reason", "content_hash") else records[name] for name in rows.SCHEMAS["messages"].names],
                                             names=rows.SCHEMAS["messages"].names).cast(rows.SCHEMAS["messages"]))
    return judged


def rank_of(ranked, offset):
    """Of a partition's (sorted offsets, rank of each); what is not among them comes last."""
    if ranked is not None:
        place = numpy.searchsorted(ranked[0], offset)
        if place < len(ranked[0]) and ranked[0][place] == offset:
            return ranked[1][place]
    return LAST


def packed(files, judged):
    """-> bytes: the files as JSON, and the table, in Arrow's own format."""
    sink = pa.BufferOutputStream()
    judged = judged.replace_schema_metadata({"files": json.dumps(files)})
    with pa.ipc.new_stream(sink, judged.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
        stream.write_table(judged)
    return sink.getvalue().to_pybytes()


def unpacked(result):
    judged = pa.ipc.open_stream(result).read_all()
    return json.loads(judged.schema.metadata[b"files"]), judged


# --- in the driver -------------------------------------------------------------------------------

def resolve(judged, earlier):
    """The final verdicts of all records of a batch, in the order of `judged`: -> (status, reason), two lists.
    earlier: {keen_id: (content hash, position)} of what was accepted in earlier batches, at least where the keen_id is in this one."""
    status, reason = judged["status"].to_pylist(), judged["reason"].to_pylist()
    valid = numpy.flatnonzero(judged["valid"].to_numpy(zero_copy_only=False))
    order = [judged[name].to_numpy()[valid] for name in ("rank", "kafka_timestamp", "kafka_partition", "kafka_offset")]
    keen_ids, hashes = judged["keen_id"].to_pylist(), judged["content_hash"].to_pylist()
    repeats = Repeats(earlier)
    for number in numpy.lexsort(order[::-1]):
        place = valid[number]
        status[place], reason[place] = repeats.judge(keen_ids[place], hashes[place], tuple(int(column[number]) for column in order))
    return status, reason


def correct(client, folder, files, judged, status, reason):
    """The files of one task, written anew where their rows do not agree with the final verdicts; -> the files to commit."""
    accepted = numpy.array([each == "accepted" for each in status])
    written = judged["written"].to_numpy(zero_copy_only=False)
    assert not (accepted & ~written).any(), "a message was accepted whose rows nobody has written"
    if pa.array(status).equals(judged["status"].combine_chunks()) and pa.array(reason, pa.string()).equals(judged["reason"].combine_chunks()):
        return files
    stays = accepted[written]
    questions, options = (judged[name].to_numpy()[written] for name in ("questions", "options"))
    keep = {"attempts": stays, "questions": numpy.repeat(stays, questions), "options": numpy.repeat(stays, options)}
    new = []
    for file in files:
        source, target, at = f"{folder}/{file['table']}/{file['path']}", TableFile(client, folder, file["table"]), 0
        with client.read(source) as content:
            parquet = pyarrow.parquet.ParquetFile(content)
            for group in range(parquet.num_row_groups):
                frame = parquet.read_row_group(group).cast(rows.SCHEMAS[file["table"]])
                span = slice(at, at + len(frame))
                if file["table"] == "messages":
                    frame = frame.set_column(frame.column_names.index("status"), rows.SCHEMAS["messages"].field("status"), pa.array(status[span], pa.string()))
                    frame = frame.set_column(frame.column_names.index("reason"), rows.SCHEMAS["messages"].field("reason"), pa.array(reason[span], pa.string()))
                else:
                    frame = frame.filter(pa.array(keep[file["table"]][span]))
                target.write(frame)
                at += span.stop - span.start
        client.delete(source)
        new += [closed] if (closed := target.close()) else []
    return new


def files_of(delta):
    """The files of the table's present version, each with its size and statistics: a list of dictionaries."""
    return delta.get_add_actions(flatten=True).to_struct_array().to_pylist()


def accepted_before(attempts, keen_ids, starts):
    """{keen_id: (content hash, position)} of those of the keen_ids that were accepted before this batch.

    attempts: the open table. starts: {partition: the batch's first offset}: a batch that is repeated after a kill must not
    meet its own rows and call them duplicates. Only files whose statistics allow one of the keen_ids are read, of these one
    column, and the others where it has one. (keen_ids begin with their time, so files of other times are skipped.)
    """
    wanted, found = pa.array(sorted(keen_ids), pa.string()), {}
    in_order = wanted.to_pylist()
    spans = {file["path"]: (file.get("min.keen_id"), file.get("max.keen_id")) for file in files_of(attempts)} if in_order else {}
    for fragment in attempts.to_pyarrow_dataset().get_fragments() if spans else ():
        least, most = spans.get(fragment.path.lstrip("/"), (None, None))
        if least is not None and bisect.bisect_left(in_order, least) == bisect.bisect_right(in_order, most):
            continue
        if not pc.any(pc.is_in(read(fragment, ["keen_id"])["keen_id"], wanted)).as_py():
            continue
        frame = read(fragment, ["keen_id", "content_hash", "kafka_partition", "kafka_offset"])
        frame = frame.filter(pc.is_in(frame["keen_id"], wanted))
        for keen_id, content_hash, partition, offset in zip(*(column.to_pylist() for column in frame.columns), strict=True):
            if offset < starts.get(partition, offset + 1):
                found[keen_id] = content_hash, f"{partition}-{offset}"
    return found


def read(source, columns=None):
    """The rows of a table or of one of its files, texts as plain ones: delta-rs leaves them in a form that pyarrow cannot compare."""
    frame = source.to_table(columns=columns)
    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    return frame.cast(pa.schema([field.with_type(plain.get(field.type, field.type)) for field in frame.schema]))


def write_files(records, hdfs, folder, accepted, ranks=None):
    """Has Spark's workers decode the records and write their files; -> [(files, JUDGED of a task), …]"""
    return [unpacked(row.result) for row in records.mapInArrow(write(hdfs, folder, accepted, ranks), RESULT).collect()]


def correct_files(hdfs, folder, parts, status, reason):
    """-> the files to commit: those of write_files, corrected by the final verdicts (of all parts, one after the other)."""
    client, files, at = hdfs_native.Client(hdfs), [], 0
    for its_files, judged in parts:
        files += correct(client, folder, its_files, judged, status[at:at + len(judged)], reason[at:at + len(judged)])
        at += len(judged)
    return files


def commit(table, delta, files, mode="append", transactions=()):
    """One commit to the table: adds these files (mode overwrite: in place of all that it had)."""
    adds = [AddAction(file["path"], file["size"], {}, file["modified"], True, json.dumps(file["statistics"])) for file in files if file["table"] == table]
    if adds or mode == "overwrite":
        delta.create_write_transaction(adds, mode, delta.schema(), commit_properties=deltalake.CommitProperties(app_transactions=list(transactions)))
        delta.update_incremental()


def delete_attempts(delta, keen_ids):
    """Deletes the rows of these attempts, in one commit."""
    (delta.merge(pa.table({"keen_id": pa.array(keen_ids, pa.string())}), "old.keen_id = gone.keen_id", source_alias="gone", target_alias="old")
     .when_matched_delete().execute())


def rows_without_attempt(delta, keen_ids):
    """Yields, a file at a time, the rows of this child table whose keen_id is not among these (an Arrow array)."""
    for fragment in delta.to_pyarrow_dataset().get_fragments():
        if pc.all(pc.is_in(read(fragment, ["keen_id"])["keen_id"], keen_ids)).as_py():
            continue
        frame = read(fragment)
        yield frame.filter(pc.invert(pc.is_in(frame["keen_id"], keen_ids)))


def compact(delta):
    """Where many small files have gathered, as small landings leave them: puts them together, without a change of any row.
    The log gets a checkpoint, so that readers need not go through each commit; files that no version of the last day
    needs, and what interrupted batches left, are deleted."""
    if sum(file["size_bytes"] < SMALL_FILE for file in files_of(delta)) < SMALL_FILES:
        return
    delta.optimize.compact(target_size=COMPACTED_FILE)
    delta.create_checkpoint()
    delta.vacuum(retention_hours=KEPT_H, enforce_retention_duration=False, dry_run=False, full=True)
