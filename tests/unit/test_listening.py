"""What tests use to see who listens sees a process that everybody can reach."""

import socket

import psutil

from corpus_landing import is_this_machine, listening


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
