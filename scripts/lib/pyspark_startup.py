# Runs at the start of `make pyspark`: registers the feed's tables in the shell's session.
def _register() -> None:
    import config
    import errors
    import message
    import spark_session

    try:
        # PySpark's shell defines `spark`.
        spark_session.register(spark)  # type: ignore[name-defined]  # noqa: F821
        tables = ", ".join(f"{config.TOPIC}.{name}" for name in sorted(message.TABLES))
        print(f"the tables of feed {config.TOPIC}: {tables}")
    except errors.Failure as failure:
        print(f"{failure.what}; {failure.then}")


_register()
del _register
