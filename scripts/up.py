"""Start broker, NameNode and DataNode, and wait until each answers.

Run by: make up, and by every target that needs the stack
    scripts/env.sh python scripts/up.py [SERVER …] [--quiet]

SERVER: only these (reprocess needs no Kafka). --quiet: print nothing when all of it runs already.
With STACK=cluster nothing is started: each service is probed.
"""

import argparse

from pipeline import script
from pipeline.settings import Settings
from pipeline.stack import probes, servers

NAMES = ("kafka", "namenode", "datanode")


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("servers", nargs="*", choices=[[], *NAMES])  # []: none is given
    parser.add_argument("--quiet", action="store_true")
    given = parser.parse_args()
    names = given.servers or NAMES
    if settings.stack == "local":
        stack = [service for service in servers.services(settings) if service.name in names]
        return servers.start(stack, settings, given.quiet)
    probes.probe_all(settings, given.quiet, "kafka" in names, tables={*names} != {"kafka"})


if __name__ == "__main__":
    script.run(main)
