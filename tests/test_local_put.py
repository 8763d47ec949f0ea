"""PutRecord and PutRecords of `tickerd local`, as a client library sees them: placement, edges and limits."""

import asyncio
from collections.abc import Awaitable
from hashlib import md5
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

import emulators
from tickerd.local import Faults, LocalOptions
from tickerd.local.buckets import ShardBuckets

MIB = 1024 * 1024
FREE = LocalOptions(shard_limits=False)
THROTTLED = "ProvisionedThroughputExceededException"
# aiohttp's client warns of bodies above a megabyte, which these tests are about.
large_bodies = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")


Entry = dict[str, Any]


def entries(count: int, data: bytes = b"x", key: str = "k") -> list[Entry]:
    return [{"Data": data, "PartitionKey": key}] * count


async def refusal(call: Awaitable[Any]) -> str:
    """Return the error code of a call, or "" when it was taken."""
    try:
        await call
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


async def put(client: Any, records: list[Entry]) -> Any:
    return await client.put_records(StreamName="market-log", Records=records)


@pytest.mark.parametrize(("count", "code"), [(499, ""), (500, ""), (501, "ValidationException")])
def test_a_call_takes_500_entries_and_no_more(count: int, code: str) -> None:
    async def scene() -> str:
        async with emulators.local_here(FREE) as (_, client):
            return await refusal(put(client, entries(count)))

    assert asyncio.run(scene()) == code


@large_bodies
@pytest.mark.parametrize(
    ("missing", "code"), [(1, ""), (0, ""), (-1, "InvalidArgumentException")], ids=["under", "full", "over"]
)
def test_a_call_takes_10_mib_of_data_and_keys(missing: int, code: str) -> None:
    full = entries(9, b"x" * (MIB - 3), "€")  # three bytes in UTF-8
    last = entries(1, b"x" * (MIB - 500), "ab") + entries(1, b"y" * (500 - 3 - missing), "c")
    size = sum(len(entry["Data"]) + len(entry["PartitionKey"].encode()) for entry in full + last)
    assert size == 10 * MIB - missing

    async def scene() -> str:
        async with emulators.local_here(FREE) as (_, client):
            return await refusal(put(client, full + last))

    assert asyncio.run(scene()) == code


@large_bodies
@pytest.mark.parametrize("kib", [1024, 2000])
@pytest.mark.parametrize(("excess", "code"), [(-1, ""), (0, ""), (1, "ValidationException")])
def test_an_entry_takes_the_streams_record_size_with_its_key(kib: int, excess: int, code: str) -> None:
    async def scene() -> str:
        async with emulators.local_here(FREE) as (_, client):
            arn = "arn:aws:kinesis:us-east-1:000000000000:stream/market-log"
            await client.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=kib)
            summary = await client.describe_stream_summary(StreamARN=arn)
            assert summary["StreamDescriptionSummary"]["MaxRecordSizeInKiB"] == kib
            return await refusal(put(client, entries(1, b"x" * (kib * 1024 + excess - 4), "key!")))

    assert asyncio.run(scene()) == code


def test_every_key_goes_to_the_shard_whose_range_holds_its_md5() -> None:
    keys = [f"instrument {i}" for i in range(300)]

    async def scene() -> tuple[list[str], list[str]]:
        async with emulators.local_here(LocalOptions(shards=7)) as (_, client):
            shards = (await client.list_shards(StreamName="market-log"))["Shards"]
            records = [{"Data": b"", "PartitionKey": key} for key in keys]
            reply = await put(client, records)
            return [holder(shards, key) for key in keys], [r["ShardId"] for r in reply["Records"]]

    expected, actual = asyncio.run(scene())
    assert actual == expected
    assert len(set(actual)) == 7


def holder(shards: list[Any], key: str) -> str:
    """Return the one shard that holds a key, computed from what ListShards says."""
    hashed = int(md5(key.encode(), usedforsecurity=False).hexdigest(), 16)
    ranges = [(s["ShardId"], s["HashKeyRange"]) for s in shards]
    [found] = [i for i, r in ranges if int(r["StartingHashKey"]) <= hashed <= int(r["EndingHashKey"])]
    return str(found)


def test_sequence_numbers_are_unique_and_rise_within_a_shard() -> None:
    async def scene() -> list[tuple[str, int]]:
        async with emulators.local_here(FREE) as (_, client):
            records = [{"Data": b"", "PartitionKey": str(i)} for i in range(500)]
            replies = [await put(client, records) for _ in range(3)]
            single = await client.put_record(StreamName="market-log", Data=b"", PartitionKey="1")
            return [
                (r["ShardId"], int(r["SequenceNumber"])) for reply in replies for r in reply["Records"]
            ] + [(single["ShardId"], int(single["SequenceNumber"]))]

    numbers = asyncio.run(scene())
    assert len(set(numbers)) == len(numbers) == 1501
    for shard in {shard for shard, _ in numbers}:
        own = [number for where, number in numbers if where == shard]
        assert own == sorted(own)


def test_dry_run_checks_everything_and_stores_nothing() -> None:
    async def scene() -> tuple[list[str], object]:
        async with emulators.local_here() as (endpoint, client):
            attempts = {"market-log": "k", "missing": "k", "market-log ": "k"}
            codes = [
                await refusal(client.put_records(StreamName=name, DryRun=True, Records=entries(1, key=key)))
                for name, key in attempts.items()
            ]
            beyond = [{"Data": b"", "PartitionKey": "k", "ExplicitHashKey": str(2**128)}]
            codes.append(
                await refusal(client.put_records(StreamName="market-log", DryRun=True, Records=beyond))
            )
            endpoint.faults = Faults(deny=True)
            codes.append(
                await refusal(client.put_records(StreamName="market-log", DryRun=True, Records=entries(1)))
            )
            return codes, endpoint.stats()["records"]

    codes, records = asyncio.run(scene())
    assert codes == [
        "DryRunOperationException",
        "ResourceNotFoundException",
        "ValidationException",
        "InvalidArgumentException",
        "AccessDeniedException",
    ]
    assert records == 0


def test_a_busy_shard_throttles_its_entries_and_leaves_the_others_alone() -> None:
    async def scene() -> tuple[Any, Any, Any]:
        async with emulators.local_here(LocalOptions(shards=2)) as (endpoint, client):
            hot = [{"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": "0"}] * 499
            cold = [{"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": str(2**127)}]
            replies = [await put(client, hot + cold) for _ in range(12)]
            one = (await client.list_shards(StreamName="market-log"))["Shards"][1]["ShardId"]
            return replies, one, endpoint.stats()

    # 12 calls hold 5,988 entries of the hot shard: at 1,000 a second they pass whole only in five seconds.
    replies, one, stats = asyncio.run(scene())
    results = [reply["Records"] for reply in replies]
    stored = sum("SequenceNumber" in r for records in results for r in records[:499])
    assert 1000 <= stored < 12 * 499
    assert all(records[499]["ShardId"] == one for records in results)
    for reply in replies:
        failed = [r for r in reply["Records"] if "ErrorCode" in r]
        assert reply["FailedRecordCount"] == len(failed)
        assert all(
            r["ErrorCode"] == THROTTLED and "shardId-000000000000" in r["ErrorMessage"] for r in failed
        )
        assert all(set(r) == {"ErrorCode", "ErrorMessage"} for r in failed)
    assert stats["throttled"] == 12 * 500 - stored - 12 == stats["entries"] - stats["records"]


def test_a_throttled_put_record_is_an_error_of_the_call() -> None:
    async def scene() -> str:
        async with emulators.local_here() as (endpoint, client):
            endpoint.faults = Faults(throttled=1.0)
            codes = {
                await refusal(client.put_record(StreamName="market-log", Data=b"", PartitionKey="k"))
                for _ in range(200)
            }
            assert codes == {THROTTLED, "InternalFailure"}
            return ""

    asyncio.run(scene())


def test_an_on_demand_stream_can_distribute_records_itself() -> None:
    async def scene() -> tuple[list[str], str, int, str, str]:
        async with emulators.local_here() as (_, client):
            mode = {"StreamMode": "ON_DEMAND"}
            await client.create_stream(
                StreamName="auto", StreamModeDetails=mode, RecordDistributionStrategy="AUTO"
            )
            summary = (await client.describe_stream_summary(StreamName="auto"))["StreamDescriptionSummary"]
            reply = await client.put_records(StreamName="auto", Records=[{"Data": b"x"}] * 8)
            arn = summary["StreamARN"]
            await client.update_stream_record_distribution_strategy(
                StreamARN=arn, RecordDistributionStrategy="USER_PARTITION_KEY"
            )
            keyless = await refusal(client.put_records(StreamName="auto", Records=[{"Data": b"x"}]))
            other = await client.describe_stream_summary(StreamName="market-log")
            provisioned = await refusal(
                client.update_stream_record_distribution_strategy(
                    StreamARN=other["StreamDescriptionSummary"]["StreamARN"],
                    RecordDistributionStrategy="AUTO",
                )
            )
            shards = [r["ShardId"] for r in reply["Records"]]
            strategy = summary["RecordDistributionStrategy"]
            return shards, strategy, summary["OpenShardCount"], keyless, provisioned

    shards, strategy, open_shards, keyless, provisioned = asyncio.run(scene())
    assert strategy == "AUTO"
    assert {shards.count(shard) for shard in shards} == {2}
    assert len(set(shards)) == open_shards == 4
    assert keyless == "ValidationException"
    assert provisioned == "InvalidArgumentException"


@pytest.mark.parametrize(("count", "refused"), [(999, 0), (1000, 0), (1001, 1)])
def test_a_shard_takes_1000_entries_at_once(count: int, refused: int) -> None:
    buckets = ShardBuckets()
    buckets.grow(2)
    assert len(buckets.admit(10.0, [1] * count, [1] * count)) == refused
    assert buckets.admit(10.0, [0], [1]) == []


@pytest.mark.parametrize(("last", "refused"), [(-1, []), (0, []), (1, [4])])
def test_a_shard_takes_one_mib_at_once(last: int, refused: list[int]) -> None:
    buckets = ShardBuckets()
    buckets.grow(1)
    assert buckets.admit(0.0, [0] * 5, [200_000] * 4 + [MIB - 800_000 + last]) == refused


def test_a_record_larger_than_a_second_passes_a_full_shard_and_is_paid_off_later() -> None:
    buckets = ShardBuckets()
    buckets.grow(1)
    assert buckets.admit(0.0, [0], [5 * MIB]) == []
    assert buckets.admit(4.0, [0], [1]) == [0]  # 4 MiB of debt, just paid: nothing is free yet
    assert buckets.admit(4.5, [0], [MIB // 2]) == []


@given(
    st.lists(
        st.tuples(
            st.floats(0, 2), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 300_000)), max_size=500)
        ),
        max_size=12,
    )
)
def test_no_shard_ever_takes_more_than_its_rate_and_one_second(
    calls: list[tuple[float, list[tuple[int, int]]]],
) -> None:
    buckets = ShardBuckets()
    buckets.grow(4)
    now_s, taken, size = 0.0, [0] * 4, [0] * 4
    for passed_s, wanted in calls:
        now_s += passed_s
        shards, sizes = [s for s, _ in wanted], [n for _, n in wanted]
        refused = set(buckets.admit(now_s, shards, sizes)) if wanted else set()
        for position, (shard, each) in enumerate(wanted):
            if position not in refused:
                taken[shard] += 1
                size[shard] += each
        assert max(taken) <= 1000 * (1 + now_s) + 1e-6
        assert max(size) <= MIB * (1 + now_s) + 1
