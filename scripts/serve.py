"""Start the server for queries in the background, and wait until it answers.

Run by: make serve
    scripts/env.sh python scripts/serve.py

It listens on 127.0.0.1 and admits clients that have the token: by Spark Connect, and by JDBC with
the token as the password. `make down` stops it.
"""

from pipeline import VERSION, script
from pipeline.serving import service
from pipeline.settings import Settings
from pipeline.stack import servers


def main(settings: Settings) -> None:
    service.token(settings)
    servers.start([service.query_server(settings)], settings)
    token_file = f"{settings.run_dir}/connect.token"
    print(f"""
Version {VERSION}. Each landed feed is a database. To get in (docs/access.md):
  Spark Connect  {service.url(settings)}/;token=… (PySpark sends a token to the name localhost only)
  JDBC           jdbc:hive2://127.0.0.1:{settings.ports.jdbc} (any user name; password: the token)
  the token      in {token_file}: everybody who can read this file can read what the server reads
  from here      make query, make sql and make pyspark use the server while it runs""")


if __name__ == "__main__":
    script.run(main)
