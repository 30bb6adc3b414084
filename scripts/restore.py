"""Restore a feed from its backup, into this stack or an empty one.

Run by: make restore [TOPIC=…] [BACKUP=file]
    scripts/env.sh python scripts/restore.py

The whole file is checked before the feed appears. If Kafka holds the topic that the feed was
landed from, landing continues at the committed position. Otherwise the ledger's records are sent
to the topic first (pipeline/backup/replay.py). The file's format: pipeline/backup/archive.py.
"""

from pipeline import script
from pipeline.backup.backup import restore
from pipeline.settings import Settings


def main(settings: Settings) -> None:
    restore(settings.feed())


if __name__ == "__main__":
    script.run(main)
