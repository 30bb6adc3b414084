"""Land what is new, again and again, until interrupted: records are visible within seconds.

Run by: make follow
    scripts/lib/env.sh python scripts/follow.py

Each landing is that of make land, with the same guarantees, in a Spark session that stays. The
feed's lock is held for each landing only, so that other targets work beside it. It polls the
topic's end and lands only what is new. It waits for a topic that does not exist yet, and for
servers that do not answer. It ends when make down has stopped the servers.

Ctrl-C and SIGTERM end it with exit code 0: at once while it waits, else after the running landing,
which may take FINISH_LIMIT_S. A second signal, and the end of that time, abandon the landing. That
is as harmless as kill -9: the next landing repeats the batch.
"""

import collections
import contextlib
import os
import select
import signal
import threading
import time

from kafka.errors import KafkaError
from pyspark import SparkContext

import config
import errors
import lake
import land
import metrics
import probes
import spark_session
import storage
import topics
import writing

POLL_S = 0.5
PAUSE_S = 0.1  # after a landing: a process that waits for the feed's lock gets it
METRICS_S = 10  # between two updates of the metrics while nothing is new
FINISH_LIMIT_S = 20
ATTEMPTS = 3  # of a landing that fails although the servers answer
STATUSES = "accepted", "duplicate", "rejected"

landing = threading.Lock()  # held while a landing runs
stopping = threading.Event()
ending = threading.Lock()  # acquired by the thread that ends the process
total: collections.Counter[str] = collections.Counter()  # {status, or "batches": number}


def say(text):
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


# --- the end --------------------------------------------------------------------------------------


@contextlib.contextmanager
def own_process_group():
    """Gives the terminal to a process group of this process: Ctrl-C does not reach make then.

    make ends with an error when it gets the signal itself. The block cannot be suspended by Ctrl-Z,
    because the user's shell would not notice.
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


def watch_signals(give_terminal_back):
    """Ends the process on SIGINT and SIGTERM, from a thread of its own.

    A handler would wait for native code in the main thread, which may wait for a server.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, lambda *_: None)

    def watch():
        os.read(reader, 1)
        stopping.set()
        if not landing.acquire(blocking=False):
            say("finishing the running landing; again: abandon it")
            select.select([reader], [], [], FINISH_LIMIT_S)
        end(give_terminal_back)

    threading.Thread(target=watch, daemon=True).start()


def end(give_terminal_back):
    """Prints the closing line, and ends the process and its Spark session."""
    ending.acquire()
    verdicts = ", ".join(f"{total[status]:,} {status}" for status in STATUSES)
    say(f"ended after {total['batches']:,} batches: {verdicts}")
    give_terminal_back()
    os._exit(0)


# --- the loop -------------------------------------------------------------------------------------


def land_once():
    """Lands what is new, and prints a line for each batch."""
    position = {}

    def start(_, landed):
        position.update(landed)

    def report(batch):
        position.update({at: last + 1 for at, (_, last) in batch.spans.items()})
        lag = "not known"
        with contextlib.suppress(KafkaError):  # the batch is committed
            ends = topics.log_ends()
            lag = f"{sum(max(0, end - position.get(at, 0)) for at, end in ends.items()):,}"
        counts = "".join(f"{batch.statuses[status]:>11,}" for status in STATUSES)
        say(f"{batch.statuses.total():>9,}{counts}{batch.seconds:>9.1f}{lag:>11}")
        total.update(batch.statuses, batches=1)

    with writing.feed_lock(), landing:
        if not stopping.is_set():
            land.land(start, report)


def wait_for_servers(error):
    """Waits until Kafka and HDFS answer. Returns False when make down has stopped them."""
    cause = error.what if isinstance(error, errors.Failure) else spark_session.cause(error)
    say(f"waiting for the servers: {cause}")
    while True:
        if config.STACK == "local" and not storage.run_dir("pids", "kafka").exists():
            say("make down has stopped the servers")
            return False
        with contextlib.suppress(Exception):  # each client has exceptions of its own
            topics.log_ends()
            probes.probe_hdfs()
            say("the servers answer")
            return True
        time.sleep(1)


def follow():
    """Polls and lands until it is stopped. Raises a Failure that waiting does not mend."""
    seen, failed, written, told = None, 0, 0, False
    while not stopping.is_set():
        pause = POLL_S
        try:
            if seen is None and config.TOPIC not in topics.names():
                if not told:
                    say(f"there is no topic {config.TOPIC} yet: waiting for make publish")
                told = True
            else:
                ends = topics.log_ends()
                if ends != seen:
                    land_once()
                    seen, written, pause = ends, 0, PAUSE_S
                if time.monotonic() > written + METRICS_S:
                    metrics.write()
                    written = time.monotonic()
            failed = 0
        except Exception as error:
            failed += 1
            jvm = getattr(SparkContext._gateway, "proc", None)
            mends_itself = errors.is_outage(error) and failed <= ATTEMPTS
            if stopping.is_set():
                return
            if not mends_itself or (jvm and jvm.poll() is not None):
                raise
            if not wait_for_servers(error):
                return
        stopping.wait(pause)


def main():
    # In pinned mode Py4J never ends the thread of a streaming query, and each landing is a query.
    os.environ["PYSPARK_PIN_THREAD"] = "false"
    with own_process_group() as give_terminal_back:
        watch_signals(give_terminal_back)
        print(
            f"following topic {config.TOPIC} on {config.KAFKA}, to {lake.table_path('')}; "
            f"Ctrl-C ends it (pid {os.getpid()})",
            flush=True,
        )
        head = "".join(f"{status:>11}" for status in STATUSES)
        print(f"{'time':<8}  {'records':>9}{head}{'seconds':>9}{'lag after':>11}", flush=True)
        threading.Thread(target=spark_session.for_landing, args=["follow"], daemon=True).start()
        follow()
        end(give_terminal_back)


if __name__ == "__main__":
    errors.run(main)
