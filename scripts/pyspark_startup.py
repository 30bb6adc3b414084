# Runs first in `make pyspark`: `spark` is there already; this makes the feed's tables known to it.
def _register():
    import os
    import sys
    sys.path.append(os.path.join(os.environ["ROOT"], "scripts"))
    import feed
    import message
    import tables
    try:
        tables.register(spark)  # noqa: F821  (pyspark's shell defines it)
        print(f"the tables of feed {feed.TOPIC}: " + ", ".join(f"{feed.TOPIC}.{name}" for name in sorted(message.TABLES)))
    except feed.Failure as failure:
        print(f"{failure.what}; {failure.then}")


_register()
del _register
