"""Records the classes that Spark's driver loads in sessions like the project's (see scripts/classes.sh).

    scripts/env.sh python scripts/classes.py

What it does stands for the pipeline's work, and does not depend on the pipeline's scripts: a topic read in a batch and
as a stream, Arrow batches through Python, Parquet and Delta on HDFS, and SQL as in queries/.
"""
from pyspark.sql import DataFrame

import feed
import tables

FOLDER = f"{feed.HDFS}/classes"


def same(batches):
    yield from batches


def write(batch: DataFrame, number):
    batch.mapInArrow(same, batch.schema).write.mode("overwrite").parquet(f"{FOLDER}/parquet")


def topic(reader):
    return (reader.format("kafka").option("kafka.bootstrap.servers", feed.KAFKA).option("subscribe", feed.TOPIC)
            .option("startingOffsets", "earliest").load())


QUESTION = """
WITH groups AS (
  SELECT k, count(*) AS n, sum(id) AS total, round(avg(id), 2) AS mean, percentile_approx(id, 0.5) AS middle,
         count(DISTINCT text) AS texts, count_if(id > 5) AS some, max_by(text, id) AS last
  FROM classes.rows WHERE at > timestamp'1970-01-01' GROUP BY k HAVING count(*) > 1),
ranked AS (
  SELECT *, row_number() OVER (PARTITION BY k ORDER BY id DESC) AS place, lag(at) OVER (PARTITION BY k ORDER BY id) AS before
  FROM classes.rows)
SELECT groups.*, ranked.id, place, CASE WHEN before IS NULL THEN 'first' ELSE date_format(before, 'yyyy-MM') END AS month
FROM groups JOIN ranked ON groups.k = ranked.k LEFT JOIN classes.rows AS other ON other.id = ranked.id
WHERE place <= 3 AND EXISTS (SELECT 1 FROM classes.rows AS same WHERE same.id = ranked.id)
UNION ALL SELECT 0, 0, 0, 0, 0, 0, 0, '', 0, 0, '' ORDER BY 1, 4"""


if __name__ == "__main__":
    spark = tables.session("classes", 0)
    spark.sparkContext.addPyFile(__file__)
    print(topic(spark.read).count())
    topic(spark.readStream).writeStream.foreachBatch(write).trigger(availableNow=True).option("checkpointLocation", f"{FOLDER}/checkpoint").start().awaitTermination()
    print(spark.read.parquet(f"{FOLDER}/parquet").count())
    rows = spark.range(1000).selectExpr("id", "id % 7 AS k", "cast(id AS string) AS text", "timestamp_seconds(id) AS at")
    for _ in range(2):
        rows.write.format("delta").mode("append").save(f"{FOLDER}/delta")
    spark.sql("CREATE DATABASE IF NOT EXISTS classes")
    spark.sql(f"CREATE TABLE IF NOT EXISTS classes.rows USING delta LOCATION '{FOLDER}/delta'")
    spark.sql(QUESTION).show(5)
    print(len(spark.sql(QUESTION).collect()), len(spark.read.format("delta").load(f"{FOLDER}/delta").toPandas()))
    spark.stop()
