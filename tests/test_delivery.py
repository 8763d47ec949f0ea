"""Delivery over a real protocol: nothing counts before its acknowledgement, and nothing is lost."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from aiohttp import web

from test_checkpoint import state
from tickerd.batch import Batch
from tickerd.checkpoint import Progress
from tickerd.encoding import encoder
from tickerd.kinesis import delivery as deliveries
from tickerd.kinesis import gate as gates
from tickerd.kinesis import stream as streams
from tickerd.kinesis.cause import Cause
from tickerd.kinesis.delivery import Delivery
from tickerd.kinesis.gate import Gate
from tickerd.kinesis.stream import KinesisStream
from tickerd.local import Faults, LocalEndpoint, LocalOptions
from tickerd.observe.counters import Report
from tickerd.records import News, Record
from tickerd.settings import Kinesis

INSTRUMENTS = ("EUR/USD", "QRVA", "ZZZZ")
RECORDS_PER_FRAME = 20  # of the state that test_checkpoint makes


class Lab:
    """A stream, its gate and delivery, in this process, towards any endpoint."""

    def __init__(self, endpoint: str, **settings: Any) -> None:
        settings = {"endpoint_url": endpoint, "stream": "market-log", "region": "us-east-1"} | settings
        self.settings = msgspec.structs.replace(Kinesis(), **settings)
        self.report = Report()
        self.gate = Gate(self.report, lambda: True)
        self.progress = Progress(state(begun_below=10_000))
        self.stream = KinesisStream(
            self.settings, INSTRUMENTS, np.array([0.5, 0.3, 0.2]), 1, self.gate, self.report
        )
        self.delivery = Delivery(self.stream, self.gate, self.progress, self.report, self.settings)
        self.seq = 0

    def batch(self, records: int = RECORDS_PER_FRAME) -> Batch:
        """One frame's records; their bytes tell their seq."""
        frame = self.progress.next_frame
        self.progress.begin(frame, records)
        made: list[Record] = []
        for _ in range(records):
            made.append(
                News("QRVA", "item", "guidance", 0.5, 1, "2026-11-24T16:00:00.000Z", "s-0-abcdefgh", self.seq)
            )
            self.seq += 1
        rows = np.arange(records, dtype=np.int32) % len(INSTRUMENTS)
        return Batch(frame, self.seq - records, made, rows, np.full(records, 2, np.uint8))

    async def send(self, records: int) -> None:
        """Generate and send so many records, and the call that is not full."""
        encode = encoder("json")
        while records > 0:
            for call in self.stream.pack(self.batch(min(records, 5000)), encode):
                await self.delivery.submit(call)
            records -= 5000
        for call in self.stream.flush():
            await self.delivery.submit(call)

    @property
    def acked(self) -> int:
        return sum(self.report.counts.records_acked)


@asynccontextmanager
async def lab(endpoint: str, **settings: Any) -> AsyncIterator[Lab]:
    made = Lab(endpoint, **settings)
    opening = asyncio.create_task(made.stream.open())
    try:
        await asyncio.wait_for(opening, 60)
        yield made
    finally:
        opening.cancel()
        await made.delivery.abandon()
        await made.stream.close()


@asynccontextmanager
async def local(**options: Any) -> AsyncIterator[tuple[LocalEndpoint, str]]:
    endpoint = LocalEndpoint(LocalOptions(port=0, **options))
    url = await endpoint.start()
    try:
        yield endpoint, url
    finally:
        await endpoint.stop()


def stored(endpoint: LocalEndpoint) -> int:
    """Records that the stream holds, with those stored twice."""
    held = endpoint.stats()["held_records"]
    assert isinstance(held, int)
    return held


async def eventually(condition: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of many tries need not wait long between them."""
    monkeypatch.setattr(deliveries, "RETRY_MAX_S", 0.1)


def test_everything_arrives_and_is_counted_as_it_arrived() -> None:
    async def story() -> None:
        async with local(shard_limits=False) as (endpoint, url), lab(url, shard_limits=False) as made:
            await made.send(12_345)
            await made.delivery.drain()
            assert made.acked == stored(endpoint) == 12_345
            assert made.progress.owed == 0
            counts = made.report.counts
            assert counts.records_acked == [0, 0, 12_345]
            assert counts.put_requests == {"acknowledged": 25}
            assert counts.entries_acked == 12_345
            assert counts.bytes_acked[2] == endpoint.stats()["bytes"]
            assert counts.put_errors == {}

    asyncio.run(story())


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize(
    "faults", [Faults(throttled=0.3), Faults(error=0.3), Faults(lost_ack=0.3), Faults(0.1, 0.1, 0.1)]
)
def test_faults_delay_but_lose_nothing(faults: Faults) -> None:
    async def story() -> None:
        async with local(shard_limits=False) as (endpoint, url), lab(url, shard_limits=False) as made:
            endpoint.faults = faults
            await made.send(20_000)
            await made.delivery.drain()
            assert made.acked == 20_000
            assert made.progress.owed == 0
            again = stored(endpoint) - 20_000
            assert again >= 0
            assert (again > 0) == (faults.lost_ack > 0)
            assert made.report.counts.record_retries > 0

    asyncio.run(story())


@pytest.mark.usefixtures("quick_retries")
def test_only_throttled_entries_are_sent_again() -> None:
    async def story() -> None:
        async with local(shard_limits=False) as (endpoint, url), lab(url, shard_limits=False) as made:
            endpoint.faults = Faults(throttled=0.5)
            await made.send(5000)
            await made.delivery.drain()
            assert stored(endpoint) == 5000
            errors = made.report.counts.put_errors
            assert made.report.counts.record_retries == sum(errors.values())
            assert endpoint.stats()["entries"] == 5000 + sum(errors.values())

    asyncio.run(story())


def test_nothing_counts_before_its_acknowledgement() -> None:
    async def story() -> None:
        async with local(shard_limits=False) as (endpoint, url), lab(url, shard_limits=False) as made:
            endpoint.faults = Faults(lost_ack=1.0)
            await made.send(1000)
            await eventually(lambda: stored(endpoint) >= 1000)
            assert made.acked == 0
            assert made.progress.owed == 1000
            endpoint.faults = Faults()
            await made.delivery.drain()
            assert made.acked == 1000

    asyncio.run(story())


def test_calls_in_flight_are_bounded_and_hold_generation_back() -> None:
    async def story() -> None:
        async with local(shard_limits=False) as (endpoint, url):
            async with lab(url, shard_limits=False, calls_in_flight_max=3) as made:
                endpoint.faults = Faults(outage=True)
                sending = asyncio.create_task(made.send(5000))
                await eventually(lambda: made.report.requests_in_flight == 3)
                await asyncio.sleep(0.3)
                assert made.report.requests_in_flight == 3
                assert not sending.done()
                endpoint.faults = Faults()
                await sending
                await made.delivery.drain()
                assert made.acked == 5000

    asyncio.run(story())


def test_the_backlog_is_bounded_in_bytes_but_one_call_always_goes() -> None:
    async def story() -> None:
        async with local(shard_limits=False) as (endpoint, url):
            async with lab(url, shard_limits=False, backlog_bytes_max=1) as made:
                endpoint.faults = Faults(latency_ms=20)
                most = 0
                sending = asyncio.create_task(made.send(5000))
                while not sending.done():
                    most = max(most, made.report.requests_in_flight)
                    await asyncio.sleep(0.005)
                await made.delivery.drain()
                assert most == 1
                assert made.acked == 5000

    asyncio.run(story())


def test_a_shards_published_limit_is_kept_so_that_nothing_is_throttled() -> None:
    async def story() -> None:
        async with local(shards=2) as (endpoint, url), lab(url) as made:
            await made.send(3000)
            await made.delivery.drain()
            assert made.acked == 3000
            assert endpoint.stats()["throttled"] == 0

    asyncio.run(story())


def test_a_denied_permission_is_one_problem_and_few_calls_and_passes_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gates, "PROBE_PERMANENT_S", 0.3)

    async def story() -> None:
        async with local(shard_limits=False) as (endpoint, url), lab(url, shard_limits=False) as made:
            endpoint.faults = Faults(deny=True)
            await made.send(5000)
            await asyncio.sleep(1.5)
            (problem,) = made.report.problems
            assert problem.code == "AccessDeniedException"
            assert "kinesis:PutRecords" in problem.message
            operations = endpoint.stats()["operations"]
            assert isinstance(operations, dict)
            assert operations["PutRecords"] <= 10 + 1.5 / 0.3 + 1  # those in flight, then one probe at a time
            assert made.acked == 0
            endpoint.faults = Faults()
            await made.delivery.drain()
            assert made.acked == stored(endpoint) == 5000
            assert made.report.problems == []

    asyncio.run(story())


def test_an_endpoint_that_does_not_answer_is_probed_and_recovers() -> None:
    async def story() -> None:
        async with local(shard_limits=False) as (endpoint, url), lab(url, shard_limits=False) as made:
            endpoint.faults = Faults(outage=True)
            await made.send(6000)
            await eventually(lambda: bool(made.report.problems))
            assert made.report.problems[0].code == "ConnectionError"
            endpoint.faults = Faults()
            await made.delivery.drain()
            assert made.acked == 6000
            assert made.report.problems == []

    asyncio.run(story())


def test_a_missing_stream_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "PROBE_PERMANENT_S", 0.2)

    async def story() -> None:
        async with local() as (_, url):
            made = Lab(url, stream="not-yet")
            opening = asyncio.create_task(made.stream.open())
            await eventually(lambda: bool(made.report.problems))
            assert made.report.problems[0].code == "ResourceNotFoundException"
            assert "create the stream" in made.report.problems[0].message
            creator = Lab(url)
            await creator.stream.open()
            await creator.stream._client._client.create_stream(StreamName="not-yet", ShardCount=2)
            await asyncio.wait_for(opening, 30)
            assert made.report.problems == []
            assert made.report.stream is not None
            assert made.report.stream.shards == 2
            await creator.stream.close()
            await made.stream.close()

    asyncio.run(story())


def test_only_the_worker_whose_turn_it_is_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "PROBE_PERMANENT_S", 0.05)
    monkeypatch.setattr(gates, "POLL_S", 0.05)
    turn = False

    async def story() -> None:
        nonlocal turn
        async with local(shard_limits=False) as (endpoint, url), lab(url, shard_limits=False) as made:
            made.gate._may_probe = lambda: turn
            endpoint.faults = Faults(deny=True)
            await made.send(100)
            await eventually(lambda: bool(made.report.problems))
            refusals = made.gate.refusals
            await asyncio.sleep(0.5)
            assert made.gate.refusals == refusals
            turn = True
            await eventually(lambda: made.gate.refusals > refusals)

    asyncio.run(story())


def test_a_call_that_waits_to_probe_goes_as_soon_as_another_has_opened_the_gate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gates, "PROBE_PERMANENT_S", 3600)
    monkeypatch.setattr(gates, "POLL_S", 0.05)

    async def story() -> None:
        gate = Gate(Report(), lambda: True)
        gate.close(Cause("AccessDeniedException", "not yet", permanent=True), probed=False)
        waiting = [asyncio.create_task(gate.passage()) for _ in range(3)]
        await asyncio.sleep(0.2)
        assert not any(each.done() for each in waiting)
        gate.open()  # by a call that had been on its way
        async with asyncio.timeout(60):
            assert [await each for each in waiting] == [False] * 3

    asyncio.run(story())


def test_even_keys_fill_every_shard_alike() -> None:
    async def story() -> None:
        async with local(shards=5, shard_limits=False) as (endpoint, url):
            async with lab(url, shard_limits=False, partition_key="even") as made:
                await made.send(5000)
                await made.delivery.drain()
                shards = endpoint._account.streams["market-log"].shards
                assert len(shards) == 5
                assert made.report.stream is not None
                assert made.report.stream.ceiling_records_per_second == pytest.approx(5000)
                assert stored(endpoint) == 5000

    asyncio.run(story())


def test_a_reshard_is_noticed_and_its_shards_are_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "REFRESH_S", 0.1)

    async def story() -> None:
        async with local(shards=2, shard_limits=False) as (endpoint, url):
            async with lab(url, shard_limits=False, partition_key="even") as made:
                await made.send(1000)
                await made.delivery.drain()
                scaled = {"StreamName": "market-log", "TargetShardCount": 4, "ScalingType": "UNIFORM_SCALING"}
                await made.stream._client._client.update_shard_count(**scaled)
                await eventually(lambda: made.report.stream is not None and made.report.stream.shards == 4)
                await made.send(4000)
                await made.delivery.drain()
                assert made.acked == stored(endpoint) == 5000
                shards = endpoint._account.streams["market-log"].open_shards
                assert [sum(1 for _ in shard.log.read(0)) for shard in shards] == [1000] * 4

    asyncio.run(story())


def test_an_unfilled_call_waits_for_linger_ms_from_its_first_record_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 100.0
    monkeypatch.setattr(streams, "time", SimpleNamespace(monotonic=lambda: now_s))

    async def story() -> None:
        nonlocal now_s
        async with local(shard_limits=False) as (_, url), lab(url, linger_ms=200) as made:
            encode = encoder("json")
            assert made.stream.pack(made.batch(), encode) == []
            assert made.stream.lingering() == []
            now_s += 0.15
            assert made.stream.pack(made.batch(), encode) == []  # a younger one does not make it wait longer
            now_s += 0.1
            assert [len(call) for call in made.stream.lingering()] == [2 * RECORDS_PER_FRAME]
            assert made.stream.lingering() == []

    asyncio.run(story())


Answers = Callable[[str, dict[str, Any]], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def service(
    put: Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """A stream of one shard whose PutRecords answers are the test's."""
    summary = {
        "StreamName": "market-log",
        "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/market-log",
        "StreamStatus": "ACTIVE",
        "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": 1.0,
        "EnhancedMonitoring": [],
        "OpenShardCount": 1,
    }
    shard = {
        "ShardId": "shardId-000000000000",
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": str(2**128 - 1)},
        "SequenceNumberRange": {"StartingSequenceNumber": "1"},
    }

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        operation = request.headers["X-Amz-Target"].partition(".")[2]
        body = json.loads(await request.read())
        if operation == "DescribeStreamSummary":
            return web.json_response({"StreamDescriptionSummary": summary})
        if operation == "ListShards":
            return web.json_response({"Shards": [shard]})
        return await put(request, body)  # type: ignore[arg-type]

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def acknowledged(entries: int) -> dict[str, Any]:
    answer = {"SequenceNumber": "1", "ShardId": "shardId-000000000000"}
    return {"FailedRecordCount": 0, "Records": [answer] * entries}


def test_expired_credentials_are_renewed_once_and_the_call_goes_again() -> None:
    calls: list[str] = []

    async def put(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        calls.append(request.headers["Authorization"])
        if len(calls) == 1:
            return web.json_response({"__type": "ExpiredTokenException", "message": "expired"}, status=400)
        return web.json_response(acknowledged(len(body["Records"])))

    async def story() -> None:
        async with service(put) as url, lab(url, shard_limits=False) as made:
            await made.send(10)
            await made.delivery.drain()
            assert (len(calls), made.acked) == (2, 10)

    asyncio.run(story())


class Key:
    """An access key in the file that the credentials are read from, and a service that knows one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        self._file = directory / "credentials"
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(self._file))
        self.refused = 0
        self.write("AKIAOLD")

    def write(self, key: str) -> None:
        self._file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n")

    async def put(self, request: web.Request, body: dict[str, Any], code: str) -> web.StreamResponse:
        if "AKIAOLD" in request.headers["Authorization"]:
            self.refused += 1
            return web.json_response({"__type": code, "message": "no"}, status=400)
        return web.json_response(acknowledged(len(body["Records"])))


def test_calls_that_all_meet_expired_credentials_hold_nothing_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gates, "PROBE_PERMANENT_S", 3600)
    key = Key(monkeypatch, tmp_path)
    delays_s = iter(number * 0.02 for number in range(100))

    async def put(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        answer = await key.put(request, body, "ExpiredTokenException")
        await asyncio.sleep(next(delays_s))  # so that some are answered long after the others were renewed
        return answer

    async def story() -> None:
        async with service(put) as url, lab(url, shard_limits=False) as made:
            sending = asyncio.create_task(made.send(10_000))
            await eventually(lambda: key.refused >= 10)
            key.write("AKIANEW")
            await sending
            async with asyncio.timeout(60):
                await made.delivery.drain()
            assert made.acked == 10_000
            assert made.gate.refusals == 0
            assert key.refused == 20  # each call once

    asyncio.run(story())


@pytest.mark.parametrize("code", ["ExpiredTokenException", "UnrecognizedClientException"])
def test_credentials_that_somebody_mends_are_found_without_a_restart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str
) -> None:
    monkeypatch.setattr(gates, "PROBE_PERMANENT_S", 0.3)
    monkeypatch.setattr(gates, "PROBE_UNREACHABLE_MAX_S", 0.3)
    monkeypatch.setattr(deliveries, "RENEW_PAUSE_S", 0.2)
    key = Key(monkeypatch, tmp_path)

    async def story() -> None:
        async with service(lambda request, body: key.put(request, body, code)) as url:
            async with lab(url, shard_limits=False) as made:
                await made.send(1000)
                await eventually(lambda: bool(made.report.problems))
                assert made.report.problems[0].code == code
                await asyncio.sleep(1)
                assert key.refused < 4 + 1 / 0.25 + 1  # both calls twice, then one probe at a time
                key.write("AKIANEW")
                async with asyncio.timeout(60):
                    await made.delivery.drain()
                assert made.acked == 1000
                assert made.report.problems == []

    asyncio.run(story())


@pytest.mark.parametrize("short", [True, False])
def test_an_answer_of_the_wrong_length_acknowledges_nothing(*, short: bool) -> None:
    calls = 0

    async def put(_request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        wrong = 0 if calls > 3 else (-1 if short else 1)
        return web.json_response(acknowledged(len(body["Records"]) + wrong))

    async def story() -> None:
        async with service(put) as url, lab(url, shard_limits=False) as made:
            await made.send(10)
            await made.delivery.drain()
            assert (calls, made.acked) == (4, 10)
            assert made.report.counts.put_errors == {"ReplyLength": 30}

    asyncio.run(story())


def test_chunked_answers_and_closed_connections_are_survived() -> None:
    calls = 0

    async def put(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        answer = web.StreamResponse()
        if calls % 2:
            answer.enable_chunked_encoding()
        answer.force_close() if calls % 3 == 0 else None
        await answer.prepare(request)
        content = json.dumps(acknowledged(len(body["Records"]))).encode()
        for start in range(0, len(content), 1000):
            await answer.write(content[start : start + 1000])
        await answer.write_eof()
        return answer

    async def story() -> None:
        async with service(put) as url, lab(url, shard_limits=False) as made:
            await made.send(10_000)
            await made.delivery.drain()
            assert made.acked == 10_000

    asyncio.run(story())


def test_a_calls_duration_leaves_out_its_wait_for_the_shards() -> None:
    async def story() -> None:
        async with local(shards=1) as (_, url), lab(url) as made:
            await made.send(2000)  # four calls, which keep one shard busy for two seconds
            await made.delivery.drain()
            duration = made.report.counts.put_request_duration_s
            assert sum(duration.counts) == 4
            assert duration.sum < 2  # with the waits it was 0 + 0.5 + 1 + 1.5

    asyncio.run(story())


def test_an_error_of_ours_is_told_though_the_stream_takes_nothing() -> None:
    async def story() -> None:
        async with local(shard_limits=False) as (endpoint, url), lab(url, shard_limits=False) as made:
            made.gate._may_probe = lambda: False
            endpoint.faults = Faults(latency_ms=300)
            await made.send(RECORDS_PER_FRAME)
            await eventually(lambda: stored(endpoint) > 0)  # it is on its way
            made.gate.close(Cause("AccessDeniedException", "no", permanent=True), probed=False)
            await made.send(RECORDS_PER_FRAME)
            made.progress._open.clear()  # as if a frame had been acknowledged twice
            async with asyncio.timeout(60):
                with pytest.raises(KeyError):
                    await made.delivery.drain()

    asyncio.run(story())


def test_an_error_of_ours_reaches_the_one_who_submits() -> None:
    async def story() -> None:
        async with local(shard_limits=False) as (_, url), lab(url, shard_limits=False) as made:
            made.progress._open.clear()
            batch = made.batch()
            calls = made.stream.pack(batch, encoder("json")) + made.stream.flush()
            made.progress._open.clear()  # as if a frame had been acknowledged twice
            for call in calls:
                await made.delivery.submit(call)
            with pytest.raises(KeyError):
                await made.delivery.drain()

    asyncio.run(story())
