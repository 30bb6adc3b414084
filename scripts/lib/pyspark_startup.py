# Runs at the start of `make pyspark`: the feed's tables are then in the shell's session.
def _register() -> None:
    from pyspark.sql.utils import is_remote

    import config
    import errors
    import message
    import spark_session

    try:
        # PySpark's shell defines `spark`.
        if is_remote():  # the server of make serve knows all feeds
            spark.sql(f"USE {config.TOPIC}")  # type: ignore[name-defined]  # noqa: F821
        else:
            spark_session.register(spark)  # type: ignore[name-defined]  # noqa: F821
        tables = ", ".join(f"{config.TOPIC}.{name}" for name in sorted(message.TABLES))
        print(f"the tables of feed {config.TOPIC}: {tables}")
    except errors.Failure as failure:
        print(f"{failure.what}; {failure.then}")


_register()
del _register
