"""The server of `make serve` as its clients see it: address, token, and a session on it."""

import os
import secrets

from pyspark.sql import SparkSession

import config
from storage import run_dir


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
