"""One peer sends records that were made before, and says what that took: the child of bench/peers.py.

`python bench/peer_senders.py PEER ENDPOINT RECORDS` prints {"records", "cpu_s", "wall_s"}. Every peer is
set up as its users do it.
"""

import asyncio
import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import aiokpl  # type: ignore[import-untyped]  # it has types, but does not say so
import boto3  # type: ignore[import-untyped]
import kinesis  # type: ignore[import-untyped]
import uvloop
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from aws_kinesis_agg.aggregator import RecordAggregator  # type: ignore[import-untyped]
from botocore.config import Config
from kinesis.aggregators import NewlineAggregator  # type: ignore[import-untyped]
from kinesis.processors import KPLStringProcessor, Processor  # type: ignore[import-untyped]
from kinesis.serializers import StringSerializer  # type: ignore[import-untyped]

from batches import encoded

STREAM, REGION = "market-log", "us-east-1"
CALLS_AT_A_TIME = 16
AGGREGATE_BYTES = 51_200
Entries = list[dict[str, Any]]
Measured = tuple[float, float]  # CPU and wall seconds


class Meter:
    """CPU and wall seconds since it was made."""

    def __init__(self) -> None:
        self._then = self._now()

    def _now(self) -> Measured:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime, time.monotonic()

    def read(self) -> Measured:
        """What has passed."""
        cpu, wall = self._now()
        return cpu - self._then[0], wall - self._then[1]


def calls(entries: Entries) -> list[Entries]:
    """The entries in calls of 500."""
    return [entries[start : start + 500] for start in range(0, len(entries), 500)]


def plain(data: list[bytes], keys: list[str]) -> Entries:
    """An entry a record."""
    return [{"Data": each, "PartitionKey": key} for each, key in zip(data, keys, strict=True)]


def put_all(client: Any, ready: list[Entries]) -> None:
    """One call after the other."""
    for call in ready:
        assert client.put_records(StreamName=STREAM, Records=call)["FailedRecordCount"] == 0


def boto3_client(endpoint: str, validation: bool = True) -> Any:
    """A client that has sent something already."""
    client = boto3.client("kinesis", endpoint_url=endpoint, config=Config(parameter_validation=validation))
    put_all(client, [[{"Data": b"warm", "PartitionKey": "up"}]])
    return client


def by_boto3(endpoint: str, data: list[bytes], keys: list[str]) -> Measured:
    """put_records in a loop."""
    client, ready = boto3_client(endpoint), calls(plain(data, keys))
    meter = Meter()
    put_all(client, ready)
    return meter.read()


def by_boto3_unvalidated(endpoint: str, data: list[bytes], keys: list[str]) -> Measured:
    """The same without parameter validation."""
    client, ready = boto3_client(endpoint, validation=False), calls(plain(data, keys))
    meter = Meter()
    put_all(client, ready)
    return meter.read()


def by_aws_kinesis_agg(endpoint: str, data: list[bytes], keys: list[str]) -> Measured:
    """Aggregates by AWS's module, sent by boto3 without parameter validation."""
    client = boto3_client(endpoint, validation=False)
    meter = Meter()
    aggregator = RecordAggregator(AGGREGATE_BYTES)
    entries: Entries = []
    for each, key in zip(data, keys, strict=True):
        full = aggregator.add_user_record(key, each)
        if full:
            entries.append(_entry(full))
    if last := aggregator.clear_and_get():
        entries.append(_entry(last))
    put_all(client, [entries[start : start + 20] for start in range(0, len(entries), 20)])  # 1 MB each
    return meter.read()


def _entry(aggregate: Any) -> dict[str, Any]:
    partition_key, _, data = aggregate.get_contents()
    return {"Data": data, "PartitionKey": partition_key}


async def by_aiobotocore(endpoint: str, data: list[bytes], keys: list[str]) -> Measured:
    """Its defaults, 16 calls at a time."""
    return await _aiobotocore(endpoint, data, keys, AioConfig())


async def by_aiobotocore_tuned(endpoint: str, data: list[bytes], keys: list[str]) -> Measured:
    """Without parameter validation, a connection for each of the 16 calls."""
    config = AioConfig(parameter_validation=False, max_pool_connections=CALLS_AT_A_TIME)
    return await _aiobotocore(endpoint, data, keys, config)


async def _aiobotocore(endpoint: str, data: list[bytes], keys: list[str], config: AioConfig) -> Measured:
    async with get_session().create_client("kinesis", endpoint_url=endpoint, config=config) as client:
        ready = calls(plain(data, keys))
        left = iter(ready)

        async def send() -> None:
            for call in left:
                answer = await client.put_records(StreamName=STREAM, Records=call)
                assert answer["FailedRecordCount"] == 0

        await client.put_records(StreamName=STREAM, Records=ready[0][:1])
        meter = Meter()
        await asyncio.gather(*(send() for _ in range(CALLS_AT_A_TIME)))
        return meter.read()


async def by_aiokpl(endpoint: str, data: list[bytes], keys: list[str]) -> Measured:
    """Aggregating, as it is by default."""
    return await _aiokpl(endpoint, data, keys, aggregating=True)


async def by_aiokpl_plain(endpoint: str, data: list[bytes], keys: list[str]) -> Measured:
    """An entry a record."""
    return await _aiokpl(endpoint, data, keys, aggregating=False)


async def _aiokpl(endpoint: str, data: list[bytes], keys: list[str], *, aggregating: bool) -> Measured:
    config = aiokpl.Config(region=REGION, endpoint_url=endpoint, aggregation_enabled=aggregating)
    async with aiokpl.Producer(config) as producer:
        warm = await producer.put_record(stream=STREAM, partition_key="up", data=b"warm")
        await producer.flush()
        assert (await warm.wait()).success
        meter = Meter()
        outcomes = [
            await producer.put_record(stream=STREAM, partition_key=key, data=each)
            for each, key in zip(data, keys, strict=True)
        ]
        await producer.flush()
        for outcome in outcomes:
            assert (await outcome.wait()).success
        return meter.read()


async def by_async_kinesis(endpoint: str, data: list[bytes], keys: list[str]) -> Measured:
    """An entry a record."""
    return await _async_kinesis(endpoint, data, keys, kinesis.StringProcessor())


async def by_async_kinesis_kpl(endpoint: str, data: list[bytes], keys: list[str]) -> Measured:
    """Aggregates; they have one key for all their records."""
    return await _async_kinesis(endpoint, data, [], KPLStringProcessor())


async def by_async_kinesis_lines(endpoint: str, data: list[bytes], keys: list[str]) -> Measured:
    """Lines, which it makes of objects: here of texts that are taken as they are."""

    class Lines(Processor, NewlineAggregator, StringSerializer):  # type: ignore[misc]
        """What JsonLineProcessor is for objects."""

    return await _async_kinesis(endpoint, data, [], Lines())


async def _async_kinesis(endpoint: str, data: list[bytes], keys: list[str], processor: Any) -> Measured:
    texts = [each.decode() for each in data]
    producer = kinesis.Producer(
        stream_name=STREAM, endpoint_url=endpoint, region_name=REGION, processor=processor
    )
    await producer.__aenter__()
    await producer.put("warm")
    await producer.flush()
    meter = Meter()
    for text, key in zip(texts, keys or itertools.repeat(None), strict=False):
        await producer.put(text, key)
    await producer.flush()
    measured = meter.read()
    await producer.close()
    return measured


PEERS: dict[str, Callable[..., Measured | Coroutine[Any, Any, Measured]]] = {
    "boto3": by_boto3,
    "boto3-unvalidated": by_boto3_unvalidated,
    "aws-kinesis-agg": by_aws_kinesis_agg,
    "aiobotocore": by_aiobotocore,
    "aiobotocore-tuned": by_aiobotocore_tuned,
    "aiokpl": by_aiokpl,
    "aiokpl-plain": by_aiokpl_plain,
    "async-kinesis": by_async_kinesis,
    "async-kinesis-kpl": by_async_kinesis_kpl,
    "async-kinesis-lines": by_async_kinesis_lines,
}


def main() -> None:
    """Make the records, have the peer send them, print what it took."""
    peer, endpoint, records = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": REGION,
    }
    data, keys = encoded(records)
    sent = PEERS[peer](endpoint, data, keys)
    cpu_s, wall_s = uvloop.run(sent) if isinstance(sent, Coroutine) else sent
    print(json.dumps({"records": records, "cpu_s": cpu_s, "wall_s": wall_s}))


if __name__ == "__main__":
    main()
