"""Spark: the session of a process, the feed's tables in it, and the questions asked of them."""
