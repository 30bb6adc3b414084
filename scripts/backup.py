"""One feed to one file, and back: its tables, and where landing stood.

Run by: make backup [TOPIC=…] [BACKUP=file], make restore [TOPIC=…] [BACKUP=file]
    scripts/env.sh python scripts/backup.py backup | restore

The file is a tar archive: manifest.json (the feed, its topic's id, how far it is landed, each file with its size), the
files of the feed's folder in HDFS, and SHA256SUMS. Restoring checks it all before anything is seen at its place.

On the Kafka that the feed was landed from, landing then goes on where it stood. On another, whose topic is missing or
empty, the ledger's records are sent to the topic first, each to its old partition and offset, with its key and time: the
ledger is all that is left of them, its positions stay true, and landing goes on behind them.
"""
import argparse
import contextlib
import datetime
import hashlib
import io
import itertools
import json
import os
import sys
import tarfile
import time

import deltalake
import hdfs_native
import numpy
import pyarrow.compute as pc
from kafka import KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

import feed
import kafka_client

FORMAT = 1
FOLDER = feed.table_path("")[:-1].removeprefix(feed.HDFS)
UNPACKED = f"{feed.WAREHOUSE}/_restore_{feed.TOPIC}"  # no topic's name begins so
CHUNK = 4 * 2**20
RECORDS_A_SLICE = 10_000
KAFKA_LIMIT, OVERHEAD = 2**20 + 12, 4096  # bytes: Kafka's own max.message.bytes, and what a batch has beside its record
KNOB = "" if feed.TOPIC == "assessments" else f" TOPIC={feed.TOPIC}"


class Hashed:
    """A reader that hashes what passes, and says how much did every five seconds."""

    def __init__(self, file, progress):
        self.file, self.hash, self.progress = file, hashlib.sha256(), progress

    def read(self, size):
        data = bytes(self.file.read(size))
        self.hash.update(data)
        self.progress(len(data))
        return data


def progress(total, verb, unit="MB", scale=1e6):
    """A function to call with each amount done."""
    done, said = 0, time.monotonic()

    def more(amount):
        nonlocal done, said
        done += amount
        if time.monotonic() - said > 5:
            said = time.monotonic()
            print(f"  {done / scale:>11,.0f} of {total / scale:,.0f} {unit} {verb}", file=sys.stderr)
    return more


def ends_and_settings():
    """({partition: end}, the topic's own settings), or (None, {}) when Kafka is not there to be asked: a backup can do without."""
    try:
        with contextlib.closing(feed.kafka_admin(3)):
            return feed.end_offsets(), feed.topic_settings()
    except Exception:
        return None, {}


def add(archive, name, data):
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o600, int(time.time())
    archive.addfile(info, io.BytesIO(data))


def backup(path):
    begin = time.monotonic()
    landed = feed.landed_offsets()
    if landed is None:
        raise feed.Failure(f"there are no tables of feed {feed.TOPIC} to back up", f"looked in {feed.table_path('')}", f"land the feed first: make land{KNOB}")
    if feed.exists(f"{FOLDER}/_reprocess"):
        raise feed.Failure(f"a make reprocess of feed {feed.TOPIC} was interrupted", f"{FOLDER}/_reprocess is there", f"finish it first: make reprocess{KNOB}")
    if os.path.exists(path) and read_manifest(path)["feed"] != feed.TOPIC:
        raise feed.Failure(f"{path} is a backup of another feed", f"of {read_manifest(path)['feed']}", f"name another file: make backup{KNOB} BACKUP=…")
    ends, settings = ends_and_settings()
    ahead = sum(end - landed.get(partition, 0) for partition, end in (ends or {}).items())
    if ahead > 0:
        print(f"note: {ahead:,} records of topic {feed.TOPIC} are not landed yet, and so not in the backup (make land{KNOB} first takes them in)")
    files = [(file.path, file.length) for file in feed.hdfs().list_status(FOLDER, recursive=True) if not file.isdir]
    total = sum(size for _, size in files)
    manifest = {"format": FORMAT, "feed": feed.TOPIC, "topic_id": feed.open_table("messages").metadata().configuration[feed.TOPIC_ID],
                "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "partitions": len(ends) if ends else max(landed, default=0) + 1, "topic_settings": settings,
                "landed": {str(partition): end for partition, end in sorted(landed.items())},
                "files": {name.removeprefix(FOLDER + "/"): size for name, size in files}}
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    more, sums = progress(total, "written"), []
    new = f"{path}.{os.getpid()}.new"
    try:
        with open(new, "wb") as out:
            with tarfile.open(fileobj=out, mode="w") as archive:
                text = json.dumps(manifest, indent=1).encode()
                add(archive, "manifest.json", text)
                sums.append(f"{hashlib.sha256(text).hexdigest()}  manifest.json\n")
                for name, size in files:
                    info = tarfile.TarInfo("feed/" + name.removeprefix(FOLDER + "/"))
                    info.size, info.mode, info.mtime = size, 0o600, int(time.time())
                    with feed.hdfs().read(name) as file:
                        reader = Hashed(file, more)
                        archive.addfile(info, reader)
                    sums.append(f"{reader.hash.hexdigest()}  {info.name}\n")
                add(archive, "SHA256SUMS", "".join(sums).encode())
            out.flush()
            os.fsync(out.fileno())
        os.replace(new, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(new)
    print(f"{path}: feed {feed.TOPIC}, {len(files)} files, {total / 1e6:,.1f} MB, landed up to {landed or 'nothing'}, in {time.monotonic() - begin:.1f} s")
    print(f"to have it back, here or in another stack: make restore{KNOB} BACKUP={path}")


def read_manifest(path):
    """The manifest of a backup, or a Failure that says what the file is instead."""
    try:
        with tarfile.open(path, "r:") as archive:
            member = archive.next()
            if member is None or member.name != "manifest.json":
                raise tarfile.TarError("it does not begin with manifest.json")
            manifest = json.load(archive.extractfile(member))
    except FileNotFoundError:
        raise feed.Failure(f"there is no file {path}", "it was named as BACKUP, or is its default", "make restore BACKUP=/path/to/the/file") from None
    except (tarfile.TarError, ValueError, IsADirectoryError) as error:
        raise feed.Failure(f"{path} is no backup of a feed", str(error), "name another file: BACKUP=…") from None
    if manifest.get("format") != FORMAT:
        raise feed.Failure(f"{path} is a backup of another version", f"its format is {manifest.get('format')}, known here is {FORMAT}", "restore it with the scripts it was made with")
    return manifest


def unpack(path, manifest):
    """The feed's files to UNPACKED, each compared with its hash, and so is the manifest."""
    client, sums, found = feed.hdfs(), {}, {}
    client.delete(UNPACKED, recursive=True)
    more = progress(sum(manifest["files"].values()), "read")
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                data = archive.extractfile(member)
                name = member.name.removeprefix("feed/")
                if member.name == "SHA256SUMS":
                    sums = {line.split("  ", 1)[1]: line.split("  ", 1)[0] for line in data.read().decode().splitlines()}
                elif member.name == "manifest.json":
                    found[member.name] = hashlib.sha256(data.read()).hexdigest()
                elif member.name.startswith("feed/") and name in manifest["files"] and ".." not in name.split("/"):
                    reader = Hashed(data, more)
                    with client.create(f"{UNPACKED}/{name}", hdfs_native.WriteOptions(overwrite=True)) as out:
                        while chunk := reader.read(CHUNK):
                            out.write(chunk)
                    found[member.name] = reader.hash.hexdigest()
    except (tarfile.TarError, EOFError, ValueError, IndexError) as error:
        damaged(path, str(error))
    wanted = {"manifest.json", *(f"feed/{name}" for name in manifest["files"])}
    if set(found) != wanted or found != sums:
        different = sorted(name for name in wanted if found.get(name) is None or found[name] != sums.get(name))
        damaged(path, f"{len(different)} of its {len(wanted)} files are missing or changed, the first is {different[0] if different else 'SHA256SUMS'}")


def damaged(path, why):
    feed.hdfs().delete(UNPACKED, recursive=True)
    raise feed.Failure(f"{path} is damaged; nothing was restored", why, "take another copy of it: make restore BACKUP=…")


def ledger_rows(ledger, partition, begin, end):
    """Yields (offset, key, value, milliseconds) of the ledger in the order of offsets; in slices, for the feed may be large."""
    for first in range(begin, end, RECORDS_A_SLICE):
        place = (pc.field("kafka_partition") == partition) & (pc.field("kafka_offset") >= first) & (pc.field("kafka_offset") < min(end, first + RECORDS_A_SLICE))
        found = ledger.to_table(columns=["kafka_offset", "key", "value", "kafka_timestamp"], filter=place).sort_by("kafka_offset")
        times = pc.divide(found["kafka_timestamp"].cast("int64"), 1000)
        yield from zip(found["kafka_offset"].to_pylist(), found["key"].to_pylist(), found["value"].to_pylist(), times.to_pylist(), strict=True)


def holes_end(ledger, partition, end):
    """The offset behind the last one below `end` that the ledger lacks, for it was gone before it was landed; 0: it has all."""
    offsets = ledger.to_table(columns=["kafka_offset"], filter=pc.field("kafka_partition") == partition)["kafka_offset"].to_numpy()
    return 0 if len(offsets) == end else int(numpy.setdiff1d(numpy.arange(end), offsets).max()) + 1


def largest_record(ledger):
    """Bytes of the largest record of the ledger, with its key."""
    sizes = (pc.add(pc.fill_null(pc.binary_length(batch["value"]), 0), pc.fill_null(pc.binary_length(batch["key"]), 0)) for batch in ledger.scanner(columns=["key", "value"], batch_size=RECORDS_A_SLICE).to_reader())
    return max((pc.max(size).as_py() or 0 for size in sizes), default=0)


def other_topic(why):
    raise feed.Failure(f"topic {feed.TOPIC} on {feed.KAFKA} holds other records than the backup", why,
                       f"nothing was restored: restore into another stack (RUN_DIR, KAFKA, HDFS); or delete the topic: make shell, then: kafka-topics --delete --topic {feed.TOPIC} --bootstrap-server {feed.KAFKA}")


def compare(ledger, holes, landed):
    """What the topic holds must be the first part of what the ledger holds: an interrupted restore continues after it."""
    rows = {partition: ledger_rows(ledger, partition, holes[partition], end) for partition, end in landed.items()}
    for record in feed.records():
        if holes.get(record.partition, 0) <= record.offset < landed.get(record.partition, 0):
            offset, *content = next(row for row in rows[record.partition] if row[0] >= record.offset)
            if offset != record.offset or content != [record.key, record.value, record.timestamp]:
                other_topic(f"partition {record.partition}, offset {record.offset} is another record")


def send_again(manifest):
    """The ledger's records to the topic, each where it was."""
    landed = {int(partition): end for partition, end in manifest["landed"].items()}
    ledger = deltalake.DeltaTable(f"{feed.HDFS}{UNPACKED}/messages").to_pyarrow_dataset()
    holes = {partition: holes_end(ledger, partition, end) for partition, end in landed.items()}
    limit = max(KAFKA_LIMIT, largest_record(ledger) + OVERHEAD)
    with contextlib.closing(feed.kafka_admin()) as admin:
        if feed.topic_id() is None:  # as make topic makes it; the partitions are the feed's
            # Each record keeps its own time, and is as large as it was; what the topic's settings say beyond that comes at the end.
            admin.create_topics({feed.TOPIC: {"num_partitions": manifest["partitions"], "replication_factor": int(os.environ["REPLICATION"]),
                                              "configs": {"retention.ms": "-1", "max.message.bytes": str(limit), "message.timestamp.type": "CreateTime"}}}, wait_for_metadata=True)
            print(f"created topic {feed.TOPIC} with {manifest['partitions']} partition(s)")
        ends = feed.end_offsets()
        if any(partition not in ends for partition in landed):
            other_topic(f"it has {len(ends)} partition(s), the feed has {manifest['partitions']}")
        compare(ledger, holes, landed)
        total, sent = sum(max(0, end - ends[partition]) for partition, end in landed.items()), 0
        more, waiting = progress(total, "sent", "records", 1), []
        producer = KafkaProducer(bootstrap_servers=feed.KAFKA, acks="all", enable_idempotence=True, linger_ms=20, batch_size=2**18, max_request_size=2 * limit, **kafka_client.for_python())

        def settle():
            for partition, offset, future in waiting:
                given = future.get(timeout=60).offset
                if given != offset:
                    other_topic(f"the record of partition {partition}, offset {offset} came to lie at {given}: somebody else publishes to it now")
            more(len(waiting))
            waiting.clear()

        for partition, end in sorted(landed.items()):
            # A hole is filled for a moment, for offsets are given one after the other.
            empty = ((offset, None, None, None) for offset in range(ends[partition], holes[partition]))
            for offset, key, value, milliseconds in itertools.chain(empty, ledger_rows(ledger, partition, max(ends[partition], holes[partition]), end)):
                waiting.append((partition, offset, producer.send(feed.TOPIC, key=key, value=value, partition=partition, timestamp_ms=milliseconds)))
                sent += 1
                if len(waiting) == 1000:
                    settle()
            settle()
            if holes[partition] > feed.beginning_offsets()[partition]:
                admin.delete_records({TopicPartition(feed.TOPIC, partition): holes[partition]})
        producer.close()
        settings = {name: value for name, value in manifest.get("topic_settings", {}).items() if name != "max.message.bytes" or int(value) > limit}
        if settings:
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, feed.TOPIC, settings)])
    print(f"sent the ledger's records to topic {feed.TOPIC} on {feed.KAFKA}, each to its old offset: {sent:,} of {sum(landed.values()):,}{'' if sent == sum(landed.values()) else '; the others were there'}")


def restore(path):
    begin = time.monotonic()
    manifest = read_manifest(path)
    if manifest["feed"] != feed.TOPIC:
        raise feed.Failure(f"{path} is a backup of feed {manifest['feed']}, not of {feed.TOPIC}", "a feed keeps its name", f"make restore TOPIC={manifest['feed']} BACKUP={path}")
    if feed.exists(FOLDER):
        raise feed.Failure(f"feed {feed.TOPIC} is there already; nothing was restored", f"{feed.HDFS}{FOLDER}", f"to put the backup in its place: make shell, then: hadoop fs -mv {FOLDER} {FOLDER}_old; then again")
    unpack(path, manifest)
    topic_id = feed.topic_id()
    if topic_id == manifest["topic_id"]:
        print(f"topic {feed.TOPIC} on {feed.KAFKA} is the one that the feed was landed from")
    else:
        send_again(manifest)
        deltalake.DeltaTable(f"{feed.HDFS}{UNPACKED}/messages").alter.set_table_properties({feed.TOPIC_ID: feed.topic_id()}, raise_if_not_exists=False)
        # It may have planned to land what was in the old topic only.
        feed.hdfs().delete(f"{UNPACKED}/_checkpoint", recursive=True)
    feed.hdfs().rename(UNPACKED, FOLDER)
    print(f"restored feed {feed.TOPIC} as it was at {manifest['made']}, landed up to {manifest['landed'] or 'nothing'}, in {time.monotonic() - begin:.1f} s; to go on: make land{KNOB}")


def main(verb):
    path = os.environ["BACKUP"] or f"data/{feed.TOPIC}.tar"
    with feed.the_only_one():
        {"backup": backup, "restore": restore}[verb](path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["backup", "restore"])
    with feed.report_failures():
        main(parser.parse_args().verb)
