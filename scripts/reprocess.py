"""Rebuild the tables from the ledger after a rule changed, without Kafka; readers continue.

Run by: make reprocess
    scripts/lib/env.sh python scripts/reprocess.py
"""

import errors
import knobs
import rebuild
import spark_session
import writing


def main():
    try:
        with writing.feed_lock():
            rebuild.rebuild()
    except errors.Failure:
        raise
    except Exception as error:
        errors.log_trace()
        raise errors.interrupted(
            "reprocessing",
            error,
            spark_session.cause(error),
            "no attempt lacks a child",
            f"make reprocess{knobs.of_feed()} does it again",
        ) from None


if __name__ == "__main__":
    errors.run(main)
