"""Runs Spark jobs like the project's, so that the classes that the driver loads are recorded.

Run by: scripts/lib/classes.sh
    scripts/lib/env.sh python scripts/lib/classes.py

The jobs represent the pipeline's work but do not depend on its scripts: they read a topic as a
batch and as a stream, pass Arrow batches through Python, write Parquet and Delta to HDFS, and run
SQL as in queries/.
"""

from collections.abc import Iterator

from pyspark.sql import DataFrame

import config
import spark_session


def folder() -> str:
    """The HDFS folder of all that this script writes."""
    return f"{config.HDFS}/classes"


def same(batches: Iterator) -> Iterator:
    """The batches of Arrow, unchanged."""
    yield from batches


def write(batch: DataFrame, number: int) -> None:
    """Writes a batch of the stream as Parquet."""
    batch.mapInArrow(same, batch.schema).write.mode("overwrite").parquet(f"{folder()}/parquet")


def topic(reader) -> DataFrame:
    """The whole topic, by spark.read or spark.readStream."""
    return (
        reader.format("kafka")
        .option("kafka.bootstrap.servers", config.KAFKA)
        .option("subscribe", config.TOPIC)
        .option("startingOffsets", "earliest")
        .load()
    )


QUESTION = """
WITH groups AS (
  SELECT k, count(*) AS n, sum(id) AS total, round(avg(id), 2) AS mean,
         percentile_approx(id, 0.5) AS middle, count(DISTINCT text) AS texts,
         count_if(id > 5) AS some, max_by(text, id) AS last
  FROM classes.rows WHERE at > timestamp'1970-01-01' GROUP BY k HAVING count(*) > 1),
ranked AS (
  SELECT *, row_number() OVER (PARTITION BY k ORDER BY id DESC) AS place,
         lag(at) OVER (PARTITION BY k ORDER BY id) AS before
  FROM classes.rows)
SELECT groups.*, ranked.id, place,
       CASE WHEN before IS NULL THEN 'first' ELSE date_format(before, 'yyyy-MM') END AS month
FROM groups JOIN ranked ON groups.k = ranked.k
LEFT JOIN classes.rows AS other ON other.id = ranked.id
WHERE place <= 3 AND EXISTS (SELECT 1 FROM classes.rows AS same WHERE same.id = ranked.id)
UNION ALL SELECT 0, 0, 0, 0, 0, 0, 0, '', 0, 0, '' ORDER BY 1, 4"""


if __name__ == "__main__":
    spark = spark_session.get("classes", 0)
    spark.sparkContext.addPyFile(__file__)
    print(topic(spark.read).count())
    topic(spark.readStream).writeStream.foreachBatch(write).trigger(availableNow=True).option(
        "checkpointLocation", f"{folder()}/checkpoint"
    ).start().awaitTermination()
    print(spark.read.parquet(f"{folder()}/parquet").count())
    rows = spark.range(1000).selectExpr(
        "id", "id % 7 AS k", "cast(id AS string) AS text", "timestamp_seconds(id) AS at"
    )
    for _ in range(2):
        rows.write.format("delta").mode("append").save(f"{folder()}/delta")
    spark.sql("CREATE DATABASE IF NOT EXISTS classes")
    spark.sql(f"CREATE TABLE IF NOT EXISTS classes.rows USING delta LOCATION '{folder()}/delta'")
    spark.sql(QUESTION).show(5)
    delta = spark.read.format("delta").load(f"{folder()}/delta")
    print(len(spark.sql(QUESTION).collect()), len(delta.toPandas()))
    spark.stop()
