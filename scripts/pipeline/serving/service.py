"""The server of make serve: its address, its token, and how it is started and probed."""

import os
import secrets
from typing import TYPE_CHECKING

from pipeline import files
from pipeline.settings import ROOT, Settings
from pipeline.stack import servers
from pipeline.stack.servers import Service

if TYPE_CHECKING:  # PySpark takes a second, and every target imports this module
    from pyspark.sql import SparkSession

SERVER = "pipeline.serving.server"


def url(settings: Settings) -> str:
    """Its address. PySpark sends a token without TLS only to the name localhost."""
    return f"sc://localhost:{settings.ports.connect}"


def token(settings: Settings) -> str:
    """The token of both endpoints: of the environment (in a container), or a file of mode 0600."""
    if given := os.environ.get("SPARK_CONNECT_AUTHENTICATE_TOKEN"):
        return given
    file = settings.in_run_dir("connect.token")
    if not file.exists():
        files.replace(file, secrets.token_urlsafe(32) + "\n", 0o600)
    return file.read_text().strip()


def session(settings: Settings) -> "SparkSession":
    """A new session on the server. The environment then makes PySpark's functions use Connect."""
    from pyspark.sql import SparkSession

    os.environ["SPARK_CONNECT_AUTHENTICATE_TOKEN"] = token(settings)
    return SparkSession.builder.remote(url(settings)).create()


def probe(settings: Settings) -> None:
    """Asks the server for the sum of one and one."""
    spark = session(settings)
    try:
        assert spark.sql("SELECT 1 + 1").collect()[0][0] == 2
    finally:
        spark.stop()


def query_server(settings: Settings) -> Service:
    """The server of make serve, which is not part of the stack of make up."""
    connect, jdbc = settings.ports.connect, settings.ports.jdbc
    ports = {connect: "Spark Connect (derived from HDFS)", jdbc: "JDBC (derived from HDFS)"}
    address = f"127.0.0.1:{connect}, :{jdbc}"
    # The run folder, as an argument, tells the server from that of another stack.
    command = [str(ROOT / "scripts/env.sh"), "python", "-m", SERVER, str(settings.in_run_dir())]
    return Service(settings, "serve", address, ports, command, SERVER, "", probe)


def startable(settings: Settings) -> list[Service]:
    """The servers that this run folder may have started: with STACK=cluster only the last one."""
    stack = servers.services(settings) if settings.stack == "local" else []
    return [*stack, query_server(settings)]
