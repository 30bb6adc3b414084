"""Land what is new, again and again, until interrupted: records are visible within seconds.

Run by: make follow
    scripts/env.sh python scripts/follow.py

Each landing is that of make land, with the same guarantees, in a Spark session that stays. The
feed's lock is held for each landing only, so that other targets work beside it. It polls the
topic's end and lands only what is new. It waits for a topic that does not exist yet, and for
servers that do not answer. It ends when make down has stopped the servers.

Ctrl-C and SIGTERM end it with exit code 0: at once while it waits, else after the running landing,
which may take FINISH_LIMIT_S. A second signal, and the end of that time, abandon the landing. That
is as harmless as kill -9: the next landing repeats the batch.
"""

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator

from pipeline import script
from pipeline.landing.batch import session_for_landing
from pipeline.landing.follow import STATUSES, Follower, say
from pipeline.monitoring import prometheus
from pipeline.settings import Settings

FINISH_LIMIT_S = 20
ending = threading.Lock()  # acquired by the thread that ends the process


@contextlib.contextmanager
def own_process_group() -> Iterator[Callable[[], None]]:
    """Gives the terminal to a process group of this process: Ctrl-C does not reach make then.

    make ends with an error when it gets the signal itself. The block cannot be suspended by Ctrl-Z,
    because the user's shell would not notice. Yields a function that gives the terminal back.
    """
    before = os.getpgrp()
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
        if before == os.getpid() or before != os.tcgetpgrp(terminal):
            raise OSError("a process group of its own already, or in the background")
    except OSError:  # or there is no terminal
        yield lambda: None
        return
    for number in signal.SIGTTOU, signal.SIGTSTP:
        signal.signal(number, signal.SIG_IGN)
    os.setpgid(0, 0)
    os.tcsetpgrp(terminal, os.getpgrp())
    try:
        yield lambda: os.tcsetpgrp(terminal, before)
    finally:
        os.tcsetpgrp(terminal, before)


def watch_signals(follower: Follower, give_terminal_back: Callable[[], None]) -> None:
    """Ends the process on SIGINT and SIGTERM, from a thread of its own.

    A handler would wait for native code in the main thread, which may wait for a server.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, lambda *_: None)

    def watch() -> None:
        os.read(reader, 1)
        follower.stopping.set()
        if not follower.landing.acquire(blocking=False):
            say("finishing the running landing; again: abandon it")
            select.select([reader], [], [], FINISH_LIMIT_S)
        end(follower, give_terminal_back)

    threading.Thread(target=watch, daemon=True).start()


def end(follower: Follower, give_terminal_back: Callable[[], None]) -> None:
    """Prints the closing line, and ends the process and its Spark session."""
    ending.acquire()
    verdicts = ", ".join(f"{follower.total[status]:,} {status}" for status in STATUSES)
    say(f"ended after {follower.total['batches']:,} batches: {verdicts}")
    give_terminal_back()
    os._exit(0)


def main(settings: Settings) -> None:
    # In pinned mode Py4J never ends the thread of a streaming query, and each landing is a query.
    os.environ["PYSPARK_PIN_THREAD"] = "false"
    feed = settings.feed()
    follower = Follower(feed, prometheus.write)
    with own_process_group() as give_terminal_back:
        watch_signals(follower, give_terminal_back)
        print(
            f"following topic {feed.topic} on {settings.kafka}, to {feed.path()}; "
            f"Ctrl-C ends it (pid {os.getpid()})",
            flush=True,
        )
        head = "".join(f"{status:>11}" for status in STATUSES)
        print(f"{'time':<8}  {'records':>9}{head}{'seconds':>9}{'lag after':>11}", flush=True)
        session = [settings, "follow"]
        threading.Thread(target=session_for_landing, args=session, daemon=True).start()
        follower.follow()
        end(follower, give_terminal_back)


if __name__ == "__main__":
    script.run(main)
