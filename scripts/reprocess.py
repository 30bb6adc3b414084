"""Rebuild the tables from the ledger after a rule changed, without Kafka; readers continue.

Run by: make reprocess
    scripts/env.sh python scripts/reprocess.py
"""

from pipeline import script
from pipeline.errors import Failure
from pipeline.landing import rebuild
from pipeline.settings import Settings
from pipeline.spark import session
from pipeline.tables.lock import feed_lock


def main(settings: Settings) -> None:
    feed = settings.feed()
    try:
        with feed_lock(feed):
            rebuild.rebuild(feed)
    except Failure:
        raise
    except Exception as error:
        raise script.interrupted(
            "reprocessing",
            session.jvm_ended(error) or error,
            "no attempt lacks a child",
            f"{feed.make('reprocess')} does it again",
            settings,
        ) from None


if __name__ == "__main__":
    script.run(main)
