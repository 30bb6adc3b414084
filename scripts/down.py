"""Stop what make up started; the data stay.

Run by: make down
    scripts/env.sh python scripts/down.py
"""

from pipeline import script
from pipeline.serving import service
from pipeline.stack import servers

if __name__ == "__main__":
    script.run(lambda settings: servers.stop(service.startable(settings), settings))
