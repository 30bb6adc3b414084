-- What is the name of your Kafka topic?
-- The topic, the database and the HDFS folder have one name, that of the feed: what the messages are. Here it is read
-- back from where the rows lie, with how much of the topic is landed.
SELECT current_database() AS topic, kafka_partition, min(kafka_offset) AS first_offset, max(kafka_offset) AS last_offset, count(*) AS messages
FROM messages
GROUP BY kafka_partition
ORDER BY kafka_partition
