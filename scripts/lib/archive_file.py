"""The file of a backup: written by backup.py, read by restore.py.

A tar archive of manifest.json (the feed, its topic's id, the committed position, each file with
its size), the files of the feed's folder in HDFS below feed/, and SHA256SUMS.
"""

import hashlib
import json
import sys
import tarfile
from collections.abc import Callable
from typing import BinaryIO

import config
import intervals
import knobs
from errors import Failure

FORMAT = 1


def path() -> str:
    """The knob BACKUP, or its default."""
    return config.BACKUP or f"data/{config.TOPIC}.tar"


class Hashed:
    """A reader that hashes what passes, and calls progress(bytes) with each amount."""

    def __init__(self, file: BinaryIO, progress: Callable[[int], None]):
        self.file, self.hash, self.progress = file, hashlib.sha256(), progress

    def read(self, size: int) -> bytes:
        data = bytes(self.file.read(size))
        self.hash.update(data)
        self.progress(len(data))
        return data


def progress(
    total: int, verb: str, unit: str = "MB", scale: float = 1e6
) -> Callable[[float], None]:
    """A function to call with each amount done. It prints the sum from time to time."""
    done, due = 0, intervals.report_timer()

    def more(amount):
        nonlocal done
        done += amount
        if due():
            print(
                f"  {done / scale:>11,.0f} of {total / scale:,.0f} {unit} {verb}", file=sys.stderr
            )

    return more


def read_manifest(path: str) -> dict:
    """The manifest of a backup. Failure when there is no file, or when it is not a backup."""
    try:
        with tarfile.open(path, "r:") as archive:
            member = archive.next()
            if member is None or member.name != "manifest.json":
                raise tarfile.TarError("it does not begin with manifest.json")
            manifest = json.load(archive.extractfile(member))
    except FileNotFoundError:
        raise Failure(
            f"there is no file {path}",
            "it was named as BACKUP, or is its default",
            f"make restore{knobs.of_feed()} BACKUP=/path/to/the/file",
        ) from None
    except (tarfile.TarError, ValueError, IsADirectoryError) as error:
        raise Failure(
            f"{path} is not a backup of a feed", str(error), "name another file: BACKUP=…"
        ) from None
    if manifest.get("format") != FORMAT:
        raise Failure(
            f"{path} is a backup of another version",
            f"its format is {manifest.get('format')}, known here is {FORMAT}",
            "restore it with the scripts it was made with",
        )
    return manifest
