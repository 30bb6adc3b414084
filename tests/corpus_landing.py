"""One landing of the corpus of bad input, which several test modules share."""

import ipaddress
import socket
import subprocess
import time

import psutil
import pytest

from messages import CASES, good
from stacks import ROOT, clean_environment

# make consume shows the start of the topic: these two come first.
SHOWN = ["commands-to-the-terminal", "commands-to-the-terminal-in-8-bits"]
NAMES = SHOWN + [name for name in CASES if name not in SHOWN]
LANDED = {}  # {stack: what the fixture `corpus` returns}


def listening(processes):
    """Returns the {(program, address)} that these processes listen on, by TCP and UDP."""
    found = set()
    for process in processes:
        try:
            program = process.name()
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN or (
                    connection.type == socket.SOCK_DGRAM and not connection.raddr
                ):
                    found.add((program, connection.laddr.ip))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            pass  # it has ended, or ends: then only root sees its files
    return found


def is_this_machine(address):
    address = ipaddress.ip_address(address)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def land_corpus(stack, log):
    """Lands a message with a hostile key, then every case, each followed by a good message.

    Returns what land printed, what listened meanwhile (as `listening`), the ledger's rows in
    order of offset, and {case: its row}.
    """
    stack.run("topic", TOPIC="corpus", PARTITIONS=1)
    subprocess.run(
        ["kcat", "-P", "-b", stack.kafka, "-t", "corpus", "-K", "\t"],
        input=b"\x1b]0;key\x07\xc2\x9b31m\t" + good(keen_id="good-key") + b"\n",
        check=True,
    )
    values = []
    for number, name in enumerate(NAMES):
        values += [CASES[name][0], good(keen_id=f"good-{number}")] if number else [CASES[name][0]]
    stack.kcat("corpus", *values)
    heard = set()
    with open(log, "w") as output:
        landing = subprocess.Popen(
            stack.command("land", TOPIC="corpus"),
            cwd=ROOT,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        while landing.poll() is None:
            heard |= listening(psutil.Process(landing.pid).children(recursive=True))
            time.sleep(0.5)
    assert landing.returncode == 0, log.read_text()
    rows = sorted(stack.table("corpus", "messages"), key=lambda row: row["kafka_offset"])
    cases = dict(zip(NAMES, [rows[1], *rows[2::2]], strict=True))
    return log.read_text(), heard, rows, cases


@pytest.fixture(scope="session", name="corpus")
def landed_corpus(stack, tmp_path_factory):
    """Returns what `land_corpus` returns; lands once in a test run."""
    # pytest sets up an imported fixture once per importing module, even with session scope.
    if stack not in LANDED:
        LANDED[stack] = land_corpus(stack, tmp_path_factory.mktemp("corpus") / "land.log")
    return LANDED[stack]
