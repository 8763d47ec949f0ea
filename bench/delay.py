"""How old is a record when it is acknowledged?

One worker against `tickerd local` that answers after 20 ms and keeps the service's limits for each shard, in
three ways of sending. The quantiles are read off the daemon's own histogram, interpolated within a bucket.
"""

import argparse
import time
import urllib.request

from processes import local, run, wait_for_acks
from recorded import record

WAYS: dict[str, tuple[int, dict[str, object]]] = {
    "plain": (150, {"rate.records_per_second": 100_000, "kinesis.partition_key": "even"}),
    "kpl in order": (
        64,
        {
            "rate.records_per_second": 60_000,
            "kinesis.aggregation": "kpl",
            "kinesis.order": "key",
        },
    ),
    "lines": (64, {"rate.records_per_second": 60_000, "kinesis.aggregation": "lines"}),
}
HISTOGRAM = "tickerd_record_delay_seconds_bucket"


def buckets(address: str) -> dict[float, float]:
    """Upper bound of each bucket in seconds -> records up to it."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as answer:  # noqa: S310 - our own address
        lines = answer.read().decode().splitlines()
    found: dict[float, float] = {}
    for line in lines:
        if line.startswith(HISTOGRAM):
            bound = float(line.partition('le="')[2].partition('"')[0])
            found[bound] = found.get(bound, 0.0) + float(line.rpartition(" ")[2])
    return found


def quantile(counts: dict[float, float], share: float) -> float:
    """The delay in seconds that this share of the records does not exceed."""
    wanted = share * counts[float("inf")]
    below, lower = 0.0, 0.0
    for bound, count in sorted(counts.items()):
        if count >= wanted:
            return lower + (bound - lower) * (wanted - below) / (count - below)
        below, lower = count, bound
    raise AssertionError("the last bucket holds all")


def measure(way: str, seconds: float) -> None:
    """Print one line."""
    shards, settings = WAYS[way]
    with (
        local("--shards", str(shards), "--discard", "--faults", "latency_ms=20") as (endpoint, _),
        run(endpoint, **settings) as address,
    ):
        wait_for_acks(address)
        time.sleep(5)  # what start-up delayed is caught up
        before = buckets(address)
        time.sleep(seconds)
        after = buckets(address)
    counts = {bound: after[bound] - before[bound] for bound in after}
    record(
        "delay",
        way=way,
        shards=shards,
        records_per_second=round(counts[float("inf")] / seconds),
        p50_s=round(quantile(counts, 0.5), 3),
        p99_s=round(quantile(counts, 0.99), 3),
        p999_s=round(quantile(counts, 0.999), 3),
    )


def main() -> None:
    """Measure each way."""
    parser = argparse.ArgumentParser(description="record delay at 20 ms call latency, shard limits kept")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--way", choices=WAYS, action="append")
    options = parser.parse_args()
    for way in options.way or WAYS:
        measure(way, options.seconds)


if __name__ == "__main__":
    main()
