"""Start broker, NameNode and DataNode, and wait until each answers.

Run by: make up, and by every target that needs the stack
    scripts/lib/env.sh python scripts/up.py [SERVER …] [--quiet]

With STACK=cluster nothing is started: each service is probed.
"""

import argparse
import os
import threading
import time

import config
import errors
import knobs
import probes
import servers
import storage
from errors import Failure


def start(stack, quiet=False):
    """Starts those of the servers in `stack` that do not run yet. quiet: prints nothing else."""
    # The lock comes first: a server that another make up has just started listens before it works.
    with servers.one_at_a_time():
        # Called by every target: returns early when the stack is healthy.
        # Another stack may listen on the ports that are wanted.
        if quiet and all(
            service.process() and service.noted()[1:] == list(service.ports) and service.listens()
            for service in stack
        ):
            return
        knobs.print_knobs()
        begin = time.monotonic()
        started = [service for service in stack if not service.process()]
        for service in stack:
            if service not in started and service.noted()[1:] != list(service.ports):
                raise Failure(
                    f"{service.name} of this run folder runs on other ports",
                    f"it was started with {service.noted()[1:]}, now wanted are "
                    f"{list(service.ports)} "
                    f"(KAFKA={os.environ['KAFKA']}, HDFS={os.environ['HDFS']})",
                    f"use the old KAFKA and HDFS; or stop it first: make down{knobs.of_stack()}; "
                    "or have a second stack: RUN_DIR=.run-2",
                )
        for service in started:
            service.check_ports()
        storage.check_storage()
        # One thread per service: they start in parallel, and none that hangs blocks the limit.
        for service in stack:
            is_new = service in started
            threading.Thread(target=service.bring_up, args=[is_new], daemon=True).start()
        wait_until_ready(stack, started, begin)


def wait_until_ready(stack, started, begin):
    """Waits for each service, and prints a line as it gets ready.

    Failure when one ends, or does not answer within START_LIMIT_S of `begin`.
    """
    waiting = list(stack)
    while waiting:
        for service in list(waiting):
            if service.ready.wait(0.05):
                how = (
                    f"answered after {time.monotonic() - begin:.1f} s"
                    if service in started
                    else "was running, and answers"
                )
                pid = service.noted()[0]
                print(f"  {service.name:<9} {service.address:<27} pid {pid:<8} {how}", flush=True)
                waiting.remove(service)
            elif service.failure:
                raise service.failure
            # process() does not find a new server at first: it is still a shell.
            elif (
                (service.child and service.child.poll() is not None)
                if service in started
                else not service.process()
            ):
                service.fail("ended while it was starting")
            elif time.monotonic() - begin > servers.START_LIMIT_S:
                service.fail(
                    f"did not answer within {servers.START_LIMIT_S} s: {service.last_error}"
                )


def probe(quiet, names):
    """Probes the services of STACK=cluster."""
    if not quiet and not os.environ.get("PIPELINE_INSTALLED"):
        knobs.print_knobs()
    for name, address, found in probes.probe_all(names):
        if not quiet:
            print(f"  {name:<9} {address:<48} answers{found}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "servers",
        nargs="*",
        choices=[[], "kafka", "namenode", "datanode"],
        help="only these (reprocess needs no Kafka)",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="print nothing when all of it runs already"
    )
    arguments = parser.parse_args()
    with errors.report_failures():
        if config.STACK == "local":
            names = arguments.servers or [service.name for service in servers.services()]
            start([each for each in servers.services() if each.name in names], arguments.quiet)
        else:
            probe(arguments.quiet, arguments.servers)
