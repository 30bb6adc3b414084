"""Writes a feed to the file of a backup: its tables and the committed position."""

import contextlib
import datetime
import os
import time

from pipeline.backup import archive
from pipeline.backup.archive import Manifest
from pipeline.errors import Failure
from pipeline.kafka import topics
from pipeline.settings import Feed
from pipeline.tables import delta, hdfs, position
from pipeline.tables.lock import feed_lock


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


def manifest_of(feed: Feed, path: str) -> Manifest:
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
    ends, settings = ends_and_settings(feed)
    ahead = sum(end - landed.get(partition, 0) for partition, end in ends.items())
    if ahead > 0:
        print(
            f"note: {ahead:,} records of topic {feed.topic} are not landed yet, "
            f"and so not in the backup ({feed.make('land')} first takes them in)"
        )
    ledger = delta.existing_table(feed, "messages")
    found = hdfs.client(feed.hdfs).list_status(feed.folder(), recursive=True)
    return Manifest(
        feed=feed.topic,
        topic_id=ledger.metadata().configuration[delta.TOPIC_ID],
        made=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        partitions=len(ends) or max(landed, default=0) + 1,
        topic_settings=settings,
        landed={str(partition): end for partition, end in sorted(landed.items())},
        files={
            each.path.removeprefix(feed.folder() + "/"): each.length
            for each in found
            if not each.isdir
        },
    )


def ends_and_settings(feed: Feed) -> tuple[dict[int, int], dict[str, str]]:
    """({partition: end}, the topic's own settings); empty when Kafka does not answer."""
    try:
        with contextlib.closing(topics.admin(feed.settings, timeout_s=3)):
            return topics.end_offsets(feed), topics.topic_settings(feed)
    except Exception:
        return {}, {}
