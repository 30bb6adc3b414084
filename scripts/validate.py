"""Names the records of a file that would be rejected, and why, before anything is sent.

Run by: make validate DATA=file     (needs no stack)
    scripts/env.sh python scripts/validate.py

DATA is a data file as publish sends it (a JSON array, or one record a line), or a folder in which
each file is one message. Only landing can find duplicates and conflicts. Memory is constant.
"""

import os

from pipeline import script
from pipeline.errors import Failure
from pipeline.publishing import validation
from pipeline.settings import Settings


def main(settings: Settings) -> None:
    path = settings.data
    if not os.path.exists(path):
        then = f"make data; or name it: {settings.make('validate', DATA='…')}"
        why = "make data could not get it, or DATA names another"
        raise Failure(f"there is no file {path}", why, then)
    verdicts = validation.print_verdicts(path)
    rejected = verdicts.total() - verdicts["accepted"]
    if rejected > validation.NAMED:
        print(f"  and {rejected - validation.NAMED:,} more")
    print(f"{'verdict':<16} {'records':>10}")
    for word in sorted(verdicts, key=lambda word: (word != "accepted", -verdicts[word])):
        print(f"{word:<16} {verdicts[word]:>10,}")
    if rejected:
        raise Failure(
            f"{rejected:,} of the {verdicts.total():,} records of {path} would be rejected",
            f"the first {min(rejected, validation.NAMED)} are named above; "
            "what a message must be: assessment-attempt.schema.json",
            "mend them in the file, then: "
            f"{settings.feed().make('validate', 'DATA')}; nothing was sent",
        )


if __name__ == "__main__":
    script.run(main)
