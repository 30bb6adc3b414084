"""Landing: Kafka -> Spark -> the feed's tables, every record exactly once."""
