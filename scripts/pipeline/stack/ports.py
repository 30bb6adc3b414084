"""Ports of this machine: which program holds one, and which are free."""

import contextlib
import random
import socket
import time

import psutil

from pipeline.errors import Failure

ENDS_WITHIN_S = 5  # a killed server holds its ports a moment longer than it is listed


def port_holder(port: int) -> str | None:
    """Which program listens on this port of 127.0.0.1, in words; None when the port is free."""
    limit = time.monotonic() + ENDS_WITHIN_S
    while not is_free(port):
        with contextlib.suppress(psutil.Error):  # some systems list connections only for root
            for found in psutil.net_connections("tcp"):
                if found.status == psutil.CONN_LISTEN and found.laddr.port == port and found.pid:
                    process = psutil.Process(found.pid)
                    command = " ".join(process.cmdline())[:100]
                    return f"pid {process.pid} ({command or process.name()})"
        if time.monotonic() > limit:
            return "a process of another user"
        time.sleep(0.2)
    return None


def is_free(port: int) -> bool:
    """Whether a server may listen on this port of 127.0.0.1."""
    with socket.socket() as attempt:
        # With SO_REUSEADDR a port whose connections have just closed counts as free.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            attempt.bind(("127.0.0.1", port))
            return True
    return False


def free_ports(count: int) -> int:
    """The first of `count` free ports in a row, below those of outgoing connections."""
    for first in random.sample(range(21000, 32000, 100), 110):  # others may search at this moment
        with contextlib.ExitStack() as sockets, contextlib.suppress(OSError):
            for port in range(first, first + count):
                sockets.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise Failure(
        f"no {count} free ports in a row",
        "looked from 21000 to 32000",
        "stop programs that hold ports there, then again",
    )
