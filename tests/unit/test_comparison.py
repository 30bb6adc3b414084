"""When two messages count as the same one, as publish and verify compare a file with the topic."""

import pytest

from messages import good
from pipeline.message import validator
from pipeline.publishing.comparison import fingerprint


@pytest.mark.parametrize(
    "spoil",
    [
        lambda message: message.replace(b'"attempt":', b'"attempt": 1, "attempt":'),
        lambda message: message.replace(b'"attempt": 1', b'"attempt": 1.00000000000000000001'),
        lambda message: message.replace(b'"attempt": 1', b'"attempt": "1"'),
        lambda message: b"\xef\xbb\xbf" + message,
        lambda message: message.decode().encode("utf-16"),
    ],
)
def test_a_message_that_was_mended_is_not_taken_for_the_one_that_was_refused(spoil):
    """Otherwise make publish would take the file for already published, and never send it."""
    message = good()
    bad = spoil(message)
    assert (
        bad != message
        and validator.examine(bad).reason is not None
        and validator.examine(message).reason is None
    )
    assert fingerprint(bad) != fingerprint(message)


def test_a_message_is_the_same_in_another_spelling():
    message = good()
    for other in (
        message.replace(b": ", b":  "),
        message.replace(b'"attempt": 1', b'"attempt": 1.0'),
        message.replace(b'"attempt": 1', b'"attempt": 10e-1'),
        message.replace(b"keen_id", rb"\u006been_id", 1),
    ):
        assert other != message
        assert fingerprint(other) == fingerprint(message)
