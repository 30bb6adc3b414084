"""Runs Spark jobs like the project's, so that the classes that the driver loads are recorded.

Run by: scripts/class_lists.sh
    scripts/env.sh python -m pipeline.stack.class_lists

The jobs represent the pipeline's work but do not depend on its scripts: they read a topic as a
batch and as a stream, pass Arrow batches through Python, write Parquet and Delta to HDFS, and run
SQL as in queries/.
"""

from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql import DataFrame, DataFrameReader
from pyspark.sql.streaming.readwriter import DataStreamReader

from pipeline import script
from pipeline.settings import Settings
from pipeline.spark import session

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


def same(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches of Arrow, unchanged."""
    yield from batches


def main(settings: Settings) -> None:
    folder = f"{settings.hdfs}/classes"

    def topic(reader: DataFrameReader | DataStreamReader) -> DataFrame:
        options = {"subscribe": settings.topic, "startingOffsets": "earliest"}
        options["kafka.bootstrap.servers"] = settings.kafka
        return reader.format("kafka").options(**options).load()

    def write(batch: DataFrame, number: int) -> None:
        unchanged = batch.mapInArrow(same, batch.schema)
        unchanged.write.mode("overwrite").parquet(f"{folder}/parquet")

    spark = session.get(settings, "classes", 0)
    spark.sparkContext.addPyFile(__file__)
    print(topic(spark.read).count())
    topic(spark.readStream).writeStream.foreachBatch(write).trigger(availableNow=True).option(
        "checkpointLocation", f"{folder}/checkpoint"
    ).start().awaitTermination()
    print(spark.read.parquet(f"{folder}/parquet").count())
    rows = spark.range(1000).selectExpr(
        "id", "id % 7 AS k", "cast(id AS string) AS text", "timestamp_seconds(id) AS at"
    )
    for _ in range(2):
        rows.write.format("delta").mode("append").save(f"{folder}/delta")
    spark.sql("CREATE DATABASE IF NOT EXISTS classes")
    spark.sql(f"CREATE TABLE IF NOT EXISTS classes.rows USING delta LOCATION '{folder}/delta'")
    spark.sql(QUESTION).show(5)
    delta = spark.read.format("delta").load(f"{folder}/delta")
    print(len(spark.sql(QUESTION).collect()), len(delta.toPandas()))
    spark.stop()


if __name__ == "__main__":
    script.run(main)
