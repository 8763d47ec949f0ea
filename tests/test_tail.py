"""`tail` shows records as they arrive, whatever they are packed in, and goes quietly."""

import base64
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aws_kinesis_agg.aggregator import RecordAggregator

from daemon import Host, Process, Stream, eventually
from made import SOURCE, Keyed, made
from tickerd.reading.get_records import Entry
from tickerd.reading.stream import StreamShard
from tickerd.reading.tail import Lines, TailOptions

KEYED = made(200).keyed
LONG_AGO = ("--from", "2020-01-01T00:00:00Z")


class Tail:
    """A `tickerd tail` whose lines go to a file."""

    def __init__(self, process: Process, out: Path) -> None:
        self.process = process
        self._out = out

    def lines(self) -> list[bytes]:
        return self._out.read_bytes().splitlines()

    def await_lines(self, number: int) -> list[bytes]:
        eventually(f"{number} lines", lambda: len(self.lines()) >= number, self.process.said)
        return self.lines()


def where(stream: Stream) -> list[str]:
    return ["--stream", stream.name, "--set", f"kinesis.endpoint_url={stream.url}"]


@contextmanager
def tailing(host: Host, stream: Stream, *arguments: str) -> Iterator[Tail]:
    """A tail that has begun to read."""
    reads = stream.local.stats()["operations"].get("GetRecords", 0)
    path = host.directory / "tail"
    with path.open("w") as out:
        tail = Tail(host.process("tail", *arguments, *where(stream), out=out), path)
        eventually(
            "the first reads", lambda: stream.local.stats()["operations"].get("GetRecords", 0) >= reads + 4
        )
        yield tail


def put(stream: Stream, keyed: Sequence[Keyed]) -> None:
    records = [{"PartitionKey": key, "Data": base64.b64encode(data).decode()} for key, data in keyed]
    stream.local.call("PutRecords", StreamName=stream.name, Records=records)


def aggregate(keyed: Sequence[Keyed]) -> bytes:
    aggregator = RecordAggregator()
    for key, data in keyed:
        aggregator.add_user_record(key, data)
    return bytes(aggregator.clear_and_get().get_contents()[2])


def test_what_arrives_is_shown_and_what_was_there_before_is_not(host: Host, stream: Stream) -> None:
    put(stream, KEYED[:50])
    with tailing(host, stream) as tail:
        put(stream, KEYED[50:150])
        tail.await_lines(100)
        put(stream, KEYED[150:])
        lines = tail.await_lines(150)
        assert tail.process.stop(signal.SIGINT) == 0
    assert sorted(lines) == sorted(data for _, data in KEYED[50:])
    assert tail.process.said() == ""


def test_from_a_moment_on_shows_what_arrived_since(host: Host, stream: Stream) -> None:
    put(stream, KEYED[:50])
    time.sleep(0.05)
    since = datetime.now(UTC).isoformat()
    time.sleep(0.05)
    put(stream, KEYED[50:])
    with tailing(host, stream, "--from", since) as tail:
        assert sorted(tail.await_lines(150)) == sorted(data for _, data in KEYED[50:])
        assert tail.process.stop() == 0


def test_only_the_sources_and_feeds_asked_for_are_shown(host: Host, stream: Stream) -> None:
    others = made(200, source="other-0-k7m2qx4d").keyed
    put(stream, [*KEYED, *others])
    wanted = [data for _, data in KEYED if b'"type":"stock"' not in data]
    arguments = ("--source", SOURCE, "--feed", "forex", "--feed", "news")
    with tailing(host, stream, *LONG_AGO, *arguments) as tail:
        assert sorted(tail.await_lines(len(wanted))) == sorted(wanted)
        assert tail.process.stop() == 0


def test_the_children_of_a_split_are_shown_after_their_parent(host: Host, stream: Stream) -> None:
    key = KEYED[0][0]
    ours = [(key, data) for _, data in KEYED]
    with tailing(host, stream) as tail:
        put(stream, ours[:100])
        for shard in stream.local.call("ListShards", StreamName=stream.name)["Shards"]:
            keys = shard["HashKeyRange"]
            middle = (int(keys["StartingHashKey"]) + int(keys["EndingHashKey"])) // 2
            names = {"StreamName": stream.name, "ShardToSplit": shard["ShardId"]}
            stream.local.call("SplitShard", **names, NewStartingHashKey=str(middle))
        put(stream, ours[100:])
        lines = tail.await_lines(200)
        assert tail.process.stop() == 0
    assert lines == [data for _, data in ours]  # one key has one order, over the split too


@pytest.mark.parametrize("arriving", [True, False])
def test_a_reader_that_goes_ends_it_without_a_word(host: Host, stream: Stream, arriving: bool) -> None:
    put(stream, KEYED)
    command = [sys.executable, "-P", "-m", "tickerd", "tail", *LONG_AGO, *where(stream)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=host.environment
    ) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        tail.stdout.readline()
        tail.stdout.close()
        if arriving:
            put(stream, KEYED)
        tail.wait(60)
        assert tail.stderr.read() == b""


def test_a_stream_that_is_not_there_is_one_line(host: Host, stream: Stream) -> None:
    ran = host.tickerd("tail", "--stream", "nowhere", "--set", f"kinesis.endpoint_url={stream.url}")
    assert ran.returncode == 1
    assert ran.stderr.startswith("tickerd: stream nowhere: there is none in ")
    assert len(ran.stderr.splitlines()) == 1


def shown(*data: bytes, **options: Any) -> tuple[list[bytes], str]:
    """The lines of entries of a shard that owns all hash keys, and what is told of the rest."""
    lines = Lines(TailOptions("s", **options))
    shard = StreamShard("shardId-000000000000", (), is_open=True)
    entries = [Entry(str(number), each, 1.8e9) for number, each in enumerate(data)]
    return lines.of(shard, entries).splitlines(), lines.not_shown()


def test_lines_and_aggregates_are_shown_record_by_record() -> None:
    payloads = [data for _, data in KEYED]
    entries = (payloads[0], b"\n".join(payloads[1:80]), aggregate(KEYED[80:150]), *payloads[150:])
    assert shown(*entries) == (payloads, "")


def test_messagepack_is_shown_as_the_json_of_the_same_record() -> None:
    packed = made(200, record_format="msgpack").payloads
    lines, _ = shown(*packed)
    assert [json.loads(line) for line in lines] == [msgspec.msgpack.decode(data) for data in packed]
    assert list(json.loads(lines[0])) == list(json.loads(KEYED[0][1]))


def test_what_is_no_record_is_counted_and_not_shown() -> None:
    good, bad = KEYED[0][1], aggregate(KEYED[:3])
    assert shown(good, b"hello", good[:-1], bad[:-1]) == ([good], "2 corrupt, 1 foreign")
    lines = Lines(TailOptions("s"))
    assert lines.of(StreamShard("s", (), True, 0, 0), [Entry("1", bad, 1.0)]) == b""
    assert lines.not_shown() == "3 outside their shard"
