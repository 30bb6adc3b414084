"""The JSON Schema and the data dictionary, both generated from the declaration."""

import json
from typing import Any

from pipeline.message.declaration import MESSAGE, TABLES, Array, Field, Object
from pipeline.message.kinds import Kind
from pipeline.settings import ROOT

SCHEMA, PAGE = ROOT / "assessment-attempt.schema.json", ROOT / "docs/tables.md"
SQL_NAMES = {"integer": "int", "long": "bigint"}
ABOUT = (
    "One Kafka message: one JSON object of at most 990,000 bytes in UTF-8, without a byte order "
    "mark, no key twice in an object, at most 1,000 levels deep. Fields that are not named here do "
    "no harm: the message is accepted, and make verify names them. What this schema cannot say: "
    "that a time lies in the years 1970 to 9999 when its zone is counted, that an epoch does, that "
    "max_attempts is a whole number of 32 bits, that the counts agree, and that the text is JSON "
    "as above. make validate checks those too."
)
# fmt: off
EXAMPLE = {
    "keen_timestamp": "1516717442.735266",
    "max_attempts": "1.0",
    "started_at": "2018-01-23T14:23:19.082Z",
    "base_exam_id": "37f0a30a-7464-11e6-aa92-a8667f27e5dc",
    "user_exam_id": "6d4089e4-bde5-4a22-b65f-18bce9ab79c8",
    "sequences": {
        "questions": [{
            "user_incomplete": False, "user_correct": True,
            "options": [
                {"checked": True, "at": "2018-01-23T14:23:24.670Z",
                 "id": "7bf6a1f4-0a39-4f8c-a3b1-4d8f5a1f0e10", "submitted": 1, "correct": True},
                {"checked": False, "id": "0c4a0ad2-9d5c-4a3b-8b5e-5d2f4f3f8b22"},
            ],
            "user_submitted": True,
            "id": "95194331-ac43-454e-83de-ea8913067055",
            "user_result": "correct",
        }],
        "attempt": 1,
        "id": "5b28a462-7a3b-42e0-b508-09f3906d1703",
        "counts": {"incomplete": 0, "submitted": 1, "incorrect": 0, "all_correct": True,
                   "correct": 1, "total": 1, "unanswered": 0},
    },
    "keen_created_at": "1516717442.735266",
    "certification": "false",
    "keen_id": "5a6745820eb8ab00016be1f1",
    "exam_name": "Learning Git",
}
# fmt: on


def json_schema() -> str:
    """The text of the published JSON Schema."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An assessment attempt",
        "description": ABOUT,
        **_schema_of(MESSAGE),
        "examples": [EXAMPLE],
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _schema_of(kind: Object | Array | Kind) -> dict[str, Any]:
    if isinstance(kind, Kind):
        return kind.schema
    if isinstance(kind, Array):
        limits = {"minItems": kind.at_least} if kind.at_least else {}
        return {"type": "array", **limits, "items": _schema_of(kind.element)}
    return {
        "type": "object",
        "required": [field.name for field in kind.fields_as_spelled if field.required],
        "properties": {field.name: _schema_of_field(field) for field in kind.fields_as_spelled},
    }


def _schema_of_field(field: Field) -> dict[str, Any]:
    schema = {"enum": list(field.values)} if field.values else _schema_of(field.kind)
    if not field.required:  # an optional field that is null counts as absent
        if "enum" in schema:
            schema = {"enum": [*schema["enum"], None]}
        else:
            schema = {**schema, "type": [schema["type"], "null"]}
    form = field.kind.form if isinstance(field.kind, Kind) else ""
    text = field.meaning + (f"; {form}" if form else "")
    return {"description": text[0].upper() + text[1:] + ".", **schema}


def columns_as_markdown(table: str) -> str:
    """The columns of a table as a Markdown table."""
    lines = ["| column | type | meaning |", "|---|---|---|"]
    for column in TABLES[table]:
        star, type_name = "*" if column.required else "", SQL_NAMES.get(column.type, column.type)
        lines.append(f"| `{column.name}`{star} | {type_name} | {column.meaning} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with its cog blocks, [[[cog cog.outl(columns("attempts")) ]]], regenerated."""
    from cogapp import Cog  # a container does not have it

    generator = Cog()
    generator.options.defines["columns"] = columns_as_markdown
    return str(generator.process_string(text, PAGE.name))
