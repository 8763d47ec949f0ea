"""Delivery over a real protocol: nothing counts before its acknowledgement, and nothing is lost."""

import asyncio

import pytest

from delivering import (
    RECORDS_PER_FRAME,
    eventually,
    lab,
    local,
    stored,
)
from tickerd import gate as gates
from tickerd.cause import Cause
from tickerd.kinesis import outbox as outboxes
from tickerd.local import Faults


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of many tries need not wait long between them."""
    monkeypatch.setattr(outboxes, "RETRY_MAX_S", 0.1)


def test_everything_arrives_and_is_counted_as_it_arrived() -> None:
    async def story() -> None:
        async with local() as (endpoint, url), lab(url, shard_limits=False) as made:
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
        async with local() as (endpoint, url), lab(url, shard_limits=False) as made:
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
        async with local() as (endpoint, url), lab(url, shard_limits=False) as made:
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
        async with local() as (endpoint, url), lab(url, shard_limits=False) as made:
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
        async with local() as (endpoint, url), lab(url, shard_limits=False, calls_in_flight_max=3) as made:
            endpoint.faults = Faults(latency_ms=500)
            sending = asyncio.create_task(made.send(10_000, frame_records=1000))
            await eventually(lambda: made.report.requests_in_flight == 3)
            made_then = made.seq
            await asyncio.sleep(0.2)
            assert made.report.requests_in_flight == 3
            assert made.seq == made_then <= 3 * 500 + 2 * 1000
            assert not sending.done()
            endpoint.faults = Faults()
            await sending
            await made.delivery.drain()
            assert made.acked == 10_000

    asyncio.run(story())


@pytest.mark.parametrize("aggregation", ["none", "kpl", "lines"])
def test_the_backlog_is_bounded_in_bytes_and_holds_generation_back(aggregation: str) -> None:
    bound = 300_000

    async def story() -> None:
        settings = {"aggregation": aggregation, "shard_limits": False, "backlog_bytes_max": bound}
        async with local() as (endpoint, url), lab(url, **settings) as made:
            endpoint.faults = Faults(outage=True)
            sending = asyncio.create_task(made.send(10_000, frame_records=500))
            await eventually(lambda: made.gate.cause is not None)
            await asyncio.sleep(0.5)
            delivery = made.delivery
            held = delivery._outbox.waiting_bytes + delivery._body_bytes
            frame_bytes = held / made.seq * 500
            assert bound < held < bound + 2 * frame_bytes
            assert not sending.done()
            endpoint.faults = Faults()
            await sending
            await delivery.drain()
            assert delivery._outbox.waiting_bytes == delivery._body_bytes == 0
            assert made.acked == 10_000

    asyncio.run(story())


def test_a_backlog_smaller_than_a_frame_lets_one_frame_through_at_a_time() -> None:
    async def story() -> None:
        async with local() as (_, url), lab(url, shard_limits=False, backlog_bytes_max=1) as made:
            for _ in range(5):
                await made.send(100)
                assert made.progress.owed == 100
            await made.delivery.drain()
            assert made.acked == 500

    asyncio.run(story())


def test_a_shards_published_limit_is_kept_so_that_nothing_is_throttled() -> None:
    async def story() -> None:
        async with local(shards=2, shard_limits=True) as (endpoint, url), lab(url) as made:
            await made.send(3000)
            await made.delivery.drain()
            assert made.acked == 3000
            assert endpoint.stats()["throttled"] == 0

    asyncio.run(story())


def test_even_keys_fill_every_shard_alike() -> None:
    async def story() -> None:
        async with local(shards=5) as (endpoint, url):
            async with lab(url, shard_limits=False, partition_key="even") as made:
                await made.send(5000)
                await made.delivery.drain()
                shards = endpoint._account.streams["market-log"].shards
                assert [sum(1 for _ in shard.log.read(0)) for shard in shards] == [1000] * 5
                assert made.report.stream is not None
                assert made.report.stream.ceiling_records_per_second == pytest.approx(5000)

    asyncio.run(story())


def test_a_calls_duration_leaves_out_its_wait_for_the_shards() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        async with local(shards=1, shard_limits=True) as (_, url), lab(url) as made:
            began_s = loop.time()
            await made.send(2000)  # which keep one shard busy for two seconds
            await made.delivery.drain()
            duration = made.report.counts.put_request_duration_s
            assert duration.sum < (loop.time() - began_s) / 2

    asyncio.run(story())


def test_the_end_waits_for_all_that_its_shards_cannot_take_yet() -> None:
    """One of fifty workers, to a shard: 20 records a second are its share."""

    async def story() -> None:
        async with local(shards=1) as (endpoint, url), lab(url, workers=50) as made:
            await made.send(40, frame_records=20)
            await made.delivery.drain()
            assert made.acked == stored(endpoint) == 40

    asyncio.run(story())


def test_the_end_waits_for_a_call_that_waits_for_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "PROBE_PERMANENT_S", 3600)

    async def story() -> None:
        async with local() as (endpoint, url), lab(url, shard_limits=False) as made:
            endpoint.faults = Faults(deny=True)
            await made.send(10)
            delivery = made.delivery
            await eventually(
                lambda: delivery._outbox.empty and not delivery._tasks and delivery._body_bytes > 0
            )
            draining = asyncio.create_task(delivery.drain())
            await asyncio.sleep(0.2)
            assert not draining.done()
            endpoint.faults = Faults()
            made.gate.hurry()
            await draining
            assert made.acked == 10

    asyncio.run(story())


@pytest.mark.parametrize("aggregation", ["none", "kpl", "lines"])
def test_nothing_runs_on_after_delivery_was_abandoned(aggregation: str) -> None:
    async def story() -> None:
        async with local() as (endpoint, url):
            before = asyncio.all_tasks()
            async with lab(url, shard_limits=False, aggregation=aggregation) as made:
                endpoint.faults = Faults(latency_ms=5000)
                await made.send(5000)
                await eventually(lambda: made.report.requests_in_flight > 0)
                await made.delivery.abandon()
                assert made.report.requests_in_flight == 0
                assert made.progress.owed == 5000
            ours = {task for task in asyncio.all_tasks() - before if "tickerd.kinesis" in repr(task)}
            assert ours == set()
            endpoint.faults = Faults()

    asyncio.run(story())


def test_an_error_of_ours_is_told_though_the_stream_takes_nothing() -> None:
    async def story() -> None:
        async with local() as (endpoint, url), lab(url, shard_limits=False) as made:
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
        async with local() as (_, url), lab(url, shard_limits=False) as made:
            await made.send(RECORDS_PER_FRAME)
            made.progress._open.clear()  # as if a frame had been acknowledged twice
            await eventually(lambda: made.delivery._bug is not None)
            with pytest.raises(KeyError):
                await made.send(RECORDS_PER_FRAME)
            with pytest.raises(KeyError):
                await made.delivery.drain()

    asyncio.run(story())
