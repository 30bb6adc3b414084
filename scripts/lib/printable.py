"""Makes published texts safe to print: their control characters could control the terminal.

Imported where texts of messages are printed. As a filter, for the output of other programs (make
consume), it prints the first 20 lines, and the first 300 characters of each:
    … | scripts/lib/env.sh python scripts/lib/printable.py
"""

import sys

MOST_LINES, MOST_CHARACTERS = 20, 300


def printable(text: str, keep: str = "") -> str:
    """The text with unprintable characters as escapes (\\x1b), except for those in `keep`."""
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text
    )


if __name__ == "__main__":
    # Read to the end, because the program before us would fail with a broken pipe.
    lines = sys.stdin.buffer.read().decode(errors="backslashreplace").removesuffix("\n").split("\n")
    for line in lines[:MOST_LINES]:
        print(printable(line[:MOST_CHARACTERS]))
