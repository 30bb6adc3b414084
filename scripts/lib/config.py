"""The knobs and derived paths that lib/env.sh puts into the environment.

config.TOPIC is the environment's TOPIC at the time of the access. Nothing is read at import, so
that a script can choose another topic first (make all does) and a test can set a knob.
"""

import os


def __getattr__(name: str) -> str:
    """The value of a knob (make help lists them) or a derived path (RUN_DIR, ROOT, JARS).

    Raises AttributeError when it is not set.
    """
    if name.isupper() and name in os.environ:
        return os.environ[name]
    raise AttributeError(
        f"{name} is not set: scripts are started by make, or by scripts/lib/env.sh"
    )
