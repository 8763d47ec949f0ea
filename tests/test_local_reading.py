"""Reading back from `tickerd local`: iterators, reshards, arrival times, retention and paging."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

import emulators
from tickerd.local import LocalOptions

FREE = LocalOptions(shard_limits=False, shards=1)
STREAM = {"StreamName": "market-log"}
MIB = 1024 * 1024
large_bodies = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")


class Clock:
    """A time of day in milliseconds that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_ms = 1_795_000_000_123

    def __call__(self) -> int:
        return self.now_ms


async def refusal(call: Awaitable[Any]) -> str:
    try:
        await call
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


async def iterator(client: Any, shard: str, kind: str = "TRIM_HORIZON", **more: object) -> str:
    answer = await client.get_shard_iterator(**STREAM, ShardId=shard, ShardIteratorType=kind, **more)
    return str(answer["ShardIterator"])


async def read_all(client: Any, shard: str) -> tuple[list[bytes], list[str]]:
    """Return the data in a shard and the ids of its children; [] for a shard that is open."""
    at, data = await iterator(client, shard), []
    while True:
        answer = await client.get_records(ShardIterator=at)
        data += [record["Data"] for record in answer["Records"]]
        if "NextShardIterator" not in answer:
            return data, [child["ShardId"] for child in answer["ChildShards"]]
        if not answer["Records"]:
            return data, []
        at = answer["NextShardIterator"]


async def put(client: Any, *data: bytes, key: str = "k", hash_key: int | None = None) -> Any:
    more = {} if hash_key is None else {"ExplicitHashKey": str(hash_key)}
    records = [{"Data": each, "PartitionKey": key, **more} for each in data]
    return await client.put_records(**STREAM, Records=records)


def test_what_was_acknowledged_is_read_back_once_and_in_order() -> None:
    async def scene() -> None:
        async with emulators.local_here(LocalOptions(shard_limits=False)) as (_, client):
            sent: dict[str, list[bytes]] = {}

            async def write(writer: int) -> None:
                for call in range(5):
                    keys = [f"{writer}-{i}" for i in range(200)]
                    records = [{"Data": f"{key} {call}".encode(), "PartitionKey": key} for key in keys]
                    reply = await client.put_records(**STREAM, Records=records)
                    for record, result in zip(records, reply["Records"], strict=True):
                        sent.setdefault(result["ShardId"], []).append(record["Data"])  # type: ignore[arg-type]

            await asyncio.gather(*(write(writer) for writer in range(6)))
            assert len(sent) == 4
            for shard, data in sent.items():
                found, _ = await read_all(client, shard)
                assert sorted(found) == sorted(data)
                for key in {each.split()[0] for each in data}:
                    of_key = [each for each in found if each.split()[0] == key]
                    assert of_key == [b"%s %d" % (key, call) for call in range(5)]

    asyncio.run(scene())


def test_a_split_and_a_merge_keep_every_record_readable_parents_first() -> None:
    async def scene() -> None:
        async with emulators.local_here(FREE) as (_, client):
            await put(client, b"a0", hash_key=0)
            await put(client, b"b0", hash_key=2**127)
            zero, one, two, three = (f"shardId-{i:012d}" for i in range(4))
            before = await iterator(client, zero, "LATEST")
            await client.split_shard(**STREAM, ShardToSplit=zero, NewStartingHashKey=str(2**127))
            low = await put(client, b"a1", hash_key=2**127 - 1)
            high = await put(client, b"b1", hash_key=2**127)
            assert [r["Records"][0]["ShardId"] for r in (low, high)] == [one, two]
            assert await read_all(client, zero) == ([b"a0", b"b0"], [one, two])
            end = await client.get_records(ShardIterator=before)
            assert "NextShardIterator" not in end
            assert end["ChildShards"][1] == {
                "ShardId": two,
                "ParentShards": [zero],
                "HashKeyRange": {"StartingHashKey": str(2**127), "EndingHashKey": str(2**128 - 1)},
            }
            await client.merge_shards(**STREAM, ShardToMerge=one, AdjacentShardToMerge=two)
            await put(client, b"c")
            assert await read_all(client, one) == ([b"a1"], [three])
            assert await read_all(client, two) == ([b"b1"], [three])
            assert await read_all(client, three) == ([b"c"], [])
            closed = await refusal(
                client.split_shard(**STREAM, ShardToSplit=zero, NewStartingHashKey=str(2**126))
            )
            assert closed == "ResourceInUseException"

    asyncio.run(scene())


@pytest.mark.parametrize("target", [2, 3, 4, 5, 6, 7, 8])
def test_a_new_shard_count_gives_equal_ranges_and_a_true_lineage(target: int) -> None:
    async def scene() -> list[Any]:
        async with emulators.local_here(LocalOptions(shards=4, shard_limits=False)) as (_, client):
            for key in range(50):
                await put(client, str(key).encode(), key=str(key))
            scaling = {"TargetShardCount": target, "ScalingType": "UNIFORM_SCALING"}
            answer = await client.update_shard_count(**STREAM, **scaling)
            assert (answer["CurrentShardCount"], answer["TargetShardCount"]) == (4, target)
            await put(client, b"new", hash_key=2**128 - 1)
            shards: list[Any] = (await client.list_shards(**STREAM))["Shards"]
            data = [each for shard in shards for each in (await read_all(client, shard["ShardId"]))[0]]
            assert sorted(data) == sorted([*(str(key).encode() for key in range(50)), b"new"])
            return shards

    shards = asyncio.run(scene())
    open_shards = [s for s in shards if "EndingSequenceNumber" not in s["SequenceNumberRange"]]
    ends = [bounds(shard) for shard in sorted(open_shards, key=bounds)]
    width = 2**128 // target
    assert ends == [(i * width, (i + 1) * width - 1 if i < target - 1 else 2**128 - 1) for i in range(target)]
    by_id = {shard["ShardId"]: shard for shard in shards}
    for shard in shards[4:]:
        parents = [by_id[shard[name]] for name in ("ParentShardId", "AdjacentParentShardId") if name in shard]
        low, high = min(map(bounds, parents))[0], max(map(bounds, parents))[1]
        assert low <= bounds(shard)[0] <= bounds(shard)[1] <= high
        assert all("EndingSequenceNumber" in parent["SequenceNumberRange"] for parent in parents)
        first = int(shard["SequenceNumberRange"]["StartingSequenceNumber"])
        assert all(first > int(p["SequenceNumberRange"]["EndingSequenceNumber"]) for p in parents)


def bounds(shard: Any) -> tuple[int, int]:
    return int(shard["HashKeyRange"]["StartingHashKey"]), int(shard["HashKeyRange"]["EndingHashKey"])


def test_arrival_times_are_right_to_the_millisecond() -> None:
    clock = Clock()

    async def scene() -> None:
        async with emulators.local_here(FREE, clock) as (_, client):
            await put(client, b"first")
            clock.now_ms += 1
            await put(client, b"second")
            clock.now_ms += 500
            shard = "shardId-000000000000"
            answer = await client.get_records(ShardIterator=await iterator(client, shard), Limit=1)
            [record] = answer["Records"]
            arrival = record["ApproximateArrivalTimestamp"].astimezone(UTC)
            assert arrival == datetime(2026, 11, 18, 11, 6, 40, 123_000, UTC)
            assert answer["MillisBehindLatest"] == 501
            rest = await client.get_records(ShardIterator=answer["NextShardIterator"])
            assert rest["MillisBehindLatest"] == 0
            for wanted_s, data in ((0.123, b"first"), (0.124, b"second")):
                at = await raw_iterator(client, shard, 1_795_000_000 + wanted_s)
                found = await client.get_records(ShardIterator=at)
                assert found["Records"][0]["Data"] == data
            tip = await raw_iterator(client, shard, 1_795_000_000.125)
            assert (await client.get_records(ShardIterator=tip))["Records"] == []
            with pytest.raises(ClientError, match="later than the present"):
                await raw_iterator(client, shard, (clock.now_ms + 1) / 1000)

    asyncio.run(scene())


async def raw_iterator(client: Any, shard: str, timestamp_s: float) -> str:
    """Ask AT_TIMESTAMP with milliseconds, which botocore's own serializer cuts off."""

    def with_milliseconds(request: Any, **_: object) -> None:
        whole = b'"Timestamp": %d' % int(timestamp_s)
        assert whole in request.data
        request.data = request.data.replace(whole, b'"Timestamp": %r' % timestamp_s)

    client.meta.events.register("request-created.kinesis.GetShardIterator", with_milliseconds)
    try:
        return await iterator(client, shard, "AT_TIMESTAMP", Timestamp=int(timestamp_s))
    finally:
        client.meta.events.unregister("request-created.kinesis.GetShardIterator", with_milliseconds)


@pytest.mark.parametrize(
    ("age_ms", "code"), [(299_999, ""), (300_000, ""), (300_001, "ExpiredIteratorException")]
)
def test_an_iterator_is_good_for_five_minutes(age_ms: int, code: str) -> None:
    clock = Clock()

    async def scene() -> str:
        async with emulators.local_here(FREE, clock) as (_, client):
            at = await iterator(client, "shardId-000000000000")
            clock.now_ms += age_ms
            return await refusal(client.get_records(ShardIterator=at))

    assert asyncio.run(scene()) == code


@large_bodies
def test_a_reply_holds_10_mib_and_the_next_one_carries_on() -> None:
    async def scene() -> list[int]:
        async with emulators.local_here(FREE) as (_, client):
            for _ in range(3):
                await put(client, *[b"x" * (MIB - 1)] * 5)
            await put(client, b"y")
            at, counts = await iterator(client, "shardId-000000000000"), []
            for _ in range(3):
                answer = await client.get_records(ShardIterator=at)
                counts.append(len(answer["Records"]))
                at = answer["NextShardIterator"]
            return counts

    assert asyncio.run(scene()) == [10, 6, 0]


@large_bodies
def test_beyond_the_retention_the_oldest_records_over_all_shards_go_and_are_counted() -> None:
    async def scene() -> None:
        options = LocalOptions(shard_limits=False, shards=2, retention_mb=4)
        async with emulators.local_here(options) as (endpoint, client):
            numbers = []
            for call in range(40):
                reply = await put(client, b"%d" % call + b"x" * 250_000, hash_key=(call % 2) * 2**127)
                numbers.append(reply["Records"][0]["SequenceNumber"])
            stats = endpoint.stats()
            kept: dict[int, list[bytes]] = {}
            for shard in range(2):
                data, _ = await read_all(client, f"shardId-{shard:012d}")
                kept[shard] = [each.partition(b"x")[0] for each in data]
            held = sorted(int(number) for numbers in kept.values() for number in numbers)
            assert held == list(range(40 - len(held), 40))
            assert 14 <= len(held) <= 16
            assert stats["dropped_records"] == 40 - len(held)
            assert stats["held_records"] == len(held)
            assert stats["held_bytes"] <= 4 * MIB  # type: ignore[operator]
            gone = await iterator(
                client, "shardId-000000000000", "AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[0]
            )
            answer = await client.get_records(ShardIterator=gone, Limit=1)
            assert answer["Records"][0]["Data"].startswith(kept[0][0] + b"x")

    asyncio.run(scene())


def test_discard_acknowledges_truly_and_keeps_nothing() -> None:
    async def scene() -> None:
        async with emulators.local_here(LocalOptions(discard=True)) as (endpoint, client):
            reply = await put(client, b"one", b"two")
            assert reply["FailedRecordCount"] == 0
            shard = reply["Records"][0]["ShardId"]
            assert await read_all(client, shard) == ([], [])
            stats = endpoint.stats()
            assert (stats["records"], stats["bytes"], stats["held_records"]) == (2, 8, 0)

    asyncio.run(scene())


def test_a_stream_made_again_has_none_of_the_old_ones_records() -> None:
    clock = Clock()

    async def scene() -> None:
        async with emulators.local_here(FREE, clock) as (endpoint, client):
            await put(client, b"old")
            old = await iterator(client, "shardId-000000000000")
            await client.delete_stream(**STREAM)
            assert endpoint.stats()["held_records"] == 0
            assert await refusal(client.get_records(ShardIterator=old)) == "ResourceNotFoundException"
            clock.now_ms += 1  # a stream is told from its forerunner by the millisecond of its creation
            await client.create_stream(**STREAM, ShardCount=1)
            assert await refusal(client.get_records(ShardIterator=old)) == "ResourceNotFoundException"
            assert await read_all(client, "shardId-000000000000") == ([], [])

    asyncio.run(scene())


def test_shards_are_listed_in_pages_and_by_filter() -> None:
    clock = Clock()

    async def scene() -> None:
        async with emulators.local_here(LocalOptions(shards=5), clock) as (_, client):
            clock.now_ms += 10_000
            before = await client.list_shards(**STREAM, MaxResults=2)
            third = "shardId-000000000002"
            await client.split_shard(**STREAM, ShardToSplit=third, NewStartingHashKey=str(2**127))
            clock.now_ms += 10_000
            pages = [before["Shards"]]
            token = before["NextToken"]
            while token:
                page = await client.list_shards(NextToken=token, MaxResults=2)
                pages.append(page["Shards"])
                token = page.get("NextToken")
            assert [[int(s["ShardId"][-3:]) for s in page] for page in pages] == [[0, 1], [2, 3], [4, 5], [6]]

            async def listed(**wanted: object) -> list[int]:
                answer = await client.list_shards(**STREAM, ShardFilter=wanted)
                return [int(shard["ShardId"][-3:]) for shard in answer["Shards"]]

            every, children, first = list(range(7)), [0, 1, 3, 4, 5, 6], [0, 1, 2, 3, 4]
            assert await listed(Type="AT_LATEST") == children
            assert await listed(Type="AT_TRIM_HORIZON") == first
            assert await listed(Type="FROM_TRIM_HORIZON") == every
            assert await listed(Type="AFTER_SHARD_ID", ShardId="shardId-000000000004") == [5, 6]
            early, late = 1_795_000_005, 1_795_000_015
            assert await listed(Type="AT_TIMESTAMP", Timestamp=early) == first
            assert await listed(Type="AT_TIMESTAMP", Timestamp=late) == children
            assert await listed(Type="FROM_TIMESTAMP", Timestamp=late) == children
            assert await listed(Type="FROM_TIMESTAMP", Timestamp=early) == every
            clock.now_ms += 300_001
            old = await refusal(client.list_shards(NextToken=before["NextToken"]))
            assert old == "ExpiredNextTokenException"

    asyncio.run(scene())
