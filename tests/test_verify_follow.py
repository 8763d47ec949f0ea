"""`verify --follow` reads on: reports as it goes, follows splits and merges, and ends as it is asked to."""

import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import emulators
from daemon import Host, Stream, eventually
from made import Keyed, made
from tickerd.local import LocalOptions
from tickerd.reading.report import Report
from tickerd.reading.verify import VerifyOptions, follow

STREAM = "market-log"
RECORDS = 2_000


@asynccontextmanager
async def followed(url: str, **options: Any) -> AsyncIterator[tuple[list[Report], Callable[..., Any]]]:
    """The reports told so far of a stream that is followed, and a function that stops it: the last one."""
    told: list[Report] = []
    stop = asyncio.Event()
    of_stream = VerifyOptions(STREAM, endpoint_url=url, **({"settle_s": 0} | options))
    reading = asyncio.create_task(follow(of_stream, 0.05, told.append, stop))

    async def stopped() -> Report:
        stop.set()
        return await reading

    try:
        yield told, stopped
    finally:
        reading.cancel()


async def until_told(told: list[Report], records: int) -> None:
    async with asyncio.timeout(60):
        while not told or told[-1].totals.records != records:
            await asyncio.sleep(0.02)


async def put(client: Any, keyed: list[Keyed]) -> None:
    for at in range(0, len(keyed), 500):
        records = [{"PartitionKey": key, "Data": data} for key, data in keyed[at : at + 500]]
        await client.put_records(StreamName=STREAM, Records=records)


async def open_shards(client: Any) -> list[Any]:
    listed = (await client.list_shards(StreamName=STREAM, ShardFilter={"Type": "AT_LATEST"}))["Shards"]
    return sorted(listed, key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))


async def split(client: Any) -> None:
    shard = (await open_shards(client))[0]
    keys = shard["HashKeyRange"]
    middle = (int(keys["StartingHashKey"]) + int(keys["EndingHashKey"])) // 2
    await client.split_shard(StreamName=STREAM, ShardToSplit=shard["ShardId"], NewStartingHashKey=str(middle))


async def merge(client: Any) -> None:
    low, high, *_ = await open_shards(client)
    await client.merge_shards(
        StreamName=STREAM, ShardToMerge=low["ShardId"], AdjacentShardToMerge=high["ShardId"]
    )


def test_what_arrives_later_is_read_through_splits_and_merges_in_order() -> None:
    keyed = made(RECORDS).keyed

    async def scene() -> tuple[list[Report], Report]:
        async with emulators.local_here(LocalOptions(shard_limits=False, shards=2)) as (_, client):
            async with followed(client.meta.endpoint_url) as (told, stopped):
                for step, change in enumerate((split, merge, split, split)):
                    end = 400 * (step + 1)
                    await put(client, keyed[end - 400 : end])
                    await until_told(told, end)
                    await change(client)
                await put(client, keyed[1600:])
                await until_told(told, RECORDS)
                return told, await stopped()

    told, last = asyncio.run(scene())
    counts = [report.totals.records for report in told]
    assert counts == sorted(counts)
    assert (last.totals.records, last.totals.lost, last.totals.out_of_order) == (RECORDS, 0, 0)
    assert (last.spread, last.exit_code, last.seqs_judged) == (set(), 0, RECORDS)
    assert [shard.open for shard in last.shards].count(True) == 4
    assert len(last.shards) == 2 + 2 + 1 + 2 + 2


def test_a_hole_is_told_when_it_has_settled() -> None:
    keyed = made(RECORDS).keyed  # a thousand a second

    async def scene() -> list[Report]:
        async with emulators.local_here(LocalOptions(shard_limits=False)) as (_, client):
            async with followed(client.meta.endpoint_url, settle_s=0.5) as (told, stopped):
                await put(client, [*keyed[:900], *keyed[901:1200]])
                await until_told(told, 1199)
                await put(client, keyed[1200:])
                await until_told(told, RECORDS - 1)
                return [*told, await stopped()]

    told = asyncio.run(scene())
    assert [report.totals.lost for report in told if report.totals.records == 1199][-1] == 0
    assert (told[-1].totals.lost, told[-1].exit_code) == (1, 1)


def test_the_following_ends_where_the_time_that_was_asked_for_has_passed() -> None:
    keyed = made(100).keyed

    async def scene() -> Report:
        async with emulators.local_here(LocalOptions(shard_limits=False)) as (_, client):
            await put(client, keyed)
            of_stream = VerifyOptions(
                STREAM,
                endpoint_url=client.meta.endpoint_url,
                settle_s=0,
                to_time=datetime.now(UTC) - timedelta(hours=1),
            )
            return await follow(of_stream, 60, lambda _: None, asyncio.Event())

    assert asyncio.run(scene()).totals.records == 0


def test_the_command_reports_at_the_end_when_it_is_interrupted(host: Host, stream: Stream) -> None:
    keyed = made(300).keyed
    records = [{"PartitionKey": key, "Data": base64.b64encode(data).decode()} for key, data in keyed]
    stream.local.call("PutRecords", StreamName=stream.name, Records=records)
    reads = stream.local.stats()["operations"].get("GetRecords", 0)
    with (host.directory / "out").open("w") as out:
        arguments = ["--follow", "--json", "--settle", "0", "--stream", stream.name]
        command = host.process("verify", *arguments, "--set", f"kinesis.endpoint_url={stream.url}", out=out)
        eventually(
            "two reads of each shard",
            lambda: stream.local.stats()["operations"].get("GetRecords", 0) >= reads + 8,
        )
        assert command.stop(signal.SIGINT) == 0
    last = json.loads((host.directory / "out").read_text().splitlines()[-1])
    assert (last["totals"]["records"], last["totals"]["lost"]) == (300, 0)
    assert command.said() == ""
