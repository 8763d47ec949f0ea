"""`verify` over the wire, against streams of endpoints that others wrote and of our own."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import msgspec
import pytest

from tickerd.reading import ReadingError
from tickerd.reading.account_file import Account, AccountedSource, Owed
from tickerd.reading.client import kinesis_client
from tickerd.reading.report import Report
from tickerd.reading.verify import VerifyOptions, verify
from tickerd.records import Stock

SOURCE = "i-0abc123-0-k7m2qx4d"
SYMBOLS = ("QRVA", "ZNTH", "BLMO", "KEPT", "ORLA")
BEGIN = datetime(2026, 11, 24, 16, tzinfo=UTC)
stream_names = (f"market-log-{number}" for number in count())
Entry = tuple[str, bytes]  # partition key, data


LOCAL = "from tickerd.local import LocalOptions, run; run(LocalOptions(port={port}, shard_limits=False))"


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """A server in a process of its own; "{port}" in its arguments becomes a free port. Yields its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, *(argument.replace("{port}", str(port)) for argument in arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(300):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


@pytest.fixture(scope="module")
def local() -> Iterator[str]:
    with serving("-c", LOCAL) as url:
        yield url


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with serving("-m", "moto.server", "-H", "127.0.0.1", "-p", "{port}") as url:
        yield url


@pytest.fixture(params=["local", "moto"])
def endpoint(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(request.param)
    return url


def entry(seq: int, price: float = 126.55, source: str = SOURCE) -> Entry:
    """Ten records a second, the instruments in turn."""
    symbol = SYMBOLS[seq % len(SYMBOLS)]
    at = BEGIN + timedelta(milliseconds=100 * seq)
    stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return symbol, msgspec.json.encode(Stock(symbol, price, 100, price, price, stamp, source, seq))


def entries(*seqs: int) -> list[Entry]:
    return [entry(seq) for seq in seqs]


async def create(client: Any, shards: int) -> str:
    name = next(stream_names)
    await client.create_stream(StreamName=name, ShardCount=shards)
    await settle(client, name)
    return name


async def settle(client: Any, name: str) -> None:
    """Wait until the stream is done with being made or resharded."""
    for _ in range(100):
        described = await client.describe_stream(StreamName=name)
        if described["StreamDescription"]["StreamStatus"] == "ACTIVE":
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(name)


async def put(client: Any, name: str, batch: Sequence[Entry]) -> None:
    """One call after the other, each with one record, so that the stored order is the order given."""
    for key, data in batch:
        await client.put_record(StreamName=name, PartitionKey=key, Data=data)


async def report_of(endpoint: str, name: str, **options: Any) -> Report:
    return await verify(VerifyOptions(name, endpoint_url=endpoint, **{"settle_s": 0, **options}))


def stored(endpoint: str, batch: Sequence[Entry], shards: int = 2, **options: Any) -> Report:
    """The report of a new stream that holds `batch`."""

    async def store_and_verify() -> Report:
        async with kinesis_client("", endpoint) as client:
            name = await create(client, shards)
            await put(client, name, batch)
        return await report_of(endpoint, name, **options)

    return asyncio.run(store_and_verify())


def accounted(next_seq: int, *owed: Owed) -> Account:
    return Account("d", (AccountedSource(SOURCE, 0, next_seq, datetime.now(UTC), (), owed),))


def test_a_whole_stream_is_found_whole(endpoint: str) -> None:
    report = stored(endpoint, entries(*range(40)), shards=3)
    assert (report.totals.records, report.totals.lost, report.exit_code) == (40, 0, 0)
    assert report.totals.out_of_order == 0
    assert [shard.open for shard in report.shards] == [True] * 3
    assert sum(shard.records for shard in report.shards) == 40


def test_a_removed_record_is_lost(endpoint: str) -> None:
    report = stored(endpoint, entries(*range(17), *range(18, 40)))
    assert (report.totals.lost, report.exit_code) == (1, 1)
    assert report.holes[SOURCE].ranges == [(17, 18)]


def test_a_doubled_record_is_a_duplicate(endpoint: str) -> None:
    report = stored(endpoint, [*entries(*range(40)), entry(7)])
    assert (report.totals.duplicates, report.totals.altered, report.exit_code) == (1, 0, 0)
    assert report.totals.out_of_order == 0


def test_a_reordered_record_is_out_of_order(endpoint: str) -> None:
    report = stored(endpoint, entries(*range(10), 15, 10, *range(11, 15), *range(16, 40)))
    assert (report.totals.out_of_order, report.totals.lost, report.exit_code) == (1, 0, 0)


def test_an_altered_record_is_told_from_a_duplicate(endpoint: str) -> None:
    report = stored(endpoint, [*entries(*range(40)), entry(7, price=126.56)])
    assert (report.totals.duplicates, report.totals.altered, report.exit_code) == (0, 1, 1)


def test_a_corrupt_entry_is_found(endpoint: str) -> None:
    report = stored(endpoint, [*entries(*range(40)), ("QRVA", entry(40)[1][:60])])
    assert (report.totals.corrupt, report.totals.lost, report.exit_code) == (1, 0, 1)


def test_a_foreign_entry_is_found_and_forgiven(endpoint: str) -> None:
    report = stored(endpoint, [*entries(*range(40)), ("x", b'{"user":"x"}')])
    assert (report.totals.foreign, report.totals.records, report.exit_code) == (1, 40, 0)


def test_an_empty_stream_has_nothing_to_judge(endpoint: str) -> None:
    report = stored(endpoint, [])
    assert report.exit_code == 1
    assert "holds no records" in report.nothing_judged


def test_the_progress_ends_at_all_that_was_read(endpoint: str) -> None:
    async def watched() -> list[int]:
        told: list[int] = []
        async with kinesis_client("", endpoint) as client:
            name = await create(client, 2)
            await put(client, name, entries(*range(10)))
        await verify(VerifyOptions(name, endpoint_url=endpoint), told.append)
        return told

    told = asyncio.run(watched())
    assert told == sorted(told)
    assert told[-1] == 10


def test_an_account_finds_what_is_missing_at_both_ends(endpoint: str) -> None:
    assert stored(endpoint, entries(*range(40)), settle_s=60, account=accounted(40)).exit_code == 0
    report = stored(endpoint, entries(*range(2, 37)), settle_s=60, account=accounted(40))
    assert report.totals.lost == 5
    assert report.holes[SOURCE].ranges == [(0, 2), (37, 40)]


def test_an_account_forgives_what_it_says_is_owed(endpoint: str) -> None:
    account = accounted(40, Owed(0, 1, 37, 40))
    assert stored(endpoint, entries(*range(37)), account=account).exit_code == 0
    assert stored(endpoint, entries(*range(36)), account=account).totals.lost == 1


def test_from_leaves_out_what_arrived_before(endpoint: str) -> None:
    async def in_two_halves() -> Report:
        async with kinesis_client("", endpoint) as client:
            name = await create(client, 2)
            await put(client, name, entries(*range(20)))
            await asyncio.sleep(0.05)
            from_time = datetime.now(UTC)
            await asyncio.sleep(0.05)
            await put(client, name, entries(*range(20, 40)))
        return await report_of(endpoint, name, from_time=from_time)

    report = asyncio.run(in_two_halves())
    assert (report.sources[0].first_seq, report.sources[0].next_seq) == (20, 40)
    assert (report.totals.records, report.totals.lost) == (20, 0)


def test_a_stream_that_is_not_there_is_named(endpoint: str) -> None:
    with pytest.raises(ReadingError, match=r"^stream nowhere: there is none in region"):
        asyncio.run(verify(VerifyOptions("nowhere", endpoint_url=endpoint)))


async def split(client: Any, name: str, shard_id: str) -> None:
    (shard,) = [
        listed
        for listed in (await client.list_shards(StreamName=name))["Shards"]
        if listed["ShardId"] == shard_id
    ]
    edges = shard["HashKeyRange"]
    middle = (int(edges["StartingHashKey"]) + int(edges["EndingHashKey"])) // 2
    await client.split_shard(StreamName=name, ShardToSplit=shard_id, NewStartingHashKey=str(middle))
    await settle(client, name)


async def open_shards(client: Any, name: str) -> list[str]:
    shards = (await client.list_shards(StreamName=name))["Shards"]
    return [
        shard["ShardId"] for shard in shards if not shard["SequenceNumberRange"].get("EndingSequenceNumber")
    ]


def test_records_on_both_sides_of_a_split_and_a_merge_stay_in_order(local: str) -> None:
    async def reshard_between_writes() -> Report:
        async with kinesis_client("", local) as client:
            name = await create(client, 1)
            await put(client, name, entries(*range(20)))
            await split(client, name, (await open_shards(client, name))[0])
            await put(client, name, entries(*range(20, 40)))
            left, right = await open_shards(client, name)
            await client.merge_shards(StreamName=name, ShardToMerge=left, AdjacentShardToMerge=right)
            await settle(client, name)
            await put(client, name, entries(*range(40, 60)))
        return await report_of(local, name)

    report = asyncio.run(reshard_between_writes())
    assert (report.totals.records, report.totals.lost, report.totals.out_of_order) == (60, 0, 0)
    first, left, right, last = report.shards
    assert [shard.open for shard in report.shards] == [False, False, False, True]
    assert left.parent_shard_id == right.parent_shard_id == first.shard_id
    assert {last.parent_shard_id, last.adjacent_parent_shard_id} == {left.shard_id, right.shard_id}
    assert (first.records, left.records + right.records, last.records) == (20, 20, 20)


def test_many_pages_of_many_shards_are_read_to_the_end(local: str) -> None:
    async def fill() -> Report:
        async with kinesis_client("", local) as client:
            name = await create(client, 3)
            for start in range(0, 45_000, 500):
                batch = [entry(seq) for seq in range(start, start + 500) if seq != 31_234]
                await client.put_records(
                    StreamName=name, Records=[{"PartitionKey": key, "Data": data} for key, data in batch]
                )
        return await report_of(local, name)

    report = asyncio.run(fill())
    assert (report.totals.records, report.totals.out_of_order) == (44_999, 0)
    assert report.holes[SOURCE].ranges == [(31_234, 31_235)]


def test_a_stream_that_is_being_written_lets_the_reading_end(local: str) -> None:
    async def write_for_ever(client: Any, name: str) -> None:
        for seq in count():
            await put(client, name, entries(seq))

    async def verify_meanwhile() -> Report:
        async with kinesis_client("", local) as client:
            name = await create(client, 2)
            await put(client, name, entries(*range(100)))
            writer = asyncio.create_task(write_for_ever(client, name))
            try:
                return await asyncio.wait_for(report_of(local, name), 120)
            finally:
                writer.cancel()

    report = asyncio.run(verify_meanwhile())
    assert report.totals.records >= 100
    assert report.totals.altered == 0
