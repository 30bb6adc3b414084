"""The lock of a feed: one process at a time writes its tables."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator

from pipeline import files
from pipeline.errors import Failure
from pipeline.message.declaration import TABLES
from pipeline.settings import Feed
from pipeline.tables import hdfs

# When space is free again, the NameNode leaves safe mode by itself (hdfs-site.xml: within 1 s).
SAFE_MODE_ENDS_WITHIN_S = 10
FOLLOW = "follow.py"  # holds the lock for each landing only, and waits for it


@contextlib.contextmanager
def feed_lock(feed: Feed, waits: bool = True) -> Iterator[None]:
    """Holds the feed's lock while the block runs. Failure when another process holds it.

    Two concurrent landings would repeat each other's batches. make follow waits for the other
    process, where it may; that one waits for a landing of make follow.
    """
    me = os.path.basename(sys.argv[0])

    def when_held(holder: str) -> None:
        limit = time.monotonic() + 1
        while not holder and time.monotonic() < limit:  # it is about to write its name
            time.sleep(0.05)
            holder = path.read_text(encoding="utf-8").strip()
        holder = holder or "a process whose name is not known"
        if not waits or (me != FOLLOW and not holder.startswith(f"{FOLLOW},")):
            raise Failure(
                f"feed {feed.topic} is being written already",
                f"by {holder}",
                "wait until it is done, then again",
            )
        print(f"waiting for {holder}, which writes feed {feed.topic}", flush=True)

    path = feed.settings.in_run_dir(f"writing-{feed.topic}.lock")
    with files.locked(path, when_held) as lock:
        lock.truncate(0)
        print(f"{me}, pid {os.getpid()}", file=lock, flush=True)
        delete_interrupted_commits(feed)
        yield


def delete_interrupted_commits(feed: Feed) -> None:
    """Deletes commit files that a killed writer left half-written in the tables' logs.

    HDFS would reject the next commit, a file of that name, until the old one's lease expires.
    """
    client = hdfs.client(feed.hdfs)

    def interrupted(table: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            log = client.list_status(feed.folder(f"{table}/_delta_log"))
            return [file.path for file in log if ".tmp." in file.path]
        return []

    left: list[str] = sum(hdfs.at_once(interrupted, TABLES), [])
    give_up = time.monotonic() + SAFE_MODE_ENDS_WITHIN_S
    while left:
        try:
            client.delete(left[-1])
            left.pop()
        except RuntimeError as error:
            if "SafeModeException" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.5)
