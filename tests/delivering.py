"""A stream, gate and delivery in this process, towards `local` or a service that answers as the test says."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
import numpy as np
from aiohttp import web

from test_checkpoint import state
from tickerd.batch import Batch
from tickerd.checkpoint import Progress
from tickerd.encoding import encoder
from tickerd.gate import Gate
from tickerd.kinesis import kpl
from tickerd.kinesis.deaggregate import deaggregate
from tickerd.kinesis.delivery import Delivery
from tickerd.kinesis.shards import hash_key
from tickerd.kinesis.stream import KinesisStream
from tickerd.local import LocalEndpoint, LocalOptions
from tickerd.observe.counters import Report
from tickerd.records import News, Record
from tickerd.settings import Kinesis
from tickerd.texts import WholeRecords

RECORDS_PER_FRAME = 20  # of the state that test_checkpoint makes
INSTRUMENTS = ("EUR/USD", "QRVA", "ZZZZ", *(f"I{number}" for number in range(21)))


class Lab:
    """A stream, its gate and delivery; what lingers does so briefly."""

    delivery: Delivery

    def __init__(self, endpoint: str, workers: int = 1, **settings: Any) -> None:
        settings = {
            "endpoint_url": endpoint,
            "stream": "market-log",
            "region": "us-east-1",
            "linger_ms": 20,
        } | settings
        self.settings = msgspec.structs.replace(Kinesis(), **settings)
        self.report = Report()
        self.gate = Gate(self.report, lambda: True)
        self.progress = Progress(state(begun_below=10_000))
        shares = np.full(len(INSTRUMENTS), 1 / len(INSTRUMENTS))
        self.stream = KinesisStream(self.settings, INSTRUMENTS, shares, workers, self.gate, self.report)
        self.seq = 0

    def start(self) -> None:
        """Begin delivery to the stream, which is open."""
        self.delivery = Delivery(self.stream, self.gate, self.progress, self.report, self.settings)

    def batch(self, records: int = RECORDS_PER_FRAME) -> Batch:
        """One frame's records; their bytes tell their instrument and their seq."""
        frame = self.progress.next_frame
        self.progress.begin(frame, records)
        time, source = "2026-11-24T16:00:00.000Z", "s-0-abcdefgh"
        rows = np.arange(self.seq, self.seq + records, dtype=np.int32) % len(INSTRUMENTS)
        made: list[Record] = [
            News(INSTRUMENTS[row], "item", "guidance", 0.5, 1, time, source, self.seq + number)
            for number, row in enumerate(rows.tolist())
        ]
        self.seq += records
        return Batch(frame, self.seq - records, made, rows, np.full(records, 2, np.uint8))

    async def send(self, records: int, frame_records: int = 5000) -> None:
        """Generate and submit so many records."""
        encode = encoder("json")
        while records > 0:
            batch = self.batch(min(records, frame_records))
            await self.delivery.submit(batch, WholeRecords(encode(batch.records)))
            await asyncio.sleep(0)  # as the pipeline does
            records -= frame_records

    @property
    def acked(self) -> int:
        """Records that count as delivered."""
        return sum(self.report.counts.records_acked)


@asynccontextmanager
async def lab(endpoint: str, **settings: Any) -> AsyncIterator[Lab]:
    """An open lab; nothing of it runs afterwards."""
    made = Lab(endpoint, **settings)
    try:
        async with asyncio.timeout(60):
            await made.stream.open()
        made.start()
        try:
            yield made
        finally:
            await made.delivery.abandon()
    finally:
        await made.stream.close()


@asynccontextmanager
async def local(**options: Any) -> AsyncIterator[tuple[LocalEndpoint, str]]:
    """`tickerd local` in this process, and its address; no limits of shards unless they are asked for."""
    endpoint = LocalEndpoint(LocalOptions(port=0, **{"shard_limits": False} | options))
    url = await endpoint.start()
    try:
        yield endpoint, url
    finally:
        await endpoint.stop()


async def eventually(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def stored(endpoint: LocalEndpoint) -> int:
    """Entries that the stream holds, with those stored twice."""
    held = endpoint.stats()["held_records"]
    assert isinstance(held, int)
    return held


def calls(endpoint: LocalEndpoint, operation: str) -> int:
    """How often an operation was asked for."""
    operations = endpoint.stats()["operations"]
    assert isinstance(operations, dict)
    return int(operations.get(operation, 0))


class Copy(NamedTuple):
    """A record as the stream holds it; `seen`: whether consumers take it from there."""

    instrument: str
    seq: int
    seen: bool
    aggregated: bool


def copies(endpoint: LocalEndpoint) -> list[Copy]:
    """All copies of all records as the stream took them one by one, by the rules of the client library."""
    found: list[tuple[int, list[Copy]]] = []
    for shard in endpoint._account.streams["market-log"].shards:
        for number, _, entry in shard.log.read(0):
            seen = True
            data = [entry.data]
            if entry.data.startswith(kpl.MAGIC):
                members = deaggregate(entry.data)
                data = [record for _, _, record in members]
                seen = all(shard.start <= hash_key(key.decode()) <= shard.end for key, _, _ in members)
            elif entry.data.endswith(b"\n"):
                data = entry.data.splitlines()
            records = [json.loads(record) for record in data]
            aggregated = data != [entry.data]
            found.append(
                (
                    number,
                    [Copy(record["stock_symbol"], record["seq"], seen, aggregated) for record in records],
                )
            )
    return [copy for _, members in sorted(found, key=lambda each: each[0]) for copy in members]


def in_order(found: list[Copy]) -> bool:
    """Whether the first copies that consumers see of each instrument's records are in the order of seq."""
    first: dict[str, dict[int, None]] = {}
    for copy in found:
        if copy.seen:
            first.setdefault(copy.instrument, {}).setdefault(copy.seq)
    return all(list(seqs) == sorted(seqs) for seqs in first.values())


Put = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


def one_shard() -> dict[str, Any]:
    """A whole answer to ListShards."""
    shard = {
        "ShardId": "shardId-000000000000",
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": str(2**128 - 1)},
        "SequenceNumberRange": {"StartingSequenceNumber": "1"},
    }
    return {"Shards": [shard]}


@asynccontextmanager
async def service(
    put: Put, asked: list[str] | None = None, listing: dict[str, Any] | None = None
) -> AsyncIterator[str]:
    """A stream of one shard whose PutRecords answers are the test's; `asked` gets the other operations."""
    summary = {
        "StreamName": "market-log",
        "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/market-log",
        "StreamStatus": "ACTIVE",
        "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": 1.0,
        "EnhancedMonitoring": [],
        "OpenShardCount": 1,
    }

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        operation = request.headers["X-Amz-Target"].partition(".")[2]
        body = json.loads(await request.read())
        if operation == "PutRecords":
            return await put(request, body)  # type: ignore[arg-type]
        if asked is not None:
            asked.append(operation)
        if operation == "DescribeStreamSummary":
            return web.json_response({"StreamDescriptionSummary": summary})
        return web.json_response(one_shard() if listing is None else listing)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def acknowledged(entries: int, shard: str = "shardId-000000000000") -> dict[str, Any]:
    """An answer that acknowledges so many entries, in one shard."""
    return {"FailedRecordCount": 0, "Records": [{"SequenceNumber": "1", "ShardId": shard}] * entries}
