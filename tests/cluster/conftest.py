"""Fixtures: the secured cluster, and two customers on it whose files are published and landed."""

import pytest

from cluster_stack import exported, secured
from pipeline import settings
from pipeline.settings import ROOT

WILEY = "synthetic_wiley"


@pytest.fixture(scope="session")
def cluster():
    with secured(".run-test-cluster") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def pearson(cluster, stack, tmp_path_factory):
    """The first customer: the name of its feed. Its file is landed here and in the plain stack.

    It is the real file where there is one.
    """
    file, feed = ROOT / settings.load().data, "pearson"
    if not file.exists():
        file, feed = tmp_path_factory.mktemp("data") / "pearson.json", "synthetic_pearson"
        stack.run("data", SYNTHETIC=3000, DATA=file)
    cluster.customer(feed)
    cluster.make("publish", account=f"{feed}_publisher", TOPIC=feed, DATA=file.resolve())
    cluster.make("land", TOPIC=feed)
    stack.run("publish land", TOPIC=feed, DATA=file.resolve())
    return feed


@pytest.fixture(scope="session")
def landed(cluster, pearson, tmp_path_factory):
    """The first customer's tables as they were landed on YARN: {table: its Parquet file}."""
    return exported(cluster, pearson, tmp_path_factory.mktemp("landed") / "cluster")


@pytest.fixture(scope="session")
def wiley(cluster, stack, tmp_path_factory):
    """The second customer, with synthetic data: the name of its feed."""
    file = tmp_path_factory.mktemp("data") / "wiley.json"
    stack.run("data", SYNTHETIC=200, SEED=3, DATA=file)
    cluster.customer(WILEY, PARTITIONS=4)
    cluster.make("publish", account=f"{WILEY}_publisher", TOPIC=WILEY, DATA=file)
    cluster.make("land", TOPIC=WILEY, SPARK_MASTER="local[2]")
    return WILEY
