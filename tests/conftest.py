"""Fixtures for all tests: a real stack in a run folder of its own, synthetic data, the real file.

Tests in unit/ need no server. No test changes the feed of the fixture `synthetic`, so tests run in
any order, each also alone.
"""

import hashlib
import json
import os
import pathlib
import random

import pytest

pytest.register_assert_rewrite("stacks", "judging", "oracle", "corpus_landing")

from pipeline import settings  # noqa: E402
from stacks import KNOWN_SHA256, MESSAGES, ROOT, started  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--soak", type=float, default=1, help="minutes of test_faults_follow.py")


def pytest_collection_modifyitems(items):
    """Shuffles the files, and the tests of each file, by SEED: each test must run in any order.

    Faults and containers keep their order.
    """
    if {item.path.parent.name for item in items} <= {"unit", "stack"}:
        rng = random.Random(settings.load().seed)
        place = {path: rng.random() for path in dict.fromkeys(item.path for item in items)}
        items.sort(key=lambda item: (place[item.path], rng.random()))


@pytest.fixture(scope="session")
def stack(request):
    """The local stack of these tests: in .run-stack, .run-faults, .run-docker or .run-cluster.

    Each suite has its own, because several may run at the same time.
    """
    (suite,) = {item.path.parent.name for item in request.session.items} - {"unit"}
    with started(f".run-{suite}") as stack:
        yield stack


@pytest.fixture(scope="session")
def synthetic(stack, tmp_path_factory):
    """A synthetic file, published and landed in feed synthetic_a.

    Returns its path, its truth (totals as a dictionary), and its truth for each message.
    """
    path = tmp_path_factory.mktemp("data") / "made up.json"  # with a blank, as users name files
    stack.make("data", SYNTHETIC=MESSAGES, SEED=7, DATA=path)
    for target in ("publish", "land"):
        stack.make(target, TOPIC="synthetic_a", DATA=path)
    truth = json.loads(pathlib.Path(f"{path}.truth.json").read_text())
    lines = pathlib.Path(f"{path}.truth.rows.jsonl").read_text().splitlines()
    return path, truth, [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def real_file():
    """The path of the assignment's file; skips the test when it is not there."""
    path = ROOT / settings.load().data
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != KNOWN_SHA256:
        if os.environ.get("REAL_DATA") == "required":
            pytest.fail(f"{path} is not the real file")
        pytest.skip("the real file is not here: make test DATA=/path/to/it, or DATA_URL=…")
    return path
