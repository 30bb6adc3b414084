"""When long work reports its progress: at most every REPORT_EVERY_S seconds."""

import time
from collections.abc import Callable

REPORT_EVERY_S = 5


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
