"""How many CPU seconds does the whole way take for a million records, in plain mode, in one worker?

One saturated worker against `tickerd local --discard` on the other core: market, records, encoding, packing,
signing, sending, accounting. Beside it, in the same run: bare `encode_lines` of the same records, and the
same records sent by aiobotocore (its generated client, without parameter validation, 16 calls at a time).
"""

import argparse
import asyncio
import resource
import time

import msgspec
import uvloop
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from processes import cpu_seconds, local, metrics, run, wait_for_acks
from recorded import record
from tickerd.market.market import Market
from tickerd.market.universe import Universe
from tickerd.records import Record
from tickerd.schedule import Segment, Timeline, due_below, split

MIX = (0.3, 0.65, 0.05)
SOURCE = "i-0abc123def4567890-0-k7m2qx4d"
LOCAL = ("--shards", "64", "--discard", "--no-shard-limits")


def used() -> float:
    """CPU seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def worker(seconds: float) -> dict[str, float]:
    """A saturated worker between two looks at its counters, after it has warmed up."""
    with local(*LOCAL) as (endpoint, server):
        settings = {"rate.records_per_second": 2_000_000, "kinesis.shard_limits": False}
        with run(endpoint, **settings) as address:
            wait_for_acks(address)
            time.sleep(3)
            before, server_before, began = metrics(address), cpu_seconds(server), time.monotonic()
            time.sleep(seconds)
            after, server_after, ended = metrics(address), cpu_seconds(server), time.monotonic()
    acked = after["tickerd_records_acked_total"] - before["tickerd_records_acked_total"]
    cpu = after["tickerd_worker_cpu_seconds_total"] - before["tickerd_worker_cpu_seconds_total"]
    sent = after["tickerd_bytes_acked_total"] - before["tickerd_bytes_acked_total"]
    return {
        "cpu_seconds_per_million": round(cpu / acked * 1e6, 3),
        "records_per_second": round(acked / (ended - began)),
        "bytes_per_record": round(sent / acked, 1),
        "resident_mb": round(after["tickerd_worker_resident_memory_bytes"] / 1e6, 1),
        "local_cpu_seconds_per_million": round((server_after - server_before) / acked * 1e6, 3),
    }


def some_records(count: int) -> tuple[list[Record], list[str]]:
    """Records of the default market and mix, and their partition keys."""
    universe = Universe.load()
    market = Market(1, universe)
    timeline = Timeline(
        [Segment(frame := due_below(time.time_ns()), 0, split(count * 16_000, MIX, 1, 0), "")]
    )
    batches = [market.records(SOURCE, part) for part in timeline.parts(frame)]
    records = [record for batch in batches for record in batch.records]
    return records, [universe.instruments[row] for batch in batches for row in batch.instruments.tolist()]


def encode_lines(records: list[Record], times: int = 20) -> float:
    """CPU seconds per million of the encoder alone: what no worker can go below."""
    encoder = msgspec.json.Encoder()
    began = used()
    for _ in range(times):
        encoder.encode_lines(records)
    return round((used() - began) / (times * len(records)) * 1e6, 3)


async def aiobotocore(endpoint: str, records: list[Record], keys: list[str], calls_at_a_time: int) -> float:
    """CPU seconds per million of aiobotocore sending records that were encoded before."""
    encoded = [msgspec.json.encode(each) for each in records]
    entries = [{"Data": data, "PartitionKey": key} for data, key in zip(encoded, keys, strict=True)]
    calls = [entries[start : start + 500] for start in range(0, len(entries), 500)]
    config = AioConfig(parameter_validation=False, max_pool_connections=calls_at_a_time)
    options = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": "us-east-1"}
    session = get_session()
    async with session.create_client("kinesis", endpoint_url=endpoint, config=config, **options) as client:
        left = iter(calls)

        async def send() -> None:
            for call in left:
                answer = await client.put_records(StreamName="market-log", Records=call)
                assert answer["FailedRecordCount"] == 0

        await client.put_records(StreamName="market-log", Records=calls[0])
        began = used()
        await asyncio.gather(*(send() for _ in range(calls_at_a_time)))
        return round((used() - began) / len(entries) * 1e6, 3)


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description="CPU seconds per million records, whole way, plain mode")
    parser.add_argument("--seconds", type=float, default=10)
    chosen = parser.parse_args()
    figures = worker(chosen.seconds)
    records, keys = some_records(100_000)
    reference = encode_lines(records)
    with local(*LOCAL) as (endpoint, _):
        peer = uvloop.run(aiobotocore(endpoint, records, keys, 16))
    record(
        "delivery",
        **figures,
        encode_lines_cpu_seconds_per_million=reference,
        ratio_to_encode_lines=round(figures["cpu_seconds_per_million"] / reference, 2),
        aiobotocore_cpu_seconds_per_million=peer,
        ratio_to_aiobotocore=round(figures["cpu_seconds_per_million"] / peer, 3),
    )


if __name__ == "__main__":
    main()
