"""Back up one feed to one file: its tables and the committed position.

Run by: make backup [TOPIC=…] [BACKUP=file]
    scripts/env.sh python scripts/backup.py

The file's format: pipeline/backup/archive.py. A backup neither needs Kafka nor holds records that
are not landed yet.
"""

from pipeline import script
from pipeline.backup.backup import backup
from pipeline.settings import Settings


def main(settings: Settings) -> None:
    backup(settings.feed())


if __name__ == "__main__":
    script.run(main)
