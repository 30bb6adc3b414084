"""Text for people: safe to print, and progress of long work.

As a filter, for the output of other programs (make consume), it prints the first 20 lines, and the
first 300 characters of each:
    … | scripts/env.sh python -m pipeline.text
"""

import sys
import time
from collections.abc import Callable

MOST_LINES, MOST_CHARACTERS = 20, 300
REPORT_EVERY_S = 5


def printable(text: str, keep: str = "") -> str:
    """The text with unprintable characters as escapes (\\x1b), except for those in `keep`.

    Needed wherever published texts are printed: control characters could control the terminal.
    """
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text
    )


def report_timer() -> Callable[[], bool]:
    """A function that returns True when a progress line is due, and starts the next interval."""
    last_report = time.monotonic()

    def due() -> bool:
        nonlocal last_report
        if time.monotonic() - last_report <= REPORT_EVERY_S:
            return False
        last_report = time.monotonic()
        return True

    return due


def progress(
    total: int, verb: str, unit: str = "MB", scale: float = 1e6
) -> Callable[[float], None]:
    """A function to call with each amount done. It prints the sum from time to time."""
    done, due = 0.0, report_timer()

    def more(amount: float) -> None:
        nonlocal done
        done += amount
        if due():
            print(
                f"  {done / scale:>11,.0f} of {total / scale:,.0f} {unit} {verb}", file=sys.stderr
            )

    return more


if __name__ == "__main__":
    # Read to the end, because the program before us would fail with a broken pipe.
    lines = sys.stdin.buffer.read().decode(errors="backslashreplace").removesuffix("\n").split("\n")
    for line in lines[:MOST_LINES]:
        print(printable(line[:MOST_CHARACTERS]))
