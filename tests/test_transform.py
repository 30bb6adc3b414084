"""The pure functions, on messages written by hand. Each test is named after a defect that the real data have, or
that a publisher may bring."""
import datetime
import hashlib
import json

import pytest

import tables
import transform
import verdict
from messages import CASES, GOOD, good, spoil

UTC = datetime.timezone.utc
RECORDS = "kafka_partition int, kafka_offset bigint, kafka_timestamp timestamp, key binary, value binary"


def at(second):
    return datetime.datetime(2018, 1, 28, 12, 0, second, tzinfo=UTC)


def read(spark, values):
    """What land does with a batch before it looks for repeats. values: bytes, or (partition, offset, second, bytes)."""
    rows = [value if isinstance(value, tuple) else (0, number, at(0), value) for number, value in enumerate(values)]
    rows = [(p, o, at(s) if isinstance(s, int) else s, None, None if v is None else bytearray(v)) for p, o, s, v in rows]
    records = spark.createDataFrame(rows, RECORDS)
    first = transform.read_messages(records, "0123456789abcdef").persist()
    return first.where("is_plain").unionByName(transform.examine_closely(first.where("not is_plain")))


def judge(spark, values, earlier=None):
    messages = read(spark, values)
    return transform.with_status(messages, transform.not_accepted(messages, earlier))


def ledger(spark, values, earlier=None):
    rows = transform.ledger_rows(judge(spark, values, earlier)).collect()
    return {(row.kafka_partition, row.kafka_offset): (row.status, row.reason) for row in rows}


@pytest.mark.parametrize("name", CASES)
def test_the_close_look_at(name):
    value, expected = CASES[name]
    reason, _, canonical = verdict.examine(value)
    if expected is None:
        assert reason is None and canonical is not None
    else:
        assert reason is not None and reason.startswith(expected), reason


def test_the_form_of_the_real_file_takes_the_fast_path(spark):
    plain = ["as-it-comes", "no-counts-and-no-results", "certification-null", "no-certification", "certification-true", "indented", "a-click-null"]
    records = spark.createDataFrame([(0, n, at(0), None, bytearray(CASES[name][0])) for n, name in enumerate(plain)], RECORDS)
    assert [row.is_plain for row in transform.read_messages(records, "abc").orderBy("kafka_offset").collect()] == [True] * len(plain)


def test_what_is_refused_never_takes_the_fast_path(spark):
    bad = [value for value, reason in CASES.values() if reason is not None]
    records = spark.createDataFrame([(0, n, at(0), None, None if v is None else bytearray(v)) for n, v in enumerate(bad)], RECORDS)
    assert transform.read_messages(records, "abc").where("is_plain").count() == 0


def test_an_event_delivered_again_is_a_duplicate_of_the_first(spark):
    assert ledger(spark, [good(), good(keen_id="other"), good()]) == {
        (0, 0): ("accepted", None), (0, 1): ("accepted", None), (0, 2): ("duplicate", "duplicate_of: 0-0")}


def test_the_first_is_the_one_with_the_earlier_time_whatever_its_partition(spark):
    assert ledger(spark, [(0, 7, 30, good()), (1, 3, 10, good()), (2, 0, 10, good())]) == {
        (0, 7): ("duplicate", "duplicate_of: 1-3"), (1, 3): ("accepted", None), (2, 0): ("duplicate", "duplicate_of: 1-3")}


def test_the_same_id_with_other_content_is_rejected(spark):
    assert ledger(spark, [good(), good(exam_name="Learning SQL"), good()]) == {
        (0, 0): ("accepted", None), (0, 1): ("rejected", "conflicts_with: 0-0"), (0, 2): ("duplicate", "duplicate_of: 0-0")}


def test_an_invalid_message_is_never_a_duplicate_nor_the_first(spark):
    got = ledger(spark, [spoil("exam_name", ...), good(), spoil("exam_name", ...)])
    assert [got[0, n][0] for n in range(3)] == ["rejected", "accepted", "rejected"]


def test_what_an_earlier_batch_accepted_stays_the_accepted_one(spark):
    first = judge(spark, [(0, 5, 0, good())])
    earlier = transform.attempt_rows(first)
    assert ledger(spark, [(0, 9, 10, good()), (0, 10, 11, good(exam_name="Other")), (0, 11, 12, good(keen_id="new"))], earlier) == {
        (0, 9): ("duplicate", "duplicate_of: 0-5"), (0, 10): ("rejected", "conflicts_with: 0-5"), (0, 11): ("accepted", None)}


def test_key_order_blanks_unknown_fields_and_the_spelling_of_numbers_are_no_other_content(spark):
    turned = dict(reversed(GOOD.items()))
    same = [json.dumps(GOOD).encode(), json.dumps(turned, indent=3).encode(), spoil("browser", "x"),
            json.dumps(GOOD).replace('"attempt": 1', '"attempt": 10e-1').encode()]
    assert sorted(status for status, _ in ledger(spark, same).values()) == ["accepted", "duplicate", "duplicate", "duplicate"]


def test_the_content_hash_is_that_of_the_declared_fields(spark):
    """An independent reckoning: compact JSON of the declared fields in declared order, nulls left out."""
    question = ["user_incomplete", "user_correct", "options", "user_submitted", "id", "user_result"]
    option = ["checked", "at", "id", "submitted", "correct"]
    ordered = {name: GOOD[name] for name in ["keen_timestamp", "max_attempts", "started_at", "base_exam_id", "user_exam_id"]}
    ordered["sequences"] = {
        "questions": [{name: ([{o: each[o] for o in option if o in each} for each in q["options"]] if name == "options" else q[name]) for name in question}
                      for q in GOOD["sequences"]["questions"]],
        "attempt": 1, "id": GOOD["sequences"]["id"],
        "counts": {name: GOOD["sequences"]["counts"][name] for name in ["incomplete", "submitted", "incorrect", "all_correct", "correct", "total", "unanswered"]}}
    ordered |= {name: GOOD[name] for name in ["keen_created_at", "certification", "keen_id", "exam_name"]}
    expected = hashlib.sha256(json.dumps(ordered, separators=(",", ":")).encode()).hexdigest()
    assert judge(spark, [good()]).collect()[0].content_hash == expected


def test_an_attempt_with_a_seventh_decimal_and_the_text_false(spark):
    row = transform.attempt_rows(judge(spark, [good()])).collect()[0].asDict()
    moment = datetime.datetime(2018, 1, 23, 14, 24, 2, 735266)  # …7352669: the seventh decimal is cut off
    assert row == {
        "keen_id": "5a6745820eb8ab00016be1f1", "user_exam_id": "6d4089e4-bde5-4a22-b65f-18bce9ab79c8",
        "base_exam_id": "37f0a30a-7464-11e6-aa92-a8667f27e5dc", "exam_name": "Learning Git",
        "started_at": datetime.datetime(2018, 1, 23, 14, 23, 19, 82000), "keen_timestamp": moment, "keen_created_at": moment,
        "certification": False, "max_attempts": 1, "attempt": 1, "sequences_id": "5b28a462-7a3b-42e0-b508-09f3906d1703",
        "total": 2, "correct": 1, "incorrect": 0, "incomplete": 0, "unanswered": 1, "submitted": 1, "all_correct": False,
        "question_count": 2, "kafka_partition": 0, "kafka_offset": 0, "content_hash": row["content_hash"]}


def test_an_attempt_without_counts_has_nulls_not_zeros(spark):
    row = transform.attempt_rows(judge(spark, [CASES["no-counts-and-no-results"][0]])).collect()[0]
    assert [row[name] for name in ("total", "correct", "incorrect", "incomplete", "unanswered", "submitted", "all_correct")] == [None] * 7
    assert row.question_count == 1


def test_certification_null_is_not_false_and_true_is_true(spark):
    judged = judge(spark, [good(certification=None, keen_id="a"), good(certification="true", keen_id="b"), good(certification="false", keen_id="c")])
    assert [row.certification for row in transform.attempt_rows(judged).orderBy("keen_id").collect()] == [None, True, False]


def test_questions_are_rows_by_id_and_place(spark):
    exam = ("5a6745820eb8ab00016be1f1", "37f0a30a-7464-11e6-aa92-a8667f27e5dc", "Learning Git")
    rows = transform.question_rows(judge(spark, [good()])).orderBy("question_position").collect()
    assert [tuple(row) for row in rows] == [
        (*exam, 0, "q-sum", "correct", True, False, True, 2), (*exam, 1, "q-name", "unanswered", False, False, False, 3)]


def test_a_question_without_result_has_nulls(spark):
    row = transform.question_rows(judge(spark, [CASES["no-counts-and-no-results"][0]])).collect()[0]
    assert (row.user_result, row.user_correct, row.user_incomplete, row.user_submitted) == (None, None, None, None)


def test_options_absent_flags_are_false_and_an_unchecked_one_keeps_its_click(spark):
    rows = transform.option_rows(judge(spark, [good()])).orderBy("question_position", "option_position").collect()
    clicked = lambda second, micro: datetime.datetime(2018, 1, 23, 14, 23, second, micro)
    assert [(row.question_id, row.option_position, row.option_id, row.checked, row.clicked_at, row.submitted, row.correct) for row in rows] == [
        ("q-sum", 0, "o-four", True, clicked(24, 670000), True, True),
        ("q-sum", 1, "o-five", False, clicked(22, 100000), False, False),
        ("q-name", 0, "o-left", False, None, False, False),
        ("q-name", 1, "o-right", False, None, False, True),
        ("q-name", 2, "o-none", False, None, False, False)]


def test_another_zone_and_more_decimals_are_the_same_moment(spark):
    judged = judge(spark, [good(keen_id="a", started_at="2018-01-23T16:23:19.082+02:00"), good(keen_id="b", started_at="2018-01-23T14:23:19.082999999Z")])
    assert [row.started_at for row in transform.attempt_rows(judged).orderBy("keen_id").collect()] == [
        datetime.datetime(2018, 1, 23, 14, 23, 19, 82000), datetime.datetime(2018, 1, 23, 14, 23, 19, 82999)]


def test_an_epoch_with_many_decimals_is_cut_not_rounded(spark):
    row = transform.attempt_rows(judge(spark, [good(keen_timestamp="1516717442.9999999999")])).collect()[0]
    assert row.keen_timestamp == datetime.datetime(2018, 1, 23, 14, 24, 2, 999999)


def test_the_ledger_keeps_key_and_value_untouched(spark):
    value = b'\x00\xff not JSON \xc3\x28'
    records = spark.createDataFrame([(3, 4, at(0), bytearray(b"k\x00"), bytearray(value))], RECORDS)
    first = transform.read_messages(records, "abc")
    messages = transform.examine_closely(first.where("not is_plain"))
    row = transform.ledger_rows(transform.with_status(messages, transform.not_accepted(messages, None))).collect()[0]
    assert (bytes(row.key), bytes(row.value), row.keen_id, row.content_hash) == (b"k\x00", value, None, None)


def test_a_rejected_message_still_tells_its_keen_id_where_it_can_be_read(spark):
    rows = transform.ledger_rows(judge(spark, [spoil("exam_name", ...), spoil("keen_id", 5), spoil("sequences.counts.total", 3)])).orderBy("kafka_offset").collect()
    assert [row.keen_id for row in rows] == [GOOD["keen_id"], None, GOOD["keen_id"]]
    assert [row.content_hash is None for row in rows] == [True, True, False]  # the last could be read, all of it


@pytest.mark.parametrize("table", tables.TABLES)
def test_each_column_says_what_it_means(table):
    assert all(field.metadata.get("comment") for field in tables.TABLES[table])


def test_the_two_declarations_of_a_message_are_one():
    """transform.MESSAGE, which Spark reads by, and verdict's, which the close look checks by."""
    words = {"string": ("text", "time", "epoch", "text of a number", "text of a boolean"), "bigint": ("whole number", "whole number of 32 bits"), "boolean": ("boolean",)}

    def compare(spark_type, declared, path):
        if isinstance(declared, dict):
            assert sorted(spark_type.fieldNames()) == sorted(declared), path
            for name, (kind, _) in declared.items():
                compare(spark_type[name].dataType, kind, f"{path}.{name}")
        elif isinstance(declared, list):
            compare(spark_type.elementType, declared[0], path + "[]")
        else:
            assert declared in words[spark_type.simpleString()], path

    compare(transform.MESSAGE, verdict.MESSAGE, "message")
