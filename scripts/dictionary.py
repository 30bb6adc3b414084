"""Generates the JSON Schema and the data dictionary in docs/tables.md from declaration.py.

Run by: make dictionary, make check-dictionary
    scripts/env.sh python scripts/dictionary.py [--check]
"""

import sys

from pipeline import files, script
from pipeline.errors import Failure
from pipeline.message import documentation
from pipeline.message.documentation import PAGE, SCHEMA
from pipeline.settings import ROOT, Settings

DECLARATION = "scripts/pipeline/message/declaration.py"


def main(settings: Settings) -> None:
    page = documentation.page(PAGE.read_text(encoding="utf-8"))
    for path, text in ((SCHEMA, documentation.json_schema()), (PAGE, page)):
        name = path.relative_to(ROOT)
        if path.exists() and path.read_text(encoding="utf-8") == text:
            print(f"{name}: agrees with {DECLARATION}")
        elif "--check" in sys.argv[1:]:
            what = f"{name} differs from the declaration of the message"
            why = f"{DECLARATION} was changed, or the page by hand"
            raise Failure(what, why, "make dictionary writes it again")
        else:
            files.replace(path, text)
            print(f"{name}: written again from {DECLARATION}")


if __name__ == "__main__":
    script.run(main)
