"""What scripts/env.sh runs. Older Pythons stop here, before they read what is too new for them."""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - any python3 may come here
    sys.exit(
        f"error: Python {sys.version.split()[0]} is too old\n"
        "       PySpark 4.2 needs Python 3.10 or newer\n"
        "       put a newer python3 first on the PATH"
    )

from pipeline import environment

environment.main(sys.argv[1:])
