"""What others published, made safe to print: a control character could command the terminal, others turn the line round.

Imported where texts of messages are printed. As a filter, for what another program prints (make consume):
    … | scripts/env.sh python scripts/printable.py
prints the first 20 lines, the first 300 characters of each.
"""
import sys

MOST_LINES, MOST_CHARACTERS = 20, 300


def printable(text, keep=""):
    """The text with each character that is not printable spelt as an escape (\\x1b), but for those in keep."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


if __name__ == "__main__":
    # All of it is read, or the program before us would be told that its reader is gone.
    lines = sys.stdin.buffer.read().decode(errors="backslashreplace").removesuffix("\n").split("\n")
    for line in lines[:MOST_LINES]:
        print(printable(line[:MOST_CHARACTERS]))
