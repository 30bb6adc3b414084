"""Sends a data file to a feed's topic: by a pipe of the reader of the file, jq and kcat."""

import os
import shlex
import subprocess
import sys

from kafka.errors import TopicAuthorizationFailedError

from pipeline.errors import Failure
from pipeline.kafka import topics
from pipeline.publishing.comparison import compare
from pipeline.settings import Feed


def check(feed: Feed, path: str) -> None:
    """Failure when the file is not there, or is not one for this feed."""
    make = feed.settings.make
    if os.path.isdir(path):
        then = feed.make("publish", DATA=shlex.quote(path.removesuffix("/")) + "/…")
        raise Failure(f"{path} is a folder", "what is published is one file", f"name it: {then}")
    if not os.path.isfile(path):
        synthetic = make("publish", DATA="data/synthetic.json", TOPIC="synthetic")
        then = f"type: {make('data')}; or use synthetic data:\n       {synthetic}"
        why = "make data could not get it, or DATA names another"
        raise Failure(f"there is no file {path}", why, then)
    is_synthetic = os.path.isfile(truth := f"{path}.truth.json")
    if is_synthetic and not feed.is_synthetic:
        raise Failure(
            f"{path} is invented data, and {feed.topic} is not a feed for such",
            f"{truth} beside it says so; invented data never enter a feed with real data",
            "use a feed whose name begins with synthetic:\n"
            f"       {make('publish', 'DATA', TOPIC='synthetic')}",
        )
    if feed.is_synthetic and not is_synthetic:
        what = f"{feed.topic} is a feed for invented data, and {path} is none"
        why = "feeds whose name begins with synthetic are for files that make data SYNTHETIC=… made"
        raise Failure(what, why, f"choose another name: {make('publish', 'DATA', TOPIC='…')}")


def is_there(feed: Feed, path: str) -> bool:
    """Whether the whole file is in the topic; says so, also when a part of it is."""
    if not _count(feed):  # no need to read the file, which may be large
        return False
    try:
        total, sendable, found, _ = compare(feed, path, repeats=True)
    except TopicAuthorizationFailedError:
        print(
            f"this account may write to topic {feed.topic}, and not read it: "
            "whether the messages are there already is not known (landing knows repeats)",
            file=sys.stderr,
        )
        return False
    if found == sendable > 0:
        there = f"all {sendable} messages of {path} are in topic {feed.topic} already"
        print(f"nothing to publish: {there} (FORCE=1 sends them again)")
        if total > sendable:
            name_them = f"to have them named: {feed.make('validate', 'DATA')}"
            print(f"  {total - sendable} record(s) of it cannot be sent; {name_them}")
        return True
    if found:
        there = f"{found} of the {sendable} messages of {path} are in topic {feed.topic}"
        print(f"{there}: sending all of it again; landing knows duplicates", flush=True)
    return False


def send(feed: Feed, path: str) -> None:
    """Sends the file. Failure when not all of it was sent."""
    before = _count(feed)
    reader, jq, kcat = _run_pipe(
        ["python", "-m", "pipeline.publishing.data_file", path],
        ["jq", "-r", "-f", "scripts/pipeline/publishing/keyed.jq"],
        ["kcat", "-P", "-b", feed.settings.kafka, "-t", feed.topic, "-K", r"\t", "-Z"]
        + ["-X", "enable.idempotence=true", "-X", "acks=all"],
    )
    after = _count(feed)
    sent = f"{before} messages before, {after} after: {after - before} sent"
    print(f"topic {feed.topic}: {sent}", flush=True)
    again = feed.make("publish", "DATA")
    if reader not in (0, 3) or jq or kcat:
        raise Failure(
            f"not all of {path} was sent: the reader of the file ended with {reader}, "
            f"jq with {jq}, kcat with {kcat}",
            "the messages of those that did not end with 0 are above; "
            f"Kafka is at {feed.settings.kafka}",
            "mend what they say (a broker that does not answer: "
            f"{feed.settings.make('status')});\n"
            f"       then again: {again} (nothing is doubled by that)",
        )
    if reader:
        what = f"some records of {path} were not sent; all others were"
        then = f"mend them in the file, then: {again} (what is there already becomes a duplicate)"
        raise Failure(what, "they are named above, by their numbers", then)


def _count(feed: Feed) -> int:
    return sum(topics.end_offsets(feed).values())


def _run_pipe(*commands: list[str]) -> list[int]:
    """Shows the pipe and runs it; returns the exit codes as a shell has them (128 + a signal)."""
    print("$ " + " | ".join(map(shlex.join, commands)), file=sys.stderr, flush=True)
    processes: list[subprocess.Popen[bytes]] = []
    for command in commands:
        source = processes[-1].stdout if processes else None
        target = subprocess.PIPE if command is not commands[-1] else None
        processes.append(subprocess.Popen(command, stdin=source, stdout=target))
        if source:
            source.close()  # else the program before would not notice that this one ended
    codes = [process.wait() for process in processes]
    return [128 - code if code < 0 else code for code in codes]
