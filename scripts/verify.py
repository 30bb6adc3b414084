"""Reconcile: file = topic = ledger = tables.

Prints both numbers of each check; non-zero when two differ.

Run by: make verify
    scripts/env.sh python scripts/verify.py
"""

import os
from collections import Counter

from pipeline import script
from pipeline.monitoring import undeclared, verify
from pipeline.monitoring.verify import Check
from pipeline.settings import Settings
from pipeline.text import printable

MOST_FIELDS = 20  # undeclared fields that are listed


def print_check(check: Check) -> None:
    a, b = check.left_number, check.right_number
    numbers = f"{a:>10,} {check.left:<16} {b:>10,} {check.right:<31}"
    verdict = "ok" if a == b else f"DIFFERS by {b - a:+,}"
    print(f"{check.what:<40} {numbers} {verdict}{check.remark}", flush=True)


def print_undeclared(fields: Counter[str]) -> None:
    print(f"\naccepted messages with undeclared fields ({len(fields):,} fields)")
    for field, number in sorted(fields.items(), key=lambda each: (-each[1], each[0]))[:MOST_FIELDS]:
        print(f"{printable(field)[:56]:<56} {number:>10,}")
    if len(fields) > MOST_FIELDS:
        print(f"… and {len(fields) - MOST_FIELDS:,} more")


def main(settings: Settings) -> None:
    feed = settings.feed()
    reconciliation = verify.Reconciliation(feed)
    if not os.path.isfile(settings.data):
        print(f"{'file = topic':<40} not checked: there is no file {settings.data}")
    mends = []  # one for each difference
    for check in reconciliation.checks():
        print_check(check)
        if check.left_number != check.right_number:
            mends.append(check.mend)
    for note in reconciliation.notes:
        print(note)
    print("\nverdicts in the ledger")
    for status, reason, number in reconciliation.verdicts():
        print(f"{status:<12} {printable(reason):<18} {number:>10,}")
    if fields := undeclared.count(reconciliation.ledger):
        print_undeclared(fields)
    if mends:
        raise verify.failure(feed, mends)


if __name__ == "__main__":
    script.run(main)
