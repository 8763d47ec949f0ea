"""A consumer that others wrote, async-kinesis, reads the same records from a stream as `verify` counts."""

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest
from aws_kinesis_agg.aggregator import RecordAggregator
from kinesis import Consumer, JsonLineProcessor, JsonProcessor, MemoryCheckPointer
from kinesis.processors import KPLJsonProcessor

from daemon import Host, Stream
from made import SOURCE, Keyed, made
from tickerd.kinesis.limits import HASH_KEY_END
from tickerd.kinesis.shards import hash_key
from tickerd.reading.verify import VerifyOptions, verify

RECORDS = 600
Record = tuple[str, int]  # source, seq


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """async-kinesis has no credentials of its own for an endpoint on this machine."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "local")


async def consumed(stream: Stream, processor: Any, records: int) -> list[dict[str, Any]]:
    """So many records of the stream as the consumer gives them, and all that follow at once."""
    found: list[dict[str, Any]] = []
    async with Consumer(
        stream_name=stream.name,
        endpoint_url=stream.url,
        region_name="us-east-1",
        processor=processor,
        checkpointer=MemoryCheckPointer(),
        sleep_time_no_records=0.1,
        shard_fetch_rate=5,
    ) as consumer:
        async with asyncio.timeout(120):
            while len(found) < records:
                found += [record async for record in consumer]
    return found


def names(records: Sequence[dict[str, Any]]) -> list[Record]:
    return [(record["source"], record["seq"]) for record in records]


def ordered_by_instrument(records: Sequence[dict[str, Any]]) -> bool:
    highest: dict[tuple[str, str], int] = {}
    for record in records:
        key = record["source"], record.get("currency_pair") or record["stock_symbol"]
        if record["seq"] <= highest.get(key, -1):
            return False
        highest[key] = record["seq"]
    return True


def test_what_a_daemon_delivered_is_consumed_as_it_is_verified(host: Host, stream: Stream) -> None:
    daemon = host.run("--records", "4000", rate__records_per_second=4000, **stream.settings)
    assert daemon.wait() == 0
    report = host.verify(stream)
    found = asyncio.run(consumed(stream, JsonProcessor(), report["totals"]["records"]))
    assert len(found) == report["totals"]["records"]
    assert len(set(names(found))) == len(found) - report["totals"]["duplicates"]
    assert (report["totals"]["lost"], report["totals"]["altered"], report["code"]) == (0, 0, 0)
    promised = {
        (source["source"], seq)
        for source in host.account()["sources"]
        for seq in range(source["first_seq"], source["next_seq"])
    }
    assert set(names(found)) == promised


def lanes(keyed: Sequence[Keyed], shards: int = 4, size: int = 25) -> list[list[Keyed]]:
    by_shard = [
        [each for each in keyed if hash_key(each[0]) * shards // HASH_KEY_END == number]
        for number in range(shards)
    ]
    return [lane[at : at + size] for lane in by_shard for at in range(0, len(lane), size)]


def as_aggregate(lane: Sequence[Keyed]) -> bytes:
    aggregator = RecordAggregator()
    for key, data in lane:
        aggregator.add_user_record(key, data)
    return bytes(aggregator.clear_and_get().get_contents()[2])


def as_lines(lane: Sequence[Keyed]) -> bytes:
    return b"\n".join(data for _, data in lane)


@pytest.mark.parametrize(
    ("pack", "processor"), [(as_aggregate, KPLJsonProcessor), (as_lines, JsonLineProcessor)]
)
def test_packed_records_are_consumed_as_they_are_verified(stream: Stream, pack: Any, processor: Any) -> None:
    keyed = made(RECORDS).keyed

    async def scene() -> tuple[list[dict[str, Any]], Any]:
        for lane in lanes(keyed):
            entry = {"PartitionKey": lane[0][0], "Data": base64.b64encode(pack(lane)).decode()}
            stream.local.call("PutRecord", StreamName=stream.name, **entry)
        found = await consumed(stream, processor(), RECORDS)
        return found, await verify(VerifyOptions(stream.name, endpoint_url=stream.url, settle_s=0))

    found, report = asyncio.run(scene())
    assert sorted(names(found)) == [(SOURCE, seq) for seq in range(RECORDS)]
    assert sorted(found, key=lambda record: int(record["seq"])) == [json.loads(data) for _, data in keyed]
    assert ordered_by_instrument(found)
    totals = report.totals
    assert (totals.records, totals.lost, totals.out_of_order, report.discarded) == (RECORDS, 0, 0, 0)
