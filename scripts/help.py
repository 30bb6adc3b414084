"""Print the targets and knobs of the Makefile, each with its explanation.

Run by: make help
    python3 scripts/help.py [--in-force]     (--in-force: the values of the knobs, their origin)
"""

import signal
import sys

from pipeline import settings

signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the reader of our output may end (| head)
if "--in-force" in sys.argv[1:]:
    settings.load().print()
else:
    print(settings.help_text())
