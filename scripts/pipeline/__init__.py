"""The pipeline: Kafka -> Spark -> HDFS. What the scripts share; each room is a package here."""

VERSION = "1.0.0"  # of the whole project; CHANGELOG.md says what is new in each
