"""Fixtures for all tests: a real stack in a run folder of its own, synthetic data, the real file.

No test changes the feed of the fixture `synthetic`, so tests run in any order, each also alone.
"""

import hashlib
import json
import os
import pathlib
import random
import sys

import pytest

pytest.register_assert_rewrite("stacks", "judging", "corpus_landing")

from stacks import KNOWN_SHA256, MESSAGES, ROOT, started  # noqa: E402

# Before the test modules import product modules.
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "scripts/report"), str(ROOT / "scripts/lib")]


def pytest_addoption(parser):
    parser.addoption("--soak", type=float, default=1, help="minutes of test_faults_follow.py")


def pytest_collection_modifyitems(items):
    """Shuffles the files, and the tests of each file, by SEED: each test must run in any order.

    Faults and containers keep their order.
    """
    files = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    if all(path.parent == ROOT / "tests" for path in files):
        rng = random.Random(int(os.environ["SEED"]))
        for tests in files.values():
            rng.shuffle(tests)
        items[:] = [test for tests in rng.sample([*files.values()], len(files)) for test in tests]


@pytest.fixture(scope="session")
def stack(request):
    """The local stack of these tests: in .run-tests, .run-faults, .run-docker or .run-cluster.

    Each suite has its own, because several may run at the same time.
    """
    with started(f".run-{request.session.items[0].path.parent.name}") as stack:
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
    path = pathlib.Path(os.environ["DATA"])
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != KNOWN_SHA256:
        if os.environ.get("REAL_DATA") == "required":
            pytest.fail(f"{path} is not the real file")
        pytest.skip("the real file is not here: make test DATA=/path/to/it, or DATA_URL=…")
    return path
