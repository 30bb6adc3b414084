"""Generates the JSON Schema for publishers, and the data dictionary in docs/tables.md.

Both are made from the declaration of the messages and tables, message.py.

Run by: make dictionary, make check-dictionary
    scripts/lib/env.sh python scripts/dictionary.py [--check]
"""

import json
import os
import pathlib
import sys

from cogapp import Cog

import errors
import message
from message import Array, Kind

SCHEMA, PAGE = "assessment-attempt.schema.json", "docs/tables.md"
SQL_NAMES = {"integer": "int", "long": "bigint"}
ABOUT = (
    "One Kafka message: one JSON object of at most 990,000 bytes in UTF-8, without a byte order "
    "mark, no key twice in an object, at most 1,000 levels deep. Fields that are not named here do "
    "no harm: the message is accepted, and make verify names them. What this schema cannot say: "
    "that a time lies in the years 1970 to 9999 when its zone is counted, that an epoch does, that "
    "max_attempts is a whole number of 32 bits, that the counts agree, and that the text is JSON "
    "as above. make validate checks those too."
)
EXAMPLE = {
    "keen_timestamp": "1516717442.735266",
    "max_attempts": "1.0",
    "started_at": "2018-01-23T14:23:19.082Z",
    "base_exam_id": "37f0a30a-7464-11e6-aa92-a8667f27e5dc",
    "user_exam_id": "6d4089e4-bde5-4a22-b65f-18bce9ab79c8",
    "sequences": {
        "questions": [
            {
                "user_incomplete": False,
                "user_correct": True,
                "options": [
                    {
                        "checked": True,
                        "at": "2018-01-23T14:23:24.670Z",
                        "id": "7bf6a1f4-0a39-4f8c-a3b1-4d8f5a1f0e10",
                        "submitted": 1,
                        "correct": True,
                    },
                    {"checked": False, "id": "0c4a0ad2-9d5c-4a3b-8b5e-5d2f4f3f8b22"},
                ],
                "user_submitted": True,
                "id": "95194331-ac43-454e-83de-ea8913067055",
                "user_result": "correct",
            }
        ],
        "attempt": 1,
        "id": "5b28a462-7a3b-42e0-b508-09f3906d1703",
        "counts": {
            "incomplete": 0,
            "submitted": 1,
            "incorrect": 0,
            "all_correct": True,
            "correct": 1,
            "total": 1,
            "unanswered": 0,
        },
    },
    "keen_created_at": "1516717442.735266",
    "certification": "false",
    "keen_id": "5a6745820eb8ab00016be1f1",
    "exam_name": "Learning Git",
}


def schema_of(kind):
    """The JSON Schema of a kind, an object or an array, without its description."""
    if isinstance(kind, Kind):
        return dict(kind.schema)
    if isinstance(kind, Array):
        limits = {"minItems": kind.at_least} if kind.at_least else {}
        return {"type": "array", **limits, "items": schema_of(kind.element)}
    return {
        "type": "object",
        "required": [field.name for field in kind.fields_as_spelled if field.required],
        "properties": {field.name: described(field) for field in kind.fields_as_spelled},
    }


def described(field):
    """The JSON Schema of a field, with its description."""
    schema = {"enum": list(field.values)} if field.values else schema_of(field.kind)
    if not field.required:  # an optional field that is null counts as absent
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
        else:
            schema["type"] = [schema["type"], "null"]
    form = getattr(field.kind, "form", "")
    text = field.meaning + (f"; {form}" if form else "")
    return {"description": text[0].upper() + text[1:] + ".", **schema}


def json_schema():
    """The text of the published JSON Schema."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An assessment attempt",
        "description": ABOUT,
        **schema_of(message.MESSAGE),
        "examples": [EXAMPLE],
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def columns_as_markdown(name):
    """The columns of a table as a Markdown table."""
    lines = ["| column | type | meaning |", "|---|---|---|"]
    for column in message.TABLES[name]:
        star, type_name = "*" if column.required else "", SQL_NAMES.get(column.type, column.type)
        lines.append(f"| `{column.name}`{star} | {type_name} | {column.meaning} |")
    return "\n".join(lines)


def table(name):
    """Prints the columns of a table, for the page's cog blocks."""
    import cog

    cog.outl(columns_as_markdown(name))


def page(text):
    """The page with its cog blocks regenerated."""
    return Cog().process_string(text, PAGE)


def main(check):
    text = pathlib.Path(PAGE).read_text(encoding="utf-8")
    made = {SCHEMA: json_schema(), PAGE: page(text)}
    for path, new in made.items():
        old = pathlib.Path(path).read_text(encoding="utf-8") if os.path.exists(path) else ""
        if old == new:
            print(f"{path}: agrees with scripts/lib/message.py")
        elif check:
            raise errors.Failure(
                f"{path} differs from the declaration of the message",
                "scripts/lib/message.py was changed, or the page by hand",
                "make dictionary writes it again",
            )
        else:
            with open(f"{path}.new", "w", encoding="utf-8") as file:
                file.write(new)
            os.replace(f"{path}.new", path)
            print(f"{path}: written again from scripts/lib/message.py")


if __name__ == "__main__":
    with errors.report_failures():
        main("--check" in sys.argv[1:])
