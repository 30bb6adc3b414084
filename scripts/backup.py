"""Back up one feed to one file: its tables and the committed position.

Run by: make backup [TOPIC=…] [BACKUP=file]
    scripts/lib/env.sh python scripts/backup.py

The file's format: lib/archive_file.py. A backup neither needs Kafka nor holds records that are
not landed yet.
"""

import contextlib
import datetime
import hashlib
import io
import json
import os
import tarfile
import time

import config
import errors
import knobs
import lake
import topics
import writing
from archive_file import FORMAT, Hashed, path, progress, read_manifest


def ends_and_settings():
    """({partition: end}, the topic's own settings), or (None, {}) when Kafka does not answer."""
    try:
        with contextlib.closing(topics.admin(3)):
            return topics.end_offsets(), topics.settings()
    except Exception:
        return None, {}


def add(archive, name, data):
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o600, int(time.time())
    archive.addfile(info, io.BytesIO(data))


def write_archive(path, manifest, files, more):
    """files: [(path in HDFS, size)]; more: called with each number of bytes written."""
    sums = []
    with open(path, "wb") as out:
        with tarfile.open(fileobj=out, mode="w") as archive:
            text = json.dumps(manifest, indent=1).encode()
            add(archive, "manifest.json", text)
            sums.append(f"{hashlib.sha256(text).hexdigest()}  manifest.json\n")
            for name, size in files:
                info = tarfile.TarInfo("feed/" + name.removeprefix(lake.folder() + "/"))
                info.size, info.mode, info.mtime = size, 0o600, int(time.time())
                with lake.hdfs().read(name) as file:
                    reader = Hashed(file, more)
                    archive.addfile(info, reader)
                sums.append(f"{reader.hash.hexdigest()}  {info.name}\n")
            add(archive, "SHA256SUMS", "".join(sums).encode())
        out.flush()
        os.fsync(out.fileno())


def backup(path):
    begin = time.monotonic()
    landed = lake.landed_offsets()
    if landed is None:
        raise errors.Failure(
            f"there are no tables of feed {config.TOPIC} to back up",
            f"looked in {lake.table_path('')}",
            f"land the feed first: make land{knobs.of_feed()}",
        )
    if lake.exists(lake.folder("_reprocess")):
        raise errors.Failure(
            f"a make reprocess of feed {config.TOPIC} was interrupted",
            f"{lake.folder('_reprocess')} is there",
            f"finish it first: make reprocess{knobs.of_feed()}",
        )
    if os.path.exists(path) and read_manifest(path)["feed"] != config.TOPIC:
        raise errors.Failure(
            f"{path} is a backup of another feed",
            f"of {read_manifest(path)['feed']}",
            f"name another file: make backup{knobs.of_feed()} BACKUP=…",
        )
    ends, settings = ends_and_settings()
    ahead = sum(end - landed.get(partition, 0) for partition, end in (ends or {}).items())
    if ahead > 0:
        print(
            f"note: {ahead:,} records of topic {config.TOPIC} are not landed yet, "
            f"and so not in the backup (make land{knobs.of_feed()} first takes them in)"
        )
    entries = lake.hdfs().list_status(lake.folder(), recursive=True)
    files = [(entry.path, entry.length) for entry in entries if not entry.isdir]
    total = sum(size for _, size in files)
    manifest = {
        "format": FORMAT,
        "feed": config.TOPIC,
        "topic_id": lake.open_table("messages").metadata().configuration[lake.TOPIC_ID],
        "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "partitions": len(ends) if ends else max(landed, default=0) + 1,
        "topic_settings": settings,
        "landed": {str(partition): end for partition, end in sorted(landed.items())},
        "files": {name.removeprefix(lake.folder() + "/"): size for name, size in files},
    }
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    # An interrupted backup leaves the previous file as it was.
    new = f"{path}.{os.getpid()}.new"
    try:
        write_archive(new, manifest, files, progress(total, "written"))
        os.replace(new, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(new)
    print(
        f"{path}: feed {config.TOPIC}, {len(files)} files, {total / 1e6:,.1f} MB, "
        f"landed up to {landed or 'nothing'}, in {time.monotonic() - begin:.1f} s"
    )
    print(
        f"to have it back, here or in another stack: make restore{knobs.of_feed()}"
        f"{knobs.changed('BACKUP')}"
    )


def main():
    with writing.feed_lock():
        backup(path())


if __name__ == "__main__":
    errors.run(main)
