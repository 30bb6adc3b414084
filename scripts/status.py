"""Show which servers run, with address and log, and how far each feed is landed.

Run by: make status
    scripts/lib/env.sh python scripts/status.py
"""

import datetime
import os
import textwrap

import config
import errors
import feed_state
import knobs
import probes
import servers
import topics
from printable import printable


def print_servers():
    """Prints a line for each server of this stack; the one of make serve only when it runs."""
    print(f"{'service':<9} {'address':<27} {'pid':>7} {'memory':>8}  log")
    total = 0
    for service in servers.startable():
        process, memory = service.process(), 0
        if process:
            whole = [process, *process.children(recursive=True)]
            memory = sum(each.memory_info().rss for each in whole)
        elif service.name == "serve":
            continue
        total += memory
        print(
            f"{service.name:<9} {service.address:<27} {process.pid if process else 'down':>7} "
            f"{memory // 2**20:>5} MB  {knobs.relative(service.log)}"
        )
    print(f"{'together':<45} {total // 2**20:>5} MB")


def main():
    if config.STACK == "local":
        print_servers()
        if not all(service.process() for service in servers.services()):
            print(f"\nnot all of it runs; to start it: make up{knobs.of_stack()}")
            return
    else:
        if not os.environ.get("PIPELINE_INSTALLED"):
            knobs.print_knobs()
        for name, address, found in probes.probe_all():
            print(f"  {name:<9} {address:<48} answers{found}", flush=True)
        if servers.spark_server().process():
            print_servers()
    print(
        f"\n{'feed (topic)':<24} {'partition':>9} {'end of topic':>13} {'landed':>10} {'lag':>10}"
    )
    for topic in topics.names():
        try:
            print_feed(feed_state.read(topic, {}))
        except Exception as error:  # one damaged feed must not hide the others
            errors.log_trace()
            print(f"{topic:<24} not known: {printable(errors.cause(error))}")


def print_feed(feed):
    """Prints a line for each partition, and what is landed with which verdict."""
    for partition, end in feed.ends.items():
        offset = feed.landed.get(partition, 0)
        print(f"{feed.topic:<24} {partition:>9} {end:>13,} {offset:>10,} {end - offset:>10,}")
    verdicts = ", ".join(f"{number:,} {status}" for status, number in feed.by_status().items())
    reasons = ", ".join(f"{number:,} {word}" for word, number in feed.by_reason().items())
    batch = "not known"
    if feed.last_batch is not None:
        when = datetime.datetime.fromtimestamp(feed.last_batch, datetime.timezone.utc)
        batch = f"{when:%Y-%m-%d %H:%M:%S} UTC, took {feed.last_seconds:.1f} s"
    lag = f"{feed.lag():,} records, {feed.lag_seconds():,.0f} s; last batch: {batch}"
    for name, text in (("messages", verdicts), ("rejected", reasons), ("lag", lag)):
        if text:
            lines = textwrap.wrap(printable(text), 85)
            print(f"    {name:<10}" + "\n              ".join(lines))


if __name__ == "__main__":
    errors.run(main)
