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


@contextmanager
def moto_server() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
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
def endpoint() -> Iterator[str]:
    with moto_server() as url:
        yield url


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
            await asyncio.sleep(2)  # the API has whole seconds here
            from_time = datetime.now(UTC)
            await put(client, name, entries(*range(20, 40)))
        return await report_of(endpoint, name, from_time=from_time)

    report = asyncio.run(in_two_halves())
    assert (report.sources[0].first_seq, report.sources[0].next_seq) == (20, 40)
    assert (report.totals.records, report.totals.lost) == (20, 0)


def test_a_stream_that_is_not_there_is_named(endpoint: str) -> None:
    with pytest.raises(ReadingError, match=r"^stream nowhere: there is none in region"):
        asyncio.run(verify(VerifyOptions("nowhere", endpoint_url=endpoint)))
