"""The file of a backup.

A tar archive of manifest.json (the feed, its topic's id, the committed position, each file with
its size), the files of the feed's folder in HDFS below feed/, and SHA256SUMS.
"""

import dataclasses
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Callable
from typing import Any

from pipeline import VERSION, files
from pipeline.errors import Failure
from pipeline.settings import Feed
from pipeline.text import progress

FORMAT = 1
MANIFEST, FEED, SUMS = "manifest.json", "feed/", "SHA256SUMS"
DAMAGES = tarfile.TarError, EOFError, ValueError  # what reading a damaged file raises


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The content of manifest.json, besides its format and the version that made it."""

    feed: str
    topic_id: str
    made: str  # when, in ISO 8601
    partitions: int
    topic_settings: dict[str, str]
    landed: dict[str, int]  # {partition: committed position}
    files: dict[str, int]  # {path in the feed's folder: bytes}


class Hashed:
    """A reader that hashes what passes, and calls more(bytes)."""

    def __init__(self, file: Any, more: Callable[[float], None]):
        self.file, self.hash, self.more = file, hashlib.sha256(), more

    def read(self, size: int = -1) -> bytes:
        data = bytes(self.file.read(size))
        self.hash.update(data)
        self.more(len(data))
        return data


def path(feed: Feed) -> str:
    """The knob BACKUP, or its default."""
    return feed.settings.backup or f"data/{feed.topic}.tar"


def write(path: str, manifest: Manifest, opened: Callable[[str], Any]) -> None:
    """Writes the file, with opened(name) for each name of the manifest."""
    more = progress(sum(manifest.files.values()), "written")
    with files.replacing(path, "wb") as out, tarfile.open(fileobj=out, mode="w") as archive:

        def add(name: str, size: int, content: Any) -> str:
            """Adds a file. Returns its line in SHA256SUMS."""
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = size, 0o600, int(time.time())
            reader = Hashed(content, more)
            archive.addfile(info, reader)
            return f"{reader.hash.hexdigest()}  {name}\n"

        made_by = {"format": FORMAT, "version": VERSION}
        text = json.dumps(made_by | dataclasses.asdict(manifest), indent=1).encode()
        sums = add(MANIFEST, len(text), io.BytesIO(text))
        for name, size in manifest.files.items():
            with opened(name) as file:
                sums += add(FEED + name, size, file)
        add(SUMS, len(sums.encode()), io.BytesIO(sums.encode()))


def read_manifest(path: str, feed: Feed) -> Manifest:
    """The manifest of a backup. Failure when there is no file, or when it is not a backup."""
    try:
        with tarfile.open(path, "r:") as archive:
            member = archive.next()
            file = archive.extractfile(member) if member and member.name == MANIFEST else None
            if file is None:
                raise tarfile.TarError(f"it does not begin with {MANIFEST}")
            found = {"topic_settings": {}, **json.load(file)}
    except FileNotFoundError:
        raise Failure(
            f"there is no file {path}",
            "it was named as BACKUP, or is its default",
            feed.make("restore", BACKUP="/path/to/the/file"),
        ) from None
    except (*DAMAGES, IsADirectoryError) as error:
        raise Failure(
            f"{path} is not a backup of a feed", str(error), "name another file: BACKUP=…"
        ) from None
    if found.get("format") != FORMAT:
        raise Failure(
            f"{path} is a backup of another version",
            f"its format is {found.get('format')}, known here is {FORMAT}; "
            f"version {found.get('version', 'before 1.0.0')} made it, this is {VERSION}",
            "restore it with the scripts it was made with",
        )
    return Manifest(**{field.name: found[field.name] for field in dataclasses.fields(Manifest)})


def read(path: str, manifest: Manifest, save: Callable[[str, Hashed], None]) -> None:
    """Calls save(name, reader) for each file of the feed; save() reads it to its end.

    Raises one of DAMAGES when a hash is wrong, the manifest's too, or a file is missing.
    """
    more = progress(sum(manifest.files.values()), "read")
    wanted = {MANIFEST, *(FEED + name for name in manifest.files)}
    found, sums = {}, {}
    with tarfile.open(path, "r:") as archive:
        for member in filter(tarfile.TarInfo.isfile, archive):
            reader = Hashed(archive.extractfile(member), more)
            if member.name == SUMS:
                lines = reader.read().decode().splitlines()
                sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
            elif member.name in wanted and ".." not in member.name.split("/"):
                if member.name == MANIFEST:
                    reader.read()
                else:
                    save(member.name.removeprefix(FEED), reader)
                found[member.name] = reader.hash.hexdigest()
    if found.keys() != wanted or found != sums:
        changed = sorted(name for name in wanted if found.get(name, "") != sums.get(name))
        raise tarfile.TarError(
            f"{len(changed)} of its {len(wanted)} files are missing or changed, "
            f"the first is {changed[0] if changed else SUMS}"
        )
