"""Reconcile: file = topic = ledger = tables.

Prints both numbers of each check; non-zero when two differ.

Run by: make verify
    scripts/env.sh python scripts/verify.py
"""

import os

from pipeline import script
from pipeline.monitoring import verify
from pipeline.settings import Settings
from pipeline.text import printable

MOST_FIELDS = 20  # undeclared fields that are listed


def main(settings: Settings) -> None:
    feed = settings.feed()
    reconciliation = verify.Reconciliation(feed)
    if not os.path.isfile(settings.data):
        print(f"{'file = topic':<40} not checked: there is no file {settings.data}")
    mends = []  # one for each difference
    for what, left, left_number, right, right_number, mend, remark in reconciliation.checks():
        verdict = "ok"
        if left_number != right_number:
            verdict = f"DIFFERS by {right_number - left_number:+,}"
            mends.append(mend)
        numbers = f"{left_number:>10,} {left:<16} {right_number:>10,} {right:<31}"
        print(f"{what:<40} {numbers} {verdict}{remark}", flush=True)
    for note in reconciliation.notes:
        print(note)
    print("\nverdicts in the ledger")
    for status, reason, number in reconciliation.verdicts():
        print(f"{status:<12} {printable(reason):<18} {number:>10,}")
    if fields := verify.undeclared_fields(reconciliation.ledger):
        print(f"\naccepted messages with undeclared fields ({len(fields):,} fields)")
    in_order = sorted(fields.items(), key=lambda each: (-each[1], each[0]))
    for field, number in in_order[:MOST_FIELDS]:
        print(f"{printable(field)[:56]:<56} {number:>10,}")
    if len(fields) > MOST_FIELDS:
        print(f"… and {len(fields) - MOST_FIELDS:,} more")
    if mends:
        raise verify.failure(feed, mends)


if __name__ == "__main__":
    script.run(main)
