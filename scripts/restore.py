"""Restore a feed from its backup, into this stack or an empty one.

Run by: make restore [TOPIC=…] [BACKUP=file]
    scripts/lib/env.sh python scripts/restore.py

The whole file is checked before the feed appears. If Kafka holds the topic that the feed was
landed from, landing continues at the committed position. Otherwise the ledger's records are sent
to the topic first (lib/replay.py). The file's format: lib/archive_file.py.
"""

import hashlib
import pathlib
import shlex
import tarfile
import time

import deltalake
import hdfs_native

import config
import errors
import knobs
import lake
import replay
import topics
import writing
from archive_file import Hashed, path, progress, read_manifest

CHUNK = 4 * 2**20  # bytes


def unpacked() -> str:
    """The folder to unpack into. No feed has such a name: a topic's name starts with a letter."""
    return f"{config.WAREHOUSE}/_restore_{config.TOPIC}"


def unpack(path, manifest):
    """Writes the feed's files to unpacked(). Checks the hash of each, and of the manifest."""
    client, sums, found, made = lake.hdfs(), {}, {}, set()
    client.delete(unpacked(), recursive=True)
    # A backup holds no owners. On a cluster nobody else reads the feed until the operator says who.
    mode = 0o700 if config.STACK == "cluster" else 0o755
    client.mkdirs(unpacked(), mode, create_parent=True)
    more = progress(sum(manifest["files"].values()), "read")
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                data = archive.extractfile(member)
                name = member.name.removeprefix("feed/")
                if member.name == "SHA256SUMS":
                    lines = data.read().decode().splitlines()
                    sums = {line.split("  ", 1)[1]: line.split("  ", 1)[0] for line in lines}
                elif member.name == "manifest.json":
                    found[member.name] = hashlib.sha256(data.read()).hexdigest()
                elif (
                    member.name.startswith("feed/")
                    and name in manifest["files"]
                    and ".." not in name.split("/")
                ):
                    # Folders that create() makes may be entered by their owner only.
                    for folder in reversed(pathlib.PurePosixPath(name).parents[:-1]):
                        if folder not in made:
                            client.mkdirs(f"{unpacked()}/{folder}", 0o755)
                            made.add(folder)
                    reader = Hashed(data, more)
                    overwrite = hdfs_native.WriteOptions(overwrite=True)
                    with client.create(f"{unpacked()}/{name}", overwrite) as out:
                        while chunk := reader.read(CHUNK):
                            out.write(chunk)
                    found[member.name] = reader.hash.hexdigest()
    except (tarfile.TarError, EOFError, ValueError, IndexError) as error:
        damaged(path, str(error))
    wanted = {"manifest.json", *(f"feed/{name}" for name in manifest["files"])}
    if set(found) != wanted or found != sums:
        different = sorted(
            name for name in wanted if found.get(name) is None or found[name] != sums.get(name)
        )
        damaged(
            path,
            f"{len(different)} of its {len(wanted)} files are missing or changed, "
            f"the first is {different[0] if different else 'SHA256SUMS'}",
        )


def damaged(path, why):
    """Deletes what was unpacked, and raises a Failure."""
    lake.hdfs().delete(unpacked(), recursive=True)
    raise errors.Failure(
        f"{path} is damaged; nothing was restored",
        why,
        f"take another copy of it: make restore{knobs.of_feed()} BACKUP=…",
    )


def restore(path):
    begin = time.monotonic()
    manifest = read_manifest(path)
    if manifest["feed"] != config.TOPIC:
        raise errors.Failure(
            f"{path} is a backup of feed {manifest['feed']}, not of {config.TOPIC}",
            "a feed keeps its name",
            f"make restore{knobs.of_stack()} TOPIC={manifest['feed']} BACKUP={shlex.quote(path)}",
        )
    if lake.exists(lake.folder()):
        raise errors.Failure(
            f"feed {config.TOPIC} is there already; nothing was restored",
            f"{config.HDFS}{lake.folder()}",
            f"to put the backup in its place: make shell{knobs.of_feed()}, then: hadoop fs -mv "
            f"{lake.folder()} {lake.folder()}_old; "
            f"then: make restore{knobs.of_feed()}{knobs.changed('BACKUP')}",
        )
    unpack(path, manifest)
    topic_id = topics.topic_id()
    if topic_id == manifest["topic_id"]:
        print(f"topic {config.TOPIC} on {config.KAFKA} is the one that the feed was landed from")
    else:
        ledger = f"{config.HDFS}{unpacked()}/messages"
        replay.send(manifest, ledger)
        deltalake.DeltaTable(ledger).alter.set_table_properties(
            {lake.TOPIC_ID: topics.topic_id()}, raise_if_not_exists=False
        )
        # The checkpoint may have planned a batch with records that only the old topic has.
        lake.hdfs().delete(f"{unpacked()}/_checkpoint", recursive=True)
    lake.hdfs().rename(unpacked(), lake.folder())
    if config.STACK == "cluster":
        print(
            f"only this account reads {lake.folder()} now. The operator lets the feed's group in "
            f"again: make customer STACK=cluster CLIENT_CONF=… NAME={config.TOPIC}"
        )
    print(
        f"restored feed {config.TOPIC} as it was at {manifest['made']}, "
        f"landed up to {manifest['landed'] or 'nothing'}, "
        f"in {time.monotonic() - begin:.1f} s; to go on: make land{knobs.of_feed()}"
    )


def main():
    with writing.feed_lock():
        restore(path())


if __name__ == "__main__":
    errors.run(main)
