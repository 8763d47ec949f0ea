"""Faults on demand of `tickerd local`: their two written forms, and what a client meets."""

import asyncio
import json
from collections.abc import Awaitable
from typing import Any

import aiohttp
import pytest
from botocore.exceptions import ClientError, HTTPClientError

import emulators
from tickerd.local import Faults, LocalOptions, merge_faults, parse_faults

STREAM = {"StreamName": "market-log"}
FREE = LocalOptions(shard_limits=False)
RECORDS = [{"Data": b"x", "PartitionKey": str(i)} for i in range(500)]


async def outcome(call: Awaitable[Any]) -> object:
    """Return the status of an answer, its error code beside it, or "cut" without one."""
    try:
        return (await call)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
    except HTTPClientError:
        return "cut"


def test_the_text_form_gives_the_faults() -> None:
    text = "throttled=0.1,error=0.05, lost_ack=0.02,latency_ms=20"
    assert parse_faults(text) == Faults(throttled=0.1, error=0.05, lost_ack=0.02, latency_ms=20)
    assert parse_faults("") == Faults()
    assert parse_faults("error=1") == Faults(error=1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("throtled=0.1", "unknown fault 'throtled': did you mean throttled?"),
        ("latency=20", "unknown fault 'latency': did you mean latency_ms?"),
        ("xyz=1", "unknown fault 'xyz': known are throttled, error, lost_ack, latency_ms"),
        ("error=1.01", "fault error = 1.01 is out of range: a share from 0 to 1 is right"),
        ("error=-0.01", "fault error = -0.01 is out of range: a share from 0 to 1 is right"),
        ("error=nan", "fault error = nan is out of range: a share from 0 to 1 is right"),
        ("error=5%", "fault error = '5%' is not a number: a share from 0 to 1 is right"),
        ("error", "fault error = nothing is not a number: a share from 0 to 1 is right"),
        ("error=0,error=1", "fault error is given twice"),
        ("latency_ms=-1", "fault latency_ms = -1 is out of range: milliseconds from 0 to 600000 are right"),
    ],
)
def test_a_wrong_text_is_refused_in_one_line_that_says_what_is_right(text: str, says: str) -> None:
    with pytest.raises(ValueError, match="fault") as caught:
        parse_faults(text)
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"denied": True}, "unknown fault 'denied': did you mean deny?"),
        ({"deny": 1}, "fault deny = 1 is wrong: true or false is right"),
        ({"throttled": True}, "fault throttled = true is wrong: a share from 0 to 1 is right"),
        ({"throttled": "0.1"}, 'fault throttled = "0.1" is wrong: a share from 0 to 1 is right'),
        ({"throttled": 2}, "fault throttled = 2 is out of range: a share from 0 to 1 is right"),
    ],
)
def test_wrong_json_is_refused_in_one_line_and_changes_nothing(body: object, says: str) -> None:
    async def scene() -> None:
        async with emulators.local_here() as (endpoint, client), aiohttp.ClientSession() as session:
            page = f"{client.meta.endpoint_url}/_local/faults"
            endpoint.faults = Faults(error=0.5)
            async with session.post(page, json=body) as answer:
                assert (answer.status, await answer.text()) == (400, f"{says}\n")
            assert endpoint.faults == Faults(error=0.5)

    asyncio.run(scene())


def test_faults_change_at_run_time_and_names_left_out_stay() -> None:
    async def scene() -> None:
        async with emulators.local_here() as (_, client), aiohttp.ClientSession() as session:
            page = f"{client.meta.endpoint_url}/_local/faults"
            await session.post(page, json={"throttled": 1, "latency_ms": 1.5})
            async with session.post(page, json={"deny": True, "throttled": 0}) as answer:
                merged = await answer.json()
            async with session.get(page) as answer:
                assert await answer.json() == merged
            assert merged["deny"] is True
            assert (merged["throttled"], merged["latency_ms"], merged["outage"]) == (0, 1.5, False)
            assert await outcome(client.list_shards(**STREAM)) == (400, "AccessDeniedException")
            async with session.get(f"{client.meta.endpoint_url}/_local/other") as answer:
                assert answer.status == 404

    asyncio.run(scene())


def test_merging_is_what_the_page_does() -> None:
    assert merge_faults(Faults(error=0.1), b'{"auto":true}') == Faults(error=0.1, auto=True)
    with pytest.raises(ValueError, match="must be a JSON object"):
        merge_faults(Faults(), b"[]")


def test_throttled_entries_fail_in_their_share_and_the_others_are_stored() -> None:
    async def scene() -> None:
        async with emulators.local_here(FREE) as (endpoint, client):
            endpoint.faults = Faults(throttled=0.2)
            replies = [await client.put_records(**STREAM, Records=RECORDS) for _ in range(20)]
            codes = [record.get("ErrorCode") for reply in replies for record in reply["Records"]]
            failed = [code for code in codes if code]
            assert sum(reply["FailedRecordCount"] for reply in replies) == len(failed)
            assert 1600 < len(failed) < 2400  # 2,000 of 10,000, ten standard deviations either way
            assert failed.count("ProvisionedThroughputExceededException") > len(failed) / 2
            assert set(failed) == {"ProvisionedThroughputExceededException", "InternalFailure"}
            stats = endpoint.stats()
            assert stats["held_records"] == stats["records"] == 10_000 - len(failed)

    asyncio.run(scene())


def test_an_error_stores_nothing_and_touches_no_other_operation() -> None:
    async def scene() -> None:
        async with emulators.local_here(FREE) as (endpoint, client):
            endpoint.faults = Faults(error=1)
            seen = {await outcome(client.put_records(**STREAM, Records=RECORDS)) for _ in range(40)}
            assert seen == {(500, "InternalFailure"), (503, "ServiceUnavailable")}
            assert endpoint.stats()["records"] == 0
            assert await outcome(client.list_shards(**STREAM)) == 200

    asyncio.run(scene())


def test_a_lost_acknowledgement_is_stored_and_cut() -> None:
    async def scene() -> None:
        async with emulators.local_here(FREE) as (endpoint, client):
            endpoint.faults = Faults(lost_ack=1)
            assert await outcome(client.put_records(**STREAM, Records=RECORDS)) == "cut"
            assert await outcome(client.list_shards(**STREAM)) == 200
            endpoint.faults = Faults()
            assert await outcome(client.put_records(**STREAM, Records=RECORDS[:1])) == 200
            stats = endpoint.stats()
            assert (stats["records"], stats["cut"]) == (501, 1)

    asyncio.run(scene())


def test_latency_is_added_and_holds_no_other_call_up() -> None:
    async def scene() -> None:
        async with emulators.local_here(FREE) as (endpoint, client):
            endpoint.faults = Faults(latency_ms=600_000)
            slow = [asyncio.ensure_future(client.list_shards(**STREAM)) for _ in range(8)]
            while endpoint.stats()["calls"] != 8:
                await asyncio.sleep(0.001)
            endpoint.faults = Faults()
            assert await outcome(client.list_shards(**STREAM)) == 200
            assert not any(call.done() for call in slow)
            for call in slow:
                call.cancel()
            await asyncio.gather(*slow, return_exceptions=True)

    asyncio.run(scene())


def test_an_outage_cuts_every_call_and_stores_nothing_until_it_ends() -> None:
    async def scene() -> None:
        async with emulators.local_here(FREE) as (endpoint, client), aiohttp.ClientSession() as session:
            page = f"{client.meta.endpoint_url}/_local/faults"
            await session.post(page, json={"outage": True})
            assert await outcome(client.put_records(**STREAM, Records=RECORDS)) == "cut"
            assert await outcome(client.describe_stream_summary(**STREAM)) == "cut"
            await session.post(page, json={"outage": False})
            assert await outcome(client.put_records(**STREAM, Records=RECORDS)) == 200
            assert endpoint.stats()["records"] == 500

    asyncio.run(scene())


def test_denied_calls_name_the_action() -> None:
    async def scene() -> None:
        async with emulators.local_here(FREE) as (endpoint, client):
            endpoint.faults = Faults(deny=True)
            with pytest.raises(ClientError, match="not authorized to perform: kinesis:PutRecords"):
                await client.put_records(**STREAM, Records=RECORDS)
            assert await outcome(client.describe_stream_summary(**STREAM)) == (400, "AccessDeniedException")

    asyncio.run(scene())


def test_auto_deals_records_out_whatever_their_keys_and_says_so() -> None:
    async def scene() -> None:
        async with emulators.local_here(LocalOptions(shards=5)) as (endpoint, client):
            before = (await client.describe_stream_summary(**STREAM))["StreamDescriptionSummary"]
            assert "RecordDistributionStrategy" not in before
            endpoint.faults = Faults(auto=True)
            after = (await client.describe_stream_summary(**STREAM))["StreamDescriptionSummary"]
            assert after["RecordDistributionStrategy"] == "AUTO"
            hot = [{"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": "0"}] * 500
            reply = await client.put_records(**STREAM, Records=hot)
            shards = [record["ShardId"] for record in reply["Records"]]
            assert sorted(shards.count(shard) for shard in set(shards)) == [100] * 5

    asyncio.run(scene())


def test_stats_count_calls_by_operation_and_refusals_by_code() -> None:
    async def scene() -> None:
        async with emulators.local_here(FREE) as (_, client), aiohttp.ClientSession() as session:
            for _ in range(3):
                await client.list_shards(**STREAM)
            await client.put_records(**STREAM, Records=RECORDS[:10])
            await outcome(client.put_records(StreamName="missing", Records=RECORDS[:10]))
            async with session.get(f"{client.meta.endpoint_url}/_local/stats") as answer:
                stats = json.loads(await answer.text())
            assert stats["operations"] == {"ListShards": 3, "PutRecords": 2}
            assert stats["errors"] == {"PutRecords": {"ResourceNotFoundException": 1}}
            assert (stats["calls"], stats["entries"], stats["records"], stats["bytes"]) == (5, 10, 10, 20)

    asyncio.run(scene())
