"""The pipeline: Kafka -> Spark -> HDFS. What the scripts share; each room is a package here."""
