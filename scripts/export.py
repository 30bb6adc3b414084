"""Write a feed's tables as files, for people who get no access: Parquet, CSV, or one DuckDB file.

Run by: make export OUT=folder [FORMAT=parquet] [TABLE=attempts] [TOPIC=…]
    scripts/env.sh python scripts/export.py

OUT, which must not exist, gets one file per table (or TOPIC.duckdb), and dictionary.md with the
meaning of each column. All tables are of one moment between two landings. OUT appears when it is
complete; a killed export leaves a hidden folder beside it at most. Times are UTC.
"""

from pipeline import script
from pipeline.backup.export import export
from pipeline.settings import Settings


def main(settings: Settings) -> None:
    export(settings.feed())


if __name__ == "__main__":
    script.run(main)
