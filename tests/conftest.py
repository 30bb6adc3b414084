"""Fixtures for all tests: a real stack in a run folder of its own, synthetic data, the real file.

Tests in unit/ need no server. No test changes the feed of the fixture `synthetic`, so tests run in
any order, each also alone.
"""

import hashlib
import json
import os
import pathlib
import random
import re

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest.register_assert_rewrite("stacks", "judging", "oracle", "corpus_landing")

from pipeline import settings  # noqa: E402
from stacks import KNOWN_SHA256, MESSAGES, ROOT, LocalStack, started  # noqa: E402

TAKE_MINUTES = {"access", "environment", "follow", "schema_change", "serve"}


def pytest_addoption(parser):
    parser.addoption("--soak", type=float, default=1, help="minutes of test_faults_follow.py")
    parser.addoption(
        "--examples", type=int, default=2000, help="random messages of test_random_messages.py"
    )


def pytest_collection_modifyitems(items):
    """Shuffles the files, and the tests of each file, by SEED: each test must run in any order.

    Faults, containers and the cluster keep their order. What takes minutes comes first, and what
    needs no stack last, so that all workers of pytest end together.
    """
    rng = random.Random(settings.load().seed)
    place = {path: rng.random() for path in dict.fromkeys(item.path for item in items)}

    def order(item):
        suite = item.path.parent.name
        if suite not in ("stack", "unit"):
            return (0,)
        is_long = item.path.stem.removeprefix("test_") in TAKE_MINUTES
        return 1 if is_long else 2 if suite == "stack" else 3, place[item.path], rng.random()

    items.sort(key=order)


class ByFile(LoadScopeScheduling):
    """A worker of pytest takes a file; of the faults and the random messages, a single test."""

    def _split_scope(self, nodeid):
        path = nodeid.partition("::")[0]
        return nodeid if re.search("/faults/|/test_random_messages", path) else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return ByFile(config, log)


# --- what `-m "not thorough"` leaves out, as counted by the workers -------------------------------


def pytest_deselected(items):
    config = items[0].config
    getattr(config, "workeroutput", vars(config))["left_out"] = len(items)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    vars(node.config)["left_out"] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_unconfigure(config):
    left_out = vars(config).get("left_out")
    if left_out and config.option.markexpr == "not thorough":
        print(
            f"left out: {left_out} longer tests (make test-all), containers (make test-docker), "
            "a secured cluster (make test-cluster)"
        )


@pytest.fixture(scope="session")
def stack(request, worker_id):
    """The local stack of this worker of pytest: in .run-stack-gw0, or .run-faults-master.

    Each suite has its own, because several may run at the same time.
    """
    suite = max({item.path.parent.name for item in request.session.items} - {"unit"})
    with started(f".run-{suite}-{worker_id}", LocalStack) as stack:
        yield stack


@pytest.fixture(scope="session")
def synthetic(stack, tmp_path_factory):
    """A synthetic file, published and landed in feed synthetic_a.

    Returns its path, its truth (totals as a dictionary), and its truth for each message.
    """
    path = tmp_path_factory.mktemp("data") / "made up.json"  # with a blank, as users name files
    stack.run("data publish land", TOPIC="synthetic_a", SYNTHETIC=MESSAGES, SEED=7, DATA=path)
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
