"""Restores a feed from the file of a backup."""

import os
import shlex
import shutil
import time

import deltalake
import hdfs_native

from pipeline.backup import archive
from pipeline.backup.archive import Hashed, Manifest
from pipeline.backup.replay import Replay
from pipeline.errors import Failure
from pipeline.kafka import topics
from pipeline.settings import Feed
from pipeline.tables import delta, hdfs
from pipeline.tables.lock import feed_lock

CHUNK = 4 * 2**20  # bytes


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


def check_place(feed: Feed, path: str, manifest: Manifest) -> None:
    """Failure when the backup is of another feed, or the feed is there already."""
    if manifest.feed != feed.topic:
        again = {"TOPIC": manifest.feed, "BACKUP": shlex.quote(path)}
        raise Failure(
            f"{path} is a backup of feed {manifest.feed}, not of {feed.topic}",
            "a feed keeps its name",
            feed.settings.make("restore", **again),
        )
    if hdfs.exists(feed.hdfs, feed.folder()):
        raise Failure(
            f"feed {feed.topic} is there already; nothing was restored",
            f"{feed.hdfs}{feed.folder()}",
            f"to put the backup in its place: {feed.make('shell')}, then: hadoop fs -mv "
            f"{feed.folder()} {feed.folder()}_old; then: {feed.make('restore', 'BACKUP')}",
        )


def unpack(feed: Feed, path: str, manifest: Manifest, folder: str) -> None:
    """Writes the feed's files to the folder. Failure, and no folder, when the backup is damaged."""
    client = hdfs.client(feed.hdfs)
    client.delete(folder, recursive=True)
    # A backup holds no owners. On a cluster nobody else reads the feed until the operator says who.
    mode = 0o700 if feed.settings.stack == "cluster" else 0o755
    client.mkdirs(folder, mode, create_parent=True)

    def save(name: str, reader: Hashed) -> None:
        # Folders that create() makes may be entered by their owner only.
        client.mkdirs(os.path.dirname(f"{folder}/{name}"), 0o755, create_parent=True)
        overwrite = hdfs_native.WriteOptions(overwrite=True)
        with client.create(f"{folder}/{name}", overwrite) as out:
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


def connect_to_topic(feed: Feed, manifest: Manifest, folder: str) -> None:
    """Sends the unpacked ledger's records to a new topic, unless Kafka holds the feed's own."""
    topic, kafka = feed.topic, feed.settings.kafka
    if topics.topic_id(feed) == manifest.topic_id:
        print(f"topic {topic} on {kafka} is the one that the feed was landed from")
        return
    ledger = deltalake.DeltaTable(f"{feed.hdfs}{folder}/messages")
    Replay(feed, manifest, ledger.to_pyarrow_dataset()).send()
    ledger.alter.set_table_properties(
        {delta.TOPIC_ID: topics.topic_id(feed) or ""}, raise_if_not_exists=False
    )
    # The checkpoint may have planned a batch with records that only the old topic has.
    hdfs.client(feed.hdfs).delete(f"{folder}/_checkpoint", recursive=True)
