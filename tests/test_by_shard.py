"""What is counted for each shard: by the keys of what arrived, by the codes of what did not, for one map."""

import asyncio

import numpy as np
import pytest
from numpy.typing import NDArray

from delivering import Lab, eventually, lab, local
from tickerd.kinesis import by_shard
from tickerd.local import Faults
from tickerd.observe.counters import ShardCounts


def counts(made: Lab) -> NDArray[np.float64]:
    found = made.report.shards
    assert isinstance(found, ShardCounts)
    return np.frombuffer(found.counts).reshape(3, -1)


def test_records_and_bytes_are_those_of_the_shards_that_their_keys_belong_to() -> None:
    async def story() -> None:
        async with local(shards=4) as (_, url), lab(url, shard_limits=False) as made:
            await made.send(12_345)
            await made.delivery.drain()
            records, data_bytes, throttled = counts(made)
            assert len(records) == 4
            assert records.sum() == made.acked
            assert data_bytes.sum() == made.report.counts.bytes_acked[2]
            keys = np.bincount(np.arange(12_345) % len(made.stream.route.keys))
            wanted = np.bincount(made.stream.route.key_shards, keys, 4)
            assert records.tolist() == wanted.tolist()
            assert throttled.sum() == 0

    asyncio.run(story())


@pytest.mark.parametrize("aggregation", ["kpl", "lines"])
def test_of_aggregates_their_records_are_counted(aggregation: str) -> None:
    async def story() -> None:
        async with local(shards=4) as (_, url), lab(url, aggregation=aggregation) as made:
            await made.send(5_000)
            await made.delivery.drain()
            records, data_bytes, _ = counts(made)
            keys = np.bincount(np.arange(5_000) % len(made.stream.route.keys))
            assert records.tolist() == np.bincount(made.stream.route.key_shards, keys, 4).tolist()
            assert data_bytes.sum() == made.report.counts.bytes_acked[2]

    asyncio.run(story())


def test_throttled_entries_are_counted_where_they_were_refused() -> None:
    async def story() -> None:
        async with local(shards=2) as (endpoint, url), lab(url, shard_limits=False) as made:
            endpoint.faults = Faults(throttled=0.3)
            await made.send(4_000)
            await made.delivery.drain()
            refused = made.report.counts.put_errors["ProvisionedThroughputExceededException"]
            assert counts(made)[2].sum() == refused > 0
            assert (counts(made)[2] > 0).all()

    asyncio.run(story())


def test_many_shards_share_a_bounded_number_of_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_shard, "BUCKETS", 3)

    async def story() -> None:
        async with local(shards=8) as (_, url), lab(url, shard_limits=False) as made:
            await made.send(2_400)
            await made.delivery.drain()
            assert made.report.shards is not None
            assert made.report.shards.shards == 8
            assert counts(made).shape == (3, 3)
            assert counts(made)[0].sum() == 2_400

    asyncio.run(story())


def test_another_map_begins_anew() -> None:
    async def story() -> None:
        async with local(shards=1) as (endpoint, url), lab(url, shard_limits=False) as made:
            await made.send(1_000)
            await eventually(lambda: made.acked == 1_000)
            assert counts(made)[0].tolist() == [1_000]
            stream = endpoint._account.streams["market-log"]
            (shard,) = stream.open_shards
            stream.split(shard, (shard.start + shard.end) // 2, endpoint._account.now_ms())
            made.stream._look.set()
            await eventually(lambda: len(made.stream.route.shard_map) == 2)
            await made.send(1_000)
            await eventually(lambda: made.acked == 2_000)
            assert made.report.shards is not None
            assert made.report.shards.shards == 2
            assert counts(made)[0].sum() == 1_000

    asyncio.run(story())
