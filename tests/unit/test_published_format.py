"""The published format, assessment-attempt.schema.json: what it says of good and bad messages."""

import json

import jsonschema_rs
import pytest

from messages import CASES
from pipeline.message import validator
from pipeline.message.documentation import SCHEMA, json_schema
from pipeline.publishing.validation import published_format

FORMAT = json.loads(SCHEMA.read_text())


def test_the_published_format_is_that_of_the_declaration():
    """The JSON Schema is what make dictionary writes, and names the contract's required fields."""
    jsonschema_rs.meta.validate(FORMAT)
    assert SCHEMA.read_text() == json_schema()
    sequences = FORMAT["properties"]["sequences"]
    question = sequences["properties"]["questions"]["items"]
    assert set(FORMAT["required"]) == set(FORMAT["properties"]) - {"certification"}
    assert (
        set(sequences["required"]) == {"questions", "attempt", "id"}
        and sequences["properties"]["questions"]["minItems"] == 1
    )
    assert set(question["required"]) == {"id", "options"} and set(
        question["properties"]["options"]["items"]["required"]
    ) == {"id", "checked"}
    assert len(sequences["properties"]["counts"]["required"]) == 7
    assert set(question["properties"]["user_result"]["enum"]) == {
        "correct",
        "incorrect",
        "missed_some",
        "unanswered",
        None,
    }


def test_the_formats_own_example_is_accepted():
    assert validator.examine(json.dumps(FORMAT["examples"][0]).encode()).reason is None


# JSON Schema cannot express these rules; the schema's description says so.
NOT_SAID = {
    "max-attempts-no-whole-number",
    "max-attempts-beyond-32-bits",
    "before-1970",
    "before-1970-by-its-zone",
    "the-year-10000-by-its-zone",
    "an-epoch-in-the-year-10000",
    "a-number-near-nothing",
}


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, (_, reason) in CASES.items()
        if reason is None or reason.split(":")[0] not in ("empty", "not_utf8", "not_json")
    ],
)
def test_the_format_refuses_what_land_rejects_and_nothing_that_it_accepts(name):
    value, reason = CASES[name]
    # Python refuses integers of more than 4,300 digits; a shorter one does as well here.
    fits = published_format().is_valid(
        json.loads(value, parse_int=lambda digits: int(digits[:4000]))
    )
    assert fits == (reason is None or reason.startswith("counts_disagree") or name in NOT_SAID)
