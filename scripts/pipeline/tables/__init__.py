"""The four Delta tables of a feed in HDFS, read and committed without a JVM."""
