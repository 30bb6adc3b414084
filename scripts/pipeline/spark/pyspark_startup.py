# Runs at the start of `make pyspark`: the feed's tables are then in the shell's session.
def _register() -> None:
    from pyspark.sql.utils import is_remote

    from pipeline import settings
    from pipeline.errors import Failure
    from pipeline.message.declaration import TABLES
    from pipeline.spark import views

    feed = settings.load().feed()
    session = globals()["spark"]  # of PySpark's shell
    try:
        if is_remote():  # the server of make serve knows all feeds
            session.sql(f"USE {feed.topic}")
        else:
            views.register(session, feed)
        tables = ", ".join(f"{feed.topic}.{name}" for name in sorted(TABLES))
        print(f"the tables of feed {feed.topic}: {tables}")
    except Failure as failure:
        print(f"{failure.what}; {failure.then}")


_register()
del _register
