"""Sends the file to the topic: one message an attempt, keyed by keen_id, by jq and kcat.

Run by: make publish [DATA=file] [TOPIC=name] [FORCE=1]
    scripts/env.sh python scripts/publish.py

A record that cannot be read is named by its number; the rest is sent, and the exit is not zero. A
file that is there already, whole, is not sent again (FORCE=1: it is). What was sent half is sent
again from the start: landing knows duplicates.
"""

from pipeline import script
from pipeline.publishing import data_file, publish
from pipeline.settings import Settings


def main(settings: Settings) -> None:
    feed, path = settings.feed(), settings.data
    publish.check(feed, path)
    data_file.check(feed, path)
    if settings.force or not publish.is_there(feed, path):
        publish.send(feed, path)


if __name__ == "__main__":
    script.run(main)
