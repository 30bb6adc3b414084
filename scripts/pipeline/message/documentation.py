"""The JSON Schema and the data dictionary, both generated from the declaration."""

import json
from typing import Any

from pipeline.message.declaration import MESSAGE, TABLES, Array, Field, Object
from pipeline.message.kinds import Kind
from pipeline.settings import ROOT

SCHEMA, PAGE = ROOT / "assessment-attempt.schema.json", ROOT / "docs/tables.md"
SQL_NAMES = {"integer": "int", "long": "bigint"}


def json_schema() -> str:
    """The published JSON Schema, with all that follows from the declaration generated anew.

    Its title, description and examples are written by hand, in the file itself.
    """
    schema = json.loads(SCHEMA.read_text(encoding="utf-8")) | _schema_of(MESSAGE)
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
        name = "enum" if "enum" in schema else "type"
        with_null = [*schema["enum"], None] if name == "enum" else [schema["type"], "null"]
        schema = {**schema, name: with_null}
    text = field.meaning
    if isinstance(field.kind, Kind) and field.kind.form:
        text += f"; {field.kind.form}"
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
