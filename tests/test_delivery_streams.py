"""Delivery while the stream changes: nothing lost, nothing stored twice that landed well, order kept.

What arrived is judged as the client library reads it: an aggregate counts only where all its keys belong.
"""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from delivering import (
    Lab,
    acknowledged,
    calls,
    copies,
    eventually,
    in_order,
    lab,
    local,
    one_shard,
    service,
    stored,
)
from tickerd.kinesis import outbox as outboxes
from tickerd.kinesis import stream as streams
from tickerd.local import Faults, LocalEndpoint

RELAXED = [
    {"aggregation": aggregation, "partition_key": key}
    for aggregation in ("none", "kpl", "lines")
    for key in ("instrument", "even")
]
ORDERED = {"aggregation": "kpl", "order": "key"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at the stream and retries come in tenths of seconds."""
    monkeypatch.setattr(streams, "REFRESH_PAUSE_S", 0.2)
    monkeypatch.setattr(streams, "REFRESH_PAUSE_CHANGED_S", 0.05)
    monkeypatch.setattr(outboxes, "RETRY_MAX_S", 0.1)


def reshard(endpoint: LocalEndpoint, step: int) -> None:
    """Split a shard or merge two, in turn, each time others."""
    stream = endpoint._account.streams["market-log"]
    shards = stream.open_shards
    at = step * 5 % (len(shards) - 1)
    if step % 2:
        stream.merge(shards[at], shards[at + 1], endpoint._account.now_ms())
    else:
        stream.split(shards[at], (shards[at].start + shards[at].end) // 2, endpoint._account.now_ms())


async def send_through_reshards(made: Lab, endpoint: LocalEndpoint, frames: int = 60) -> None:
    """Frames of 100 records while the stream is resharded after every third."""
    for step in range(frames):
        await made.send(100)
        await asyncio.sleep(0.02)
        if step % 3 == 0:
            reshard(endpoint, step // 3)
    await made.delivery.drain()


@pytest.mark.parametrize("settings", [*RELAXED, ORDERED], ids=lambda each: " ".join(each.values()))
def test_reshards_lose_nothing_and_double_nothing_that_had_landed_well(settings: dict[str, str]) -> None:
    async def story() -> None:
        async with local(shards=3) as (endpoint, url), lab(url, shard_limits=False, **settings) as made:
            endpoint.faults = Faults(latency_ms=10)
            await send_through_reshards(made, endpoint)
            found = copies(endpoint)
            seen = [copy.seq for copy in found if copy.seen]
            assert sorted(seen) == list(range(6000))
            assert made.acked == 6000
            assert made.progress.owed == 0
            assert len(found) - 6000 == made.report.counts.record_retries
            if "order" in settings:
                assert in_order(found)
            assert calls(endpoint, "ListShards") < 60

    asyncio.run(story())


@pytest.mark.parametrize(
    "faults",
    [Faults(throttled=0.1), Faults(lost_ack=0.1), Faults(0.1, 0.05, 0.05, 5)],
    ids=["throttled", "lost_ack", "all"],
)
@pytest.mark.parametrize("settings", [*RELAXED, ORDERED], ids=lambda each: " ".join(each.values()))
def test_faults_and_reshards_together_lose_nothing(settings: dict[str, str], faults: Faults) -> None:
    async def story() -> None:
        async with local(shards=3) as (endpoint, url), lab(url, shard_limits=False, **settings) as made:
            endpoint.faults = faults
            await send_through_reshards(made, endpoint, 30)
            found = copies(endpoint)
            assert {copy.seq for copy in found if copy.seen} == set(range(3000))
            assert made.acked == 3000
            assert made.progress.owed == 0
            if "order" in settings:
                assert in_order(found)

    asyncio.run(story())


@pytest.mark.parametrize("settings", [{"aggregation": "kpl"}, ORDERED], ids=["relaxed", "key"])
def test_a_stream_that_becomes_auto_and_is_it_no_more_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]
) -> None:
    monkeypatch.setattr(streams, "REFRESH_S", 0.5)

    async def send(made: Lab, frames: int) -> None:
        for _ in range(frames):
            await made.send(100)
            await asyncio.sleep(0.02)

    async def story() -> None:
        async with local(shards=4) as (endpoint, url), lab(url, shard_limits=False, **settings) as made:
            endpoint.faults = Faults(latency_ms=5)
            await send(made, 20)
            for auto, aggregation, order in (
                (True, "none", "relaxed"),
                (False, "kpl", settings.get("order")),
            ):
                endpoint.faults = Faults(latency_ms=5, auto=auto)
                await send(made, 20)
                await eventually(
                    lambda aggregation=aggregation: made.report.stream.aggregation == aggregation  # type: ignore[misc,union-attr]
                )
                assert made.report.stream is not None
                assert made.report.stream.order == (order or "relaxed")
                assert [notice.code for notice in made.report.notices] == ["AutoDistribution"] * auto
                at = made.seq
                await send(made, 20)
            await made.delivery.drain()
            found = copies(endpoint)
            assert {copy.seq for copy in found if copy.seen} == set(range(10_000))
            assert made.acked == 10_000
            assert len(found) - 10_000 == made.report.counts.record_retries
            times: dict[int, int] = {}
            for copy in found:
                times[copy.seq] = times.get(copy.seq, 0) + 1
            assert max(times.values()) <= 2  # what was on its way at the change, once more
            assert all(copy.aggregated for copy in found if copy.seq >= at)
            assert in_order([copy for copy in found if copy.seq >= at]) or "order" not in settings

    asyncio.run(story())


def test_an_aggregate_that_landed_well_after_a_reshard_is_not_sent_again() -> None:
    """The lower of two children has all keys of what was on its way for their parent."""

    async def story() -> None:
        async with local(shards=1) as (endpoint, url):
            async with lab(url, shard_limits=False, aggregation="kpl") as made:
                stream = endpoint._account.streams["market-log"]
                hashes = made.stream.route.key_hashes
                stream.split(stream.open_shards[0], max(hashes) + 1, endpoint._account.now_ms())
                await made.send(1000)
                await made.delivery.drain()
                assert made.report.counts.record_retries == 0
                assert len(copies(endpoint)) == made.acked == 1000
                await eventually(lambda: len(made.stream.route.shard_map) == 2)

    asyncio.run(story())


def test_an_aggregate_that_crosses_its_shards_end_is_regrouped_and_sent_again() -> None:
    async def story() -> None:
        async with local(shards=1) as (endpoint, url):
            async with lab(url, shard_limits=False, aggregation="kpl", linger_ms=60_000) as made:
                await made.send(48)
                reshard_at = sorted(made.stream.route.key_hashes)[12]
                stream = endpoint._account.streams["market-log"]
                stream.split(stream.open_shards[0], reshard_at, endpoint._account.now_ms())
                await made.delivery.drain()
                found = copies(endpoint)
                assert [copy.seen for copy in found] == [False] * 48 + [True] * 48
                assert sorted(copy.seq for copy in found if copy.seen) == list(range(48))
                assert stored(endpoint) == 3
                assert made.acked == made.report.counts.record_retries == 48

    asyncio.run(story())


@pytest.mark.parametrize("order", ["relaxed", "key"])
def test_a_stream_made_anew_with_other_shards_by_the_same_names_gets_what_consumers_take(order: str) -> None:
    async def story() -> None:
        async with local(shards=2) as (endpoint, url):
            async with lab(url, shard_limits=False, aggregation="kpl", order=order) as made:
                await made.send(480)
                await eventually(lambda: made.acked == 480)
                account = endpoint._account
                account.store.forget("market-log")
                del account.streams["market-log"]
                account.create("market-log", 4)
                await made.send(480)
                await made.delivery.drain()
                found = copies(endpoint)
                assert sorted({copy.seq for copy in found if copy.seen}) == list(range(480, 960))
                assert made.acked == 960

    asyncio.run(story())


@pytest.mark.parametrize("aggregation", ["none", "kpl"])
def test_an_endpoint_that_lands_entries_where_nobody_knows_is_not_stormed(aggregation: str) -> None:
    """Neither with questions nor, where a consumer would not see them, with the same records for ever."""
    puts = 0
    asked: list[str] = []

    async def put(_request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        nonlocal puts
        puts += 1
        return web.json_response(acknowledged(len(body["Records"]), "shardId-000000000099"))

    async def story() -> None:
        async with service(put, asked) as url:
            async with lab(url, shard_limits=False, aggregation=aggregation) as made:
                began_s = asyncio.get_running_loop().time()
                for _ in range(40):
                    await made.send(48)
                    await asyncio.sleep(0.05)
                looks = (asyncio.get_running_loop().time() - began_s) / streams.REFRESH_PAUSE_S + 2
                assert len(asked) <= looks + 2  # and the two of the beginning
                if aggregation == "none":
                    assert made.acked >= 39 * 48
                else:
                    assert made.acked == 0
                    assert puts <= 40 + looks / streams.EXPLAIN_LOOKS_MAX * 40

    asyncio.run(story())


def test_a_look_that_fails_of_an_error_of_ours_is_told() -> None:
    async def put(_request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(acknowledged(len(body["Records"]), "shardId-000000000099"))

    async def story() -> None:
        listing = one_shard()
        async with service(put, None, listing) as url:
            made = Lab(url, shard_limits=False, aggregation="kpl")
            await made.stream.open()
            made.start()
            listing.clear()  # which no service answers
            await made.send(48)
            async with asyncio.timeout(60):
                with pytest.raises(KeyError):
                    await made.delivery.drain()
            await made.delivery.abandon()
            with pytest.raises(KeyError):
                await made.stream.close()

    asyncio.run(story())
