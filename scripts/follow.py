"""Land what is new, again and again, until interrupted: records are visible within seconds.

Run by: make follow
    make follow TOPICS=first,second    several feeds, in one Spark session; TOPICS=all: every topic
                                       whose name can be a feed's, those that appear later too
    scripts/env.sh python scripts/follow.py

Each landing is that of make land, with the same guarantees, in a Spark session that stays. The
feed's lock is held for each landing only, so that other targets work beside it. It waits for a
topic that does not exist yet, and for servers that do not answer. It ends when make down has
stopped the servers.

Ctrl-C and SIGTERM end it with exit code 0: at once while it waits, else after the running landing,
which may take 20 s. A second signal, and the end of that time, abandon the landing. That
is as harmless as kill -9: the next landing repeats the batch.
"""

import os
import threading

from pipeline import script
from pipeline.landing import follow
from pipeline.landing.batch import STATUSES, session_for_landing
from pipeline.monitoring import prometheus
from pipeline.settings import Settings


def main(settings: Settings) -> None:
    # In pinned mode Py4J keeps a thread of the JVM for each thread of each landing.
    os.environ["PYSPARK_PIN_THREAD"] = "false"
    follower = follow.Follower(settings, prometheus.write)
    with follow.own_process_group() as give_terminal_back:
        follow.watch_signals(follower, give_terminal_back)
        topic, folder = f"topic {settings.topic}", settings.feed(settings.topic).path()
        if settings.topics:
            topic, folder = f"topics {settings.topics}", f"{settings.hdfs}{settings.warehouse}/"
        print(
            f"following {topic} on {settings.kafka}, to {folder}; "
            f"Ctrl-C ends it (pid {os.getpid()})",
            flush=True,
        )
        head = "".join(f"{status:>11}" for status in STATUSES)
        last = "  feed" if settings.topics else ""
        print(f"{'time':<8}  {'records':>9}{head}{'seconds':>9}{'lag after':>11}{last}", flush=True)
        arguments = [settings, "follow"]
        threading.Thread(target=session_for_landing, args=arguments, daemon=True).start()
        follower.follow()
        follow.end(follower, give_terminal_back)


if __name__ == "__main__":
    script.run(main)
