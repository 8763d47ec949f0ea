"""Aggregates on their way over a real protocol: counted rightly, and as large as the stream takes."""

import asyncio

import pytest

from delivering import (
    INSTRUMENTS,
    copies,
    lab,
    local,
    stored,
)
from tickerd.kinesis.calls import OversizeError
from tickerd.local import Faults
from tickerd.texts import WholeRecords


@pytest.mark.parametrize("aggregation", ["none", "kpl", "lines"])
def test_a_record_that_the_stream_does_not_take_is_an_error_and_never_sent(aggregation: str) -> None:
    async def story() -> None:
        async with local() as (endpoint, url), lab(url, shard_limits=False, aggregation=aggregation) as made:
            batch = made.batch(2)
            with pytest.raises(OversizeError, match="the stream takes 1048576"):  # noqa: PT012  one or the other
                await made.delivery.submit(batch, WholeRecords([b"{}", b"x" * 1024 * 1024]))
                await made.delivery.drain()
            assert stored(endpoint) <= 1

    asyncio.run(story())


def test_of_large_calls_fewer_are_on_their_way() -> None:
    async def story() -> None:
        settings = {"shard_limits": False, "aggregation": "lines", "calls_in_flight_max": 16}
        faults = Faults(latency_ms=300)
        async with local(faults=faults, shards=8) as (_, url), lab(url, **settings) as made:
            sending = asyncio.create_task(made.send(150_000))
            most = 0
            while not sending.done():
                await asyncio.sleep(0.01)
                most = max(most, made.report.requests_in_flight)
            await sending
            await made.delivery.drain()
            # 16 times 192 KiB are reached by the fourth call of 700 KiB in base64; some are not full.
            assert 2 <= most <= 8
            assert sum(made.report.counts.records_acked) == 150_000

    asyncio.run(story())


@pytest.mark.parametrize("aggregation", ["kpl", "lines"])
def test_aggregates_are_counted_by_entries_and_by_records(aggregation: str) -> None:
    async def story() -> None:
        async with local(shards=3) as (endpoint, url):
            async with lab(url, shard_limits=False, aggregation=aggregation) as made:
                await made.send(12_345)
                await made.delivery.drain()
                found = copies(endpoint)
                assert sorted(copy.seq for copy in found) == list(range(12_345))
                assert all(copy.seen for copy in found)
                assert {copy.instrument for copy in found} == set(INSTRUMENTS)
                counts = made.report.counts
                assert counts.records_acked == [0, 0, 12_345]
                assert made.progress.owed == 0
                assert counts.entries_acked == stored(endpoint) < 200
                assert counts.records_per_entry.sum == 12_345
                assert sum(counts.records_per_entry.counts) == counts.entries_acked

    asyncio.run(story())


@pytest.mark.parametrize("aggregation", ["kpl", "lines"])
def test_aggregates_may_be_as_large_as_the_stream_takes(aggregation: str) -> None:
    async def story() -> None:
        settings = {"aggregation": aggregation, "aggregate_bytes_max": 10 * 1024 * 1024, "linger_ms": 60_000}
        async with local(shards=1) as (endpoint, url), lab(url, shard_limits=False, **settings) as made:
            await made.send(15_000)
            await made.delivery.drain()
            assert sorted(copy.seq for copy in copies(endpoint)) == list(range(15_000))
            assert stored(endpoint) == 3
            (shard,) = endpoint._account.streams["market-log"].shards
            largest = max(len(entry.data) for _, _, entry in shard.log.read(0))
            assert 1024 * 1024 - 2000 < largest < 1024 * 1024

    asyncio.run(story())
