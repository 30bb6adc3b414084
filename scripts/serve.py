"""Start the server for queries in the background, and wait until it answers.

Run by: make serve
    scripts/lib/env.sh python scripts/serve.py

It listens on 127.0.0.1 and lets in who has the token: by Spark Connect, and by JDBC with the token
as the password. `make down` stops it.
"""

import config
import connect
import errors
import knobs
import servers
import up


def main():
    connect.token()
    server = servers.spark_server()
    up.start([server])
    token_file = knobs.relative(connect.run_dir("connect.token"))
    print(f"""
Each landed feed is a database. To get in (docs/access.md):
  Spark Connect  {connect.url()}/;token=… (PySpark sends a token to the name localhost only)
  JDBC           jdbc:hive2://127.0.0.1:{config.JDBC_PORT} (any user name; password: the token)
  the token      in {token_file}: who can read this file can read what the server reads
  from here      make query, make sql and make pyspark use the server while it runs""")


if __name__ == "__main__":
    errors.run(main)
