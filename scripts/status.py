"""Show which servers run, with address and log, and how far each feed is landed.

Run by: make status
    scripts/lib/env.sh python scripts/status.py
"""

import os

import config
import errors
import knobs
import lake
import probes
import servers
import topics
from printable import printable


def main():
    if config.STACK == "local":
        print(f"{'service':<9} {'address':<27} {'pid':>7} {'memory':>8}  log")
        total = 0
        for service in servers.services():
            process = service.process()
            memory = process.memory_info().rss if process else 0
            total += memory
            print(
                f"{service.name:<9} {service.address:<27} {process.pid if process else 'down':>7} "
                f"{memory // 2**20:>5} MB  {knobs.relative(service.log)}"
            )
        print(f"{'together':<45} {total // 2**20:>5} MB")
        if not all(service.process() for service in servers.services()):
            print(f"\nnot all of it runs; to start it: make up{knobs.of_stack()}")
            return
    else:
        if not os.environ.get("PIPELINE_INSTALLED"):
            knobs.print_knobs()
        for name, address, found in probes.probe_all():
            print(f"  {name:<9} {address:<48} answers{found}", flush=True)
    print(
        f"\n{'feed (topic)':<24} {'partition':>9} {'end of topic':>13} {'landed':>10} {'lag':>10}"
    )
    for topic in topics.names():
        try:
            landed = lake.landed_offsets(topic) or {}
            for partition, end in topics.end_offsets(topic).items():
                offset = landed.get(partition, 0)
                print(f"{topic:<24} {partition:>9} {end:>13,} {offset:>10,} {end - offset:>10,}")
        except Exception as error:  # one damaged feed must not hide the others
            errors.log_trace()
            print(f"{topic:<24} not known: {printable(errors.cause(error))}")


if __name__ == "__main__":
    errors.run(main)
