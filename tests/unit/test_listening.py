"""Who listens on a port, as the tests and the scripts find it."""

import socket
import threading

import psutil

from corpus_landing import is_this_machine, listening
from pipeline.stack import ports


def test_a_process_that_listens_to_everybody_would_be_noticed():
    with (
        socket.socket(socket.AF_INET6) as anybody,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        anybody.bind(("::", 0))
        anybody.listen()
        datagrams.bind(("0.0.0.0", 0))
        assert {ip for _, ip in listening([psutil.Process()]) if not is_this_machine(ip)} >= {
            "::",
            "0.0.0.0",
        }


def test_a_port_that_an_ended_server_holds_for_a_moment_is_waited_for(monkeypatch):
    monkeypatch.setattr(psutil, "net_connections", lambda kind: [])  # it is not listed any more
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Timer(0.3, server.close).start()
        assert ports.port_holder(port) is None
