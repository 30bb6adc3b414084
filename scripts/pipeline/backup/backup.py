"""Writes a feed to the file of a backup, and restores it from there."""

import contextlib
import dataclasses
import datetime
import os
import shlex
import shutil
import time

import deltalake

from pipeline.backup import archive
from pipeline.backup.replay import Replay
from pipeline.errors import Failure
from pipeline.kafka import topics
from pipeline.message.declaration import TABLES
from pipeline.settings import Feed
from pipeline.tables import commits, delta, hdfs, position
from pipeline.tables.lock import feed_lock

CHUNK = 4 * 2**20  # bytes


def backup(feed: Feed) -> None:
    """Backs up the feed, and prints what it wrote."""
    with feed_lock(feed):
        begin, path = time.monotonic(), archive.path(feed)
        manifest = manifest_of(feed, path)
        client = hdfs.client(feed.hdfs)
        archive.write(path, manifest, lambda name: client.read(feed.folder(name)))
    landed = {int(partition): end for partition, end in manifest.landed.items()}
    print(
        f"{path}: feed {feed.topic}, {len(manifest.files)} files, "
        f"{sum(manifest.files.values()) / 1e6:,.1f} MB, "
        f"landed up to {landed or 'nothing'}, in {time.monotonic() - begin:.1f} s"
    )
    print(f"to have it back, here or in another stack: {feed.make('restore', 'BACKUP')}")


def manifest_of(feed: Feed, path: str) -> archive.Manifest:
    """What there is to back up to this file. Failure when that cannot be done now."""
    landed = position.landed_offsets(feed)
    if landed is None:
        raise Failure(
            f"there are no tables of feed {feed.topic} to back up",
            f"looked in {feed.path()}",
            f"land the feed first: {feed.make('land')}",
        )
    if hdfs.exists(feed.hdfs, feed.folder("_reprocess")):
        raise Failure(
            f"a make reprocess of feed {feed.topic} was interrupted",
            f"{feed.folder('_reprocess')} is there",
            f"finish it first: {feed.make('reprocess')}",
        )
    if os.path.exists(path) and (other := archive.read_manifest(path, feed).feed) != feed.topic:
        raise Failure(
            f"{path} is a backup of another feed",
            f"of {other}",
            f"name another file: {feed.make('backup', BACKUP='…')}",
        )
    ends, settings = dict[int, int](), dict[str, str]()  # of the topic, if Kafka answers
    with contextlib.suppress(Exception), contextlib.closing(topics.admin(feed.settings, 3)):
        ends, settings = topics.end_offsets(feed), topics.topic_settings(feed)
    ahead = sum(end - landed.get(partition, 0) for partition, end in ends.items())
    if ahead > 0:
        print(
            f"note: {ahead:,} records of topic {feed.topic} are not landed yet, "
            f"and so not in the backup ({feed.make('land')} first takes them in)"
        )
    ledger = delta.existing_table(feed, "messages")
    found, prefix = hdfs.client(feed.hdfs).list_status(feed.folder(), True), len(feed.folder()) + 1
    return archive.Manifest(
        feed=feed.topic,
        topic_id=ledger.metadata().configuration[delta.TOPIC_ID],
        made=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        partitions=len(ends) or max(landed, default=0) + 1,
        topic_settings=settings,
        landed={str(partition): end for partition, end in sorted(landed.items())},
        files={each.path[prefix:]: each.length for each in found if not each.isdir},
    )


def restore(feed: Feed) -> None:
    """Restores the feed, with its topic where Kafka does not hold it, and prints what it did."""
    with feed_lock(feed):
        begin, path = time.monotonic(), archive.path(feed)
        manifest = archive.read_manifest(path, feed)
        check_place(feed, path, manifest)
        # No feed has such a name: a topic's name starts with a letter.
        folder = f"{feed.warehouse}/_restore_{feed.topic}"
        unpack(feed, path, manifest, folder)
        connect_to_topic(feed, manifest, folder)
        hdfs.client(feed.hdfs).rename(folder, feed.folder())
    if feed.settings.stack == "cluster":
        print(
            f"only this account reads {feed.folder()} now. The operator lets the feed's group in "
            f"again: make customer STACK=cluster CLIENT_CONF=… NAME={feed.topic}"
        )
    print(
        f"restored feed {feed.topic} as it was at {manifest.made}, "
        f"landed up to {manifest.landed or 'nothing'}, "
        f"in {time.monotonic() - begin:.1f} s; to go on: {feed.make('land')}"
    )


def check_place(feed: Feed, path: str, manifest: archive.Manifest) -> None:
    """Failure when the backup is of another feed, or the feed is there already."""
    if manifest.feed != feed.topic:
        raise Failure(
            f"{path} is a backup of feed {manifest.feed}, not of {feed.topic}",
            "a feed keeps its name",
            feed.settings.make("restore", TOPIC=manifest.feed, BACKUP=shlex.quote(path)),
        )
    if hdfs.exists(feed.hdfs, feed.folder()):
        raise Failure(
            f"feed {feed.topic} is there already; nothing was restored",
            f"{feed.hdfs}{feed.folder()}",
            f"to put the backup in its place: {feed.make('shell')}, then: hadoop fs -mv "
            f"{feed.folder()} {feed.folder()}_old; then: {feed.make('restore', 'BACKUP')}",
        )


def unpack(feed: Feed, path: str, manifest: archive.Manifest, folder: str) -> None:
    """Writes the feed's files to the folder. Failure, and no folder, when the backup is damaged."""
    client = hdfs.client(feed.hdfs)
    client.delete(folder, recursive=True)
    # A backup holds no owners. On a cluster nobody else reads the feed until the operator says who.
    mode = 0o700 if feed.settings.stack == "cluster" else 0o755
    client.mkdirs(folder, mode, create_parent=True)

    def save(name: str, reader: archive.Hashed) -> None:
        # Folders that create() makes may be entered by their owner only.
        client.mkdirs(os.path.dirname(f"{folder}/{name}"), 0o755, create_parent=True)
        with hdfs.NewFile(client, f"{folder}/{name}", overwrite=True) as out:
            shutil.copyfileobj(reader, out, CHUNK)

    try:
        archive.read(path, manifest, save)
    except archive.DAMAGES as error:
        client.delete(folder, recursive=True)
        raise Failure(
            f"{path} is damaged; nothing was restored",
            str(error),
            f"take another copy of it: {feed.make('restore', BACKUP='…')}",
        ) from None


def connect_to_topic(feed: Feed, manifest: archive.Manifest, folder: str) -> None:
    """Sends the unpacked ledger's records to a new topic, unless Kafka holds the feed's own."""
    topic, kafka = feed.topic, feed.settings.kafka
    if topics.topic_id(feed) == manifest.topic_id:
        print(f"topic {topic} on {kafka} is the one that the feed was landed from")
        return
    ledger = deltalake.DeltaTable(f"{feed.hdfs}{folder}/messages")
    Replay(feed, manifest, ledger.to_pyarrow_dataset()).send()
    new_id = {delta.TOPIC_ID: topics.topic_id(feed) or ""}
    ledger.alter.set_table_properties(new_id, raise_if_not_exists=False)
    # An interrupted batch may have left rows of records that only the old topic has.
    restored = dataclasses.replace(feed, topic=os.path.basename(folder))
    if len(tables := delta.open_tables(restored)) == len(TABLES):
        landed = {int(partition): end for partition, end in manifest.landed.items()}
        commits.delete_uncommitted_rows(restored, tables, landed)
