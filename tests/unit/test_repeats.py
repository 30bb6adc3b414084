"""Duplicates, conflicts and the content hash, on messages written by hand.

Each test is named after a defect that the real data have, or that a publisher may cause.
"""

import hashlib
import json
import os
import subprocess
import sys

from judging import judge, ledger
from messages import GOOD, good, spoil
from pipeline.landing import batch, worker
from pipeline.settings import ROOT


def test_a_task_without_records_has_nothing_to_correct():
    nothing = worker.Part([], worker.JUDGED.empty_table())
    assert batch.correct(None, "", nothing, batch.Verdicts([], [])) == []


def test_a_worker_does_not_import_pandas():
    given_a_list = """
import sys
import pyarrow
from pipeline.landing import worker
worker.without_pandas()
pyarrow.array(["a list"])
sys.exit("pandas" in sys.modules)
"""
    where = {"PYTHONPATH": str(ROOT / "scripts")}
    subprocess.run([sys.executable, "-c", given_a_list], env=os.environ | where, check=True)


def test_an_event_delivered_again_is_a_duplicate_of_the_first():
    assert ledger([good(), good(keen_id="other"), good()]) == {
        (0, 0): ("accepted", None),
        (0, 1): ("accepted", None),
        (0, 2): ("duplicate", "duplicate_of: 0-0"),
    }


def test_the_first_is_the_one_with_the_earlier_time_whatever_its_partition():
    assert ledger([(0, 7, 30, good()), (1, 3, 10, good()), (2, 0, 10, good())]) == {
        (0, 7): ("duplicate", "duplicate_of: 1-3"),
        (1, 3): ("accepted", None),
        (2, 0): ("duplicate", "duplicate_of: 1-3"),
    }


def test_the_same_id_with_other_content_is_rejected():
    assert ledger([good(), good(exam_name="Learning SQL"), good()]) == {
        (0, 0): ("accepted", None),
        (0, 1): ("rejected", "conflicts_with: 0-0"),
        (0, 2): ("duplicate", "duplicate_of: 0-0"),
    }


def test_an_invalid_message_is_never_a_duplicate_nor_the_first():
    got = ledger([spoil("exam_name", ...), good(), spoil("exam_name", ...)])
    assert [got[0, n][0] for n in range(3)] == ["rejected", "accepted", "rejected"]


def test_what_an_earlier_batch_accepted_stays_the_accepted_one():
    tables, _ = judge([(0, 5, 0, good())])
    earlier = {
        row["keen_id"]: (row["content_hash"], f"{row['kafka_partition']}-{row['kafka_offset']}")
        for row in tables["attempts"]
    }
    assert ledger(
        [
            (0, 9, 10, good()),
            (0, 10, 11, good(exam_name="Other")),
            (0, 11, 12, good(keen_id="new")),
        ],
        earlier,
    ) == {
        (0, 9): ("duplicate", "duplicate_of: 0-5"),
        (0, 10): ("rejected", "conflicts_with: 0-5"),
        (0, 11): ("accepted", None),
    }


def test_key_order_blanks_unknown_fields_and_the_spelling_of_numbers_are_no_other_content():
    turned = dict(reversed(GOOD.items()))
    same = [
        json.dumps(GOOD).encode(),
        json.dumps(turned, indent=3).encode(),
        spoil("browser", "x"),
        json.dumps(GOOD).replace('"attempt": 1', '"attempt": 10e-1').encode(),
    ]
    assert sorted(status for status, _ in ledger(same).values()) == [
        "accepted",
        "duplicate",
        "duplicate",
        "duplicate",
    ]


def test_the_content_hash_is_that_of_the_declared_fields():
    """Calculated independently: compact JSON of the declared fields in order, without nulls."""
    question = ["user_incomplete", "user_correct", "options", "user_submitted", "id", "user_result"]
    option = ["checked", "at", "id", "submitted", "correct"]
    ordered = {
        name: GOOD[name]
        for name in ["keen_timestamp", "max_attempts", "started_at", "base_exam_id", "user_exam_id"]
    }
    ordered["sequences"] = {
        "questions": [
            {
                name: (
                    [{o: each[o] for o in option if o in each} for each in q["options"]]
                    if name == "options"
                    else q[name]
                )
                for name in question
            }
            for q in GOOD["sequences"]["questions"]
        ],
        "attempt": 1,
        "id": GOOD["sequences"]["id"],
        "counts": {
            name: GOOD["sequences"]["counts"][name]
            for name in [
                "incomplete",
                "submitted",
                "incorrect",
                "all_correct",
                "correct",
                "total",
                "unanswered",
            ]
        },
    }
    ordered |= {
        name: GOOD[name] for name in ["keen_created_at", "certification", "keen_id", "exam_name"]
    }
    expected = hashlib.sha256(json.dumps(ordered, separators=(",", ":")).encode()).hexdigest()
    assert judge([good()])[0]["messages"][0]["content_hash"] == expected
