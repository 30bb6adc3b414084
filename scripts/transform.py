"""From Kafka records to rows of the four tables: pure functions, DataFrame -> DataFrame.

The shape of what goes in (`records`): kafka_partition int, kafka_offset bigint, kafka_timestamp timestamp,
key binary, value binary. land.py reads it from Kafka and writes what comes out.
"""
import re
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BooleanType, DataType, LongType, StringType, StructField, StructType

import tables
import verdict

# One message. Spark's own inference would read all of it twice and guess; this is what the collector sends.
# Field names and their order are the source's. Whether a field must be there is said in `_is_valid`.
TEXT, WHOLE, BOOL = StringType(), LongType(), BooleanType()


def _object(**fields: DataType) -> StructType:
    return StructType([StructField(name, kind) for name, kind in fields.items()])


MESSAGE = _object(
    keen_timestamp=TEXT, max_attempts=TEXT, started_at=TEXT, base_exam_id=TEXT, user_exam_id=TEXT,
    sequences=_object(
        questions=ArrayType(_object(
            user_incomplete=BOOL, user_correct=BOOL,
            options=ArrayType(_object(checked=BOOL, at=TEXT, id=TEXT, submitted=WHOLE, correct=BOOL)),
            user_submitted=BOOL, id=TEXT, user_result=TEXT)),
        attempt=WHOLE, id=TEXT,
        counts=_object(incomplete=WHOLE, submitted=WHOLE, incorrect=WHOLE, all_correct=BOOL, correct=WHOLE, total=WHOLE, unanswered=WHOLE)),
    keen_created_at=TEXT, certification=TEXT, keen_id=TEXT, exam_name=TEXT)

# What the fast path passes (\z: `$` would let a line end pass); all else is looked at closely (verdict.py), and may still be valid.
PLAIN_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z\z"
PLAIN_EPOCH = r"^\d{1,10}(\.\d{1,9})?\z"
SIX_DECIMALS = r"^\d+(\.\d{1,6})?"
PLAIN_NUMBER = r"^(0|[1-9]\d{0,8})(\.0{1,9})?\z"


def _signature_regex(kind: DataType) -> str:
    """What schema_of_variant says of a value that holds only declared fields, each of its declared type or null."""
    if isinstance(kind, StructType):
        fields = "".join(f"(?:{field.name}: {_signature_regex(field.dataType)}(?:, |(?=>)))?" for field in sorted(kind, key=lambda f: f.name))
        return f"(?:OBJECT<{fields}>|VOID)"
    if isinstance(kind, ArrayType):
        return f"(?:ARRAY<{_signature_regex(kind.elementType)}>|VOID)"
    return f"(?:{ {TEXT: 'STRING', WHOLE: 'BIGINT', BOOL: 'BOOLEAN'}[kind] }|VOID)"


def read_messages(records: DataFrame, nonce: str) -> DataFrame:
    """records -> records + message (struct MESSAGE, null unless valid), keen_id, content_hash, is_plain (boolean).

    from_json alone bends what it reads: it makes a text of a number, takes the last of two equal keys, and passes
    `{…} rubbish`. So Spark's strict JSON reader (VARIANT) looks at the text too: it refuses what is no JSON and
    tells the type of each field. To have it see the whole text, the message stands as a value before a key that no
    publisher can guess. (Reading the struct from the variant instead of the text took longer than both together:
    2.4 s against 1.4 s for 39,360 messages.)
    """
    text = F.col("value").cast("string")
    wrapped = F.concat(F.lit('{"message":'), text, F.lit(f',"z{nonce}":0}}'))
    signature = f"^OBJECT<message: {_signature_regex(MESSAGE)}, z{re.escape(nonce)}: BIGINT>\\z"
    return (
        records
        .withColumn("signature", F.schema_of_variant(F.try_parse_json(F.when(F.is_valid_utf8(text), wrapped))))
        .withColumn("message", F.from_json(F.when(F.col("signature").rlike(signature), text), MESSAGE))
        .withColumn("is_plain", F.coalesce(_is_valid(F.col("message")), F.lit(False)))
        .withColumn("message", F.when(F.col("is_plain"), F.col("message")))
        .select(*records.columns, "message", F.col("message.keen_id").alias("keen_id"), _content_hash().alias("content_hash"),
                F.lit(None).cast("string").alias("reason"), "is_plain")
    )


def examine_closely(records: DataFrame) -> DataFrame:
    """The same shape as read_messages, for the records that were not plain: `reason` says what is wrong with them."""
    examine = F.udf(verdict.examine, "reason string, keen_id string, canonical string", useArrow=False)
    return (
        records
        .withColumn("found", examine("value"))
        .withColumn("message", F.from_json("found.canonical", MESSAGE))
        .withColumn("content_hash", _content_hash())
        .select(*tables.TABLES["messages"].fieldNames()[:5],
                F.when(F.col("found.reason").isNull(), F.col("message")).alias("message"),
                F.col("found.keen_id").alias("keen_id"), "content_hash", F.col("found.reason").alias("reason"), F.lit(True).alias("is_plain"))
    )


def _content_hash() -> Column:
    """SHA-256 over the declared fields as compact JSON, in declared order, nulls left out."""
    return F.when(F.col("message").isNotNull(), F.sha2(F.to_json("message"), 256))


def _all(*conditions: Column) -> Column:
    return reduce(lambda a, b: a & b, conditions)


def _is_valid(message: Column) -> Column:
    """Whether a message of the right types has what it must have, and what it says agrees. Null counts as no."""
    sequences, counts = message.sequences, message.sequences.counts
    questions = sequences.questions
    options = F.flatten(F.transform(questions, lambda question: question.options))
    results = F.transform(questions, lambda question: question.user_result)

    def plain_time(column):
        return column.rlike(PLAIN_TIME) & column.try_cast("timestamp").isNotNull() & (column >= "1970")

    def how_many(result):
        return F.size(F.filter(results, lambda r: r == result))

    return _all(
        *(message[name].isNotNull() for name in MESSAGE.fieldNames() if name not in ("certification", "sequences")),
        sequences.attempt.between(-2**31, 2**31 - 1), sequences.id.isNotNull(), F.size(questions) >= 1,
        F.forall(questions, lambda question: question.id.isNotNull() & question.options.isNotNull()),
        F.forall(options, lambda option: option.id.isNotNull() & option.checked.isNotNull()),
        message.max_attempts.rlike(PLAIN_NUMBER),
        message.certification.isNull() | message.certification.isin("true", "false"),
        plain_time(message.started_at),
        F.forall(options, lambda option: option["at"].isNull() | plain_time(option["at"])),
        message.keen_timestamp.rlike(PLAIN_EPOCH), message.keen_created_at.rlike(PLAIN_EPOCH),
        F.forall(results, lambda result: result.isNull() | result.isin(*verdict.RESULTS)),
        counts.isNull() | _all(
            counts.total == F.size(questions),
            F.try_add(counts.submitted, counts.unanswered) == counts.total,
            counts.all_correct == (counts.correct == counts.total),
            # try_add: two numbers near the end of their range must not stop the batch.
            counts.total == reduce(F.try_add, [counts.correct, counts.incorrect, counts.incomplete, counts.unanswered]),
            *(counts[field] == how_many(result) for result, field in verdict.RESULTS.items())),
    )


def not_accepted(messages: DataFrame, earlier: DataFrame | None) -> DataFrame:
    """Which valid messages are not the first of their keen_id, and what that makes them.

    earlier: what was accepted in earlier batches, at least where the keen_id is in this one: keen_id, content_hash,
    kafka_partition, kafka_offset; None when there is nothing.
    -> kafka_partition, kafka_offset, status (duplicate or rejected), said (the reason)
    Only ids, hashes and positions are shuffled, never a message.
    """
    place = ["kafka_partition", "kafka_offset", "content_hash"]
    first = F.first(F.struct(*place)).over(Window.partitionBy("keen_id").orderBy("kafka_timestamp", "kafka_partition", "kafka_offset"))
    narrow = messages.where(F.col("reason").isNull()).select("keen_id", "kafka_timestamp", *place).withColumn("first", first)
    if earlier is not None:
        narrow = narrow.join(earlier.select("keen_id", F.struct(*place).alias("before")), "keen_id", "left")
        narrow = narrow.withColumn("first", F.coalesce("before", "first"))
    same_place = (F.col("kafka_partition") == F.col("first.kafka_partition")) & (F.col("kafka_offset") == F.col("first.kafka_offset"))
    same_content = F.col("content_hash") == F.col("first.content_hash")
    position = F.concat(F.col("first.kafka_partition").cast("string"), F.lit("-"), F.col("first.kafka_offset").cast("string"))
    return (
        narrow
        .where(~same_place)
        .select("kafka_partition", "kafka_offset",
                F.when(same_content, "duplicate").otherwise("rejected").alias("status"),
                F.concat(F.when(same_content, "duplicate_of: ").otherwise("conflicts_with: "), position).alias("said"))
    )


def with_status(messages: DataFrame, others: DataFrame) -> DataFrame:
    """messages + status and the final reason. others: what not_accepted gave."""
    return (
        messages
        .join(others, ["kafka_partition", "kafka_offset"], "left")
        .withColumn("status", F.coalesce("status", F.when(F.col("reason").isNull(), "accepted").otherwise("rejected")))
        .withColumn("reason", F.coalesce("reason", "said"))
    )


def _columns(table: str) -> list:
    return tables.TABLES[table].fieldNames()


def ledger_rows(judged: DataFrame) -> DataFrame:
    """Rows of `messages`: one for each record, whatever was in it."""
    return judged.select(_columns("messages"))


def attempt_rows(judged: DataFrame) -> DataFrame:
    """Rows of `attempts`: one for each accepted message."""
    counts = F.col("message.sequences.counts")
    return (
        judged
        .where(F.col("status") == "accepted")
        .withColumns({name: F.col(f"message.{name}") for name in ("user_exam_id", "base_exam_id", "exam_name")})
        .withColumn("started_at", F.col("message.started_at").cast("timestamp"))
        # Seconds as text with up to seven decimals; a timestamp holds six, the rest is cut off.
        .withColumns({name: F.regexp_extract(f"message.{name}", SIX_DECIMALS, 0).cast("decimal(38,6)").cast("timestamp") for name in ("keen_timestamp", "keen_created_at")})
        .withColumn("certification", F.col("message.certification") == "true")  # the text: "false" is not true
        .withColumn("max_attempts", F.col("message.max_attempts").cast("double").cast("int"))
        .withColumn("attempt", F.col("message.sequences.attempt").cast("int"))
        .withColumn("sequences_id", F.col("message.sequences.id"))
        .withColumns({name: counts[name].cast("int") for name in ("total", "correct", "incorrect", "incomplete", "unanswered", "submitted")})
        .withColumn("all_correct", counts.all_correct)
        .withColumn("question_count", F.size("message.sequences.questions"))
        .select(_columns("attempts"))
    )


def question_rows(judged: DataFrame) -> DataFrame:
    """Rows of `questions`: one for each question of each accepted message."""
    return _each_question(judged).select(
        "keen_id", "base_exam_id", "exam_name", "question_position", F.col("question.id").alias("question_id"),
        "question.user_result", "question.user_correct", "question.user_incomplete", "question.user_submitted",
        F.size("question.options").alias("option_count"))


def option_rows(judged: DataFrame) -> DataFrame:
    """Rows of `options`: one for each option of each question of each accepted message."""
    return (
        _each_question(judged)
        .select("keen_id", "base_exam_id", "exam_name", "question_position", F.col("question.id").alias("question_id"),
                F.posexplode("question.options").alias("option_position", "option"))
        .withColumn("option_id", F.col("option.id"))
        .withColumn("checked", F.col("option.checked"))
        .withColumn("clicked_at", F.col("option.at").cast("timestamp"))
        # The source says 1, or nothing; true, false, or nothing.
        .withColumn("submitted", F.coalesce(F.col("option.submitted") != 0, F.lit(False)))
        .withColumn("correct", F.coalesce("option.correct", F.lit(False)))
        .select(_columns("options"))
    )


def _each_question(judged: DataFrame) -> DataFrame:
    return (
        judged
        .where(F.col("status") == "accepted")
        .select("keen_id", "message.base_exam_id", "message.exam_name",
                F.posexplode("message.sequences.questions").alias("question_position", "question"))
    )
