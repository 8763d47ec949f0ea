"""How `verify` reads: what ends a shard, what is asked again, how errors are told; answers are scripted."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from aiohttp import web

from tickerd.reading import ReadingError
from tickerd.reading.client import open_kinesis
from tickerd.reading.get_records import records_call
from tickerd.reading.report import Report
from tickerd.reading.stream import Span, StreamReader, StreamShard
from tickerd.reading.verify import VerifyOptions, verify
from tickerd.records import Forex

SOURCE = "i-0abc123-0-k7m2qx4d"
NOW_S = time.time()
Answer = tuple[int, dict[str, Any]]


class ScriptedStream:
    """A server of Kinesis' JSON protocol that gives each shard's GetRecords answers in the order written."""

    def __init__(self, shards: dict[str, list[Answer]], lists: list[dict[str, Any]] | None = None) -> None:
        self.shards = shards
        self.lists = lists or [{"Shards": [listed(name) for name in shards]}]
        self.summary: Answer = (200, {"StreamDescriptionSummary": {"RetentionPeriodHours": 24}})
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.asked_at: dict[str, list[float]] = {}
        self.url = ""

    def asked_for(self, operation: str) -> list[dict[str, Any]]:
        return [body for name, body in self.asked if name == operation]

    async def answer(self, request: web.Request) -> web.Response:
        operation = request.headers["X-Amz-Target"].split(".")[1]
        body = msgspec.json.decode(await request.read())
        self.asked.append((operation, body))
        self.asked_at.setdefault(operation, []).append(asyncio.get_running_loop().time())
        status, reply = self.reply(operation, body)
        return web.Response(
            body=msgspec.json.encode(reply),
            status=status,
            content_type="application/x-amz-json-1.1",
            headers={"Date": formatdate(NOW_S, usegmt=True)},
        )

    def reply(self, operation: str, body: dict[str, Any]) -> Answer:
        """What is answered: a status and JSON."""
        if operation == "ListShards":
            return 200, self.lists[len(self.asked_for("ListShards")) - 1]
        if operation == "DescribeStreamSummary":
            return self.summary
        if operation == "GetShardIterator":
            return 200, {"ShardIterator": body["ShardId"]}
        return self.shards[body["ShardIterator"]].pop(0)


@asynccontextmanager
async def serving(stream: ScriptedStream) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/", stream.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def listed(name: str, parent: str | None = None) -> dict[str, Any]:
    shard: dict[str, Any] = {"ShardId": name, "SequenceNumberRange": {"StartingSequenceNumber": "0"}}
    return shard | ({"ParentShardId": parent} if parent else {})


def page(
    seqs: range, behind_ms: int = 0, following: str | None = "a", arrival_s: float = NOW_S - 100
) -> Answer:
    stamp = "2026-11-24T16:00:00.000Z"
    records = [
        {
            "SequenceNumber": str(seq),
            "PartitionKey": "k",
            "ApproximateArrivalTimestamp": arrival_s,
            "Data": base64.b64encode(
                msgspec.json.encode(Forex("EUR/USD", 1.1, 1.1, 1.1, stamp, SOURCE, seq))
            ).decode(),
        }
        for seq in seqs
    ]
    return 200, {"Records": records, "NextShardIterator": following, "MillisBehindLatest": behind_ms}


def error(code: str) -> Answer:
    return 400, {"__type": code, "message": "no"}


NOTHING = range(0)


def judged(stream: ScriptedStream, name: str = "s", **options: Any) -> Report:
    """The report of the scripted stream."""

    async def scripted() -> Report:
        async with serving(stream) as url:
            options_ = VerifyOptions(name, endpoint_url=url, region="eu-west-1", settle_s=0, **options)
            return await verify(options_)

    return asyncio.run(scripted())


def read(stream: ScriptedStream, name: str = "s") -> int:
    """How many records a verification of the scripted stream reads; every scripted answer must be used."""
    total = judged(stream, name).totals.records
    assert not any(stream.shards.values())
    return total


def test_a_closed_shard_is_read_until_it_has_no_next_iterator() -> None:
    assert read(ScriptedStream({"a": [page(range(2)), page(range(2, 4), following=None)]})) == 4


def test_an_empty_answer_that_is_behind_is_not_the_end() -> None:
    assert read(ScriptedStream({"a": [page(NOTHING, 5000), page(range(3)), page(NOTHING)]})) == 3


def test_a_full_answer_is_not_the_end_though_it_claims_to_be_caught_up() -> None:
    assert read(ScriptedStream({"a": [page(range(3), 0), page(range(3, 6), 0), page(NOTHING, 0)]})) == 6


def test_a_stream_that_is_written_for_ever_is_read_up_to_the_start_of_the_reading() -> None:
    fresh = page(range(3, 6), 0, arrival_s=NOW_S + 60)
    assert read(ScriptedStream({"a": [page(range(3)), fresh]})) == 6


def test_an_expired_iterator_is_renewed_after_the_last_record_read() -> None:
    stream = ScriptedStream({"a": [page(range(3)), error("ExpiredIteratorException"), page(NOTHING)]})
    assert read(stream) == 3
    first, second = stream.asked_for("GetShardIterator")
    assert first["ShardIteratorType"] == "TRIM_HORIZON"
    assert (second["ShardIteratorType"], second["StartingSequenceNumber"]) == ("AFTER_SEQUENCE_NUMBER", "2")


def test_an_iterator_that_expires_before_the_first_record_starts_anew() -> None:
    stream = ScriptedStream({"a": [error("ExpiredIteratorException"), page(range(1)), page(NOTHING)]})
    assert read(stream) == 1
    assert [asked["ShardIteratorType"] for asked in stream.asked_for("GetShardIterator")] == [
        "TRIM_HORIZON",
        "TRIM_HORIZON",
    ]


def test_a_throttled_read_is_asked_again() -> None:
    throttled = [
        error("ProvisionedThroughputExceededException")
    ] * 5  # one more than the library tries itself
    assert read(ScriptedStream({"a": [*throttled, page(range(2)), page(NOTHING)]})) == 2


def test_a_failure_of_the_service_that_passes_is_waited_out() -> None:
    failing = [(500, {"__type": "InternalFailure"}), (503, {}), (500, {})]
    assert read(ScriptedStream({"a": [*failing, page(range(2)), page(NOTHING)]})) == 2


def test_a_failure_of_the_service_that_lasts_is_told() -> None:
    line = told(ScriptedStream({"a": [(500, {"__type": "InternalFailure", "message": "no"})] * 4}))
    assert "GetRecords failed in region eu-west-1" in line
    assert "InternalFailure no" in line


@pytest.mark.parametrize("answer", [[], {"Records": 5}, {"Records": [{"Data": "not base64"}]}])
def test_an_answer_that_is_none_of_the_service_is_told_in_one_line(answer: Any) -> None:
    assert "the answer to GetRecords cannot be read" in told(ScriptedStream({"a": [(200, answer)]}))


def test_only_arrivals_from_and_before_the_moments_asked_for_count_to_the_millisecond() -> None:
    span: dict[str, Any] = {
        "from_time": datetime.fromtimestamp(1_795_000_000.250, UTC),
        "to_time": datetime.fromtimestamp(1_795_000_000.750, UTC),
    }
    at = {0: 0.0, 1: 0.249, 2: 0.250, 3: 0.5, 4: 0.749}
    answers = [page(range(seq, seq + 1), arrival_s=1_795_000_000 + after_s) for seq, after_s in at.items()]
    answers.append(page(range(5, 6), arrival_s=1_795_000_000.750))
    with_more = ScriptedStream({"a": [*answers, page(range(6, 9))]})
    assert judged(with_more, **span).sources[0].next_seq == 5
    assert judged(ScriptedStream({"a": answers}), **span).totals.records == 3
    assert len(with_more.shards["a"]) == 1  # what arrived after the end is not asked for


def test_a_moment_that_is_yet_to_come_is_refused() -> None:
    ahead = datetime.now(UTC) + timedelta(hours=1)
    with pytest.raises(ReadingError, match=r"^--from: .* is yet to come; give"):
        asyncio.run(verify(VerifyOptions("s", endpoint_url="http://127.0.0.1:9", from_time=ahead)))


def test_children_are_read_when_their_parents_have_ended() -> None:
    lists = [{"Shards": [listed("c", "p"), listed("p")]}]
    parent = [page(range(seq, seq + 1)) for seq in range(5)] + [page(NOTHING, following=None)]
    stream = ScriptedStream({"p": parent, "c": [page(range(5, 6)), page(NOTHING)]}, lists)
    for answer in parent[:-1]:
        answer[1]["NextShardIterator"] = "p"
    stream.shards["c"][0][1]["NextShardIterator"] = "c"
    assert read(stream) == 6
    assert [body["ShardIterator"] for body in stream.asked_for("GetRecords")] == ["p"] * 6 + ["c"] * 2


def test_where_the_limits_are_kept_a_shard_is_asked_five_times_a_second_at_most() -> None:
    stream = ScriptedStream({"a": [page(range(seq, seq + 1)) for seq in range(4)] + [page(NOTHING)]})

    async def scripted() -> None:
        async with (
            serving(stream) as url,
            open_kinesis("eu-west-1", url) as (client, session),
            records_call(session, "eu-west-1", url, 1) as get_records,
        ):
            reader = StreamReader(client, get_records, "s", keep_limits=True)
            await reader.read(StreamShard("a", (), is_open=True), Span(), lambda *_: None)

    asyncio.run(scripted())
    times = stream.asked_at["GetRecords"]
    assert min(later - earlier for earlier, later in pairwise(times)) > 0.15  # 0.2 from call to call


def test_all_pages_of_the_list_of_shards_are_asked_for() -> None:
    lists: list[dict[str, Any]] = [
        {"Shards": [listed("a")], "NextToken": "more"},
        {"Shards": [listed("b", parent="a")]},
    ]
    stream = ScriptedStream({"a": [page(range(1), following=None)], "b": [page(NOTHING)]}, lists)
    assert read(stream) == 1
    assert stream.asked_for("ListShards")[0]["StreamName"] == "s"
    assert stream.asked_for("ListShards")[1]["NextToken"] == "more"
    assert "StreamName" not in stream.asked_for("ListShards")[1]


def test_an_arn_is_asked_for_as_such() -> None:
    arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/market-log"
    stream = ScriptedStream({"a": [page(NOTHING)]})
    read(stream, arn)
    assert {body.get("StreamARN") for _, body in stream.asked} == {arn}
    assert {body.get("StreamName") for _, body in stream.asked} == {None}


def told(stream: ScriptedStream) -> str:
    async def scripted() -> None:
        async with serving(stream) as url:
            await verify(VerifyOptions("market-log", endpoint_url=url, region="eu-west-1"))

    with pytest.raises(ReadingError) as raised:
        asyncio.run(scripted())
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_refusal_names_the_call_and_the_permission() -> None:
    line = told(ScriptedStream({"a": [error("AccessDeniedException")], "b": [page(NOTHING)]}))
    assert line.startswith(
        "stream market-log: GetRecords was refused in region eu-west-1 at http://127.0.0.1"
    )
    assert "allow kinesis:GetRecords" in line


def test_a_stream_without_shards_is_no_stream() -> None:
    assert "lists no shards" in told(ScriptedStream({}, [{}]))
