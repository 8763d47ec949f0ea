"""How old is a record when it is acknowledged, at which load?

One worker against `tickerd local` that answers after 20 ms and keeps the service's limits for each shard, in
three ways of sending. The load is the share of the way's full rate, to which the number of shards fits.
"""

import argparse

from processes import local
from recorded import record
from stairs import climb

WAYS: dict[str, tuple[int, int, dict[str, object]]] = {  # shards, full rate in records/s, settings
    "plain": (150, 120_000, {"kinesis.partition_key": "even"}),
    "kpl in order": (64, 60_000, {"kinesis.aggregation": "kpl", "kinesis.order": "key"}),
    "lines": (64, 60_000, {"kinesis.aggregation": "lines"}),
}
LOADS = (0.05, 0.25, 0.5, 0.75, 0.9, 1.0)


def measure(way: str, seconds: float, loads: list[float]) -> None:
    """A row for each load."""
    shards, full, settings = WAYS[way]
    rates = [round(load * full) for load in sorted(loads)]
    with local("--shards", str(shards), "--discard", "--faults", "latency_ms=20") as (endpoint, _):
        for step in climb(endpoint, rates, seconds, **settings):
            record(
                "delay",
                way=way,
                load=round(step.target / full, 2),
                shards=shards,
                records_per_second=round(step.acked),
                cpu=round(step.cpu, 2),
                p50_s=round(step.p50_s, 3),
                p99_s=round(step.p99_s, 3),
                p999_s=round(step.p999_s, 3),
            )


def main() -> None:
    """Measure each way."""
    parser = argparse.ArgumentParser(description="record delay at 20 ms call latency, shard limits kept")
    parser.add_argument("--seconds", type=float, default=20, help="of each load")
    parser.add_argument("--way", choices=WAYS, action="append")
    parser.add_argument("--load", type=float, action="append", help=f"of the full rate (all of {LOADS})")
    options = parser.parse_args()
    for way in options.way or WAYS:
        measure(way, options.seconds, options.load or list(LOADS))


if __name__ == "__main__":
    main()
