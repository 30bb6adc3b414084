"""The server of `make serve` as its clients see it: address, token, and a session on it."""

import os
import secrets
import time

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

import config
import errors
import knobs
import servers
from storage import run_dir

FEED_APPEARS_WITHIN_S = 10  # after its first landing


def url() -> str:
    """Its address. PySpark sends a token without TLS only to the name localhost."""
    return f"sc://localhost:{config.CONNECT_PORT}"


def token() -> str:
    """The token of both doors, from a file of mode 0600 that is made when it is first needed.

    In a container it comes by the environment.
    """
    if os.environ.get("SPARK_CONNECT_AUTHENTICATE_TOKEN"):
        return os.environ["SPARK_CONNECT_AUTHENTICATE_TOKEN"]
    file = run_dir("connect.token")
    if not file.exists():
        new = file.with_suffix(f".{os.getpid()}")
        new.touch(0o600)
        new.write_text(secrets.token_urlsafe(32) + "\n")
        new.replace(file)
    return file.read_text().strip()


def session() -> SparkSession:
    """A new session on the server. The environment then makes PySpark's functions use Connect."""
    os.environ["SPARK_CONNECT_AUTHENTICATE_TOKEN"] = token()
    return SparkSession.builder.remote(url()).create()


def session_of_feed(settings: dict[str, str]) -> SparkSession | None:
    """A session whose current database is the feed; None when the server does not run.

    settings: those of Spark SQL for this session. Failure when the server does not know the feed.
    """
    if servers.spark_server().process() is None:
        return None
    spark = session()
    for name, value in settings.items():
        spark.conf.set(name, value)
    limit = time.monotonic() + FEED_APPEARS_WITHIN_S
    while True:
        try:
            spark.sql(f"USE {config.TOPIC}")
            return spark
        except PySparkException as error:
            if "SCHEMA_NOT_FOUND" not in str(error) or time.monotonic() > limit:
                raise errors.Failure(
                    f"the server of make serve does not answer about feed {config.TOPIC}",
                    f"{errors.cause(error)}; its log: {servers.spark_server().log}",
                    f"start it again: make down{knobs.of_stack()}; then: "
                    f"make serve{knobs.of_stack()}",
                ) from None
            time.sleep(0.2)  # between two questions
