"""How late is a worker's event loop for what is due, at 80 % of what the worker can? Answers wait so long.

The rate that one saturated worker reaches, and then at 80 % of it how late the loop was for the heartbeat,
four times a second (`looks`): off the daemon's own histogram, interpolated within a bucket. One core, 64
shards, no limits, no latency.
"""

import argparse
import os
import time

from processes import local, metrics, run, wait_for_acks
from recorded import record
from stairs import buckets, quantile
from worker import LOCAL, MODES

LOAD = 0.8
WARM_UP_S = 4
HISTOGRAM = "tickerd_event_loop_lag_seconds_bucket"
BOUND_S = 0.025


def full_rate(endpoint: str, settings: dict[str, object], seconds: float) -> float:
    """Records a second of a saturated worker."""
    with run(endpoint, **{"rate.records_per_second": 2_000_000}, **settings) as address:
        wait_for_acks(address)
        time.sleep(WARM_UP_S)
        before, began = metrics(address)["tickerd_records_acked_total"], time.monotonic()
        time.sleep(seconds)
        acked = metrics(address)["tickerd_records_acked_total"] - before
        return acked / (time.monotonic() - began)


def lateness(endpoint: str, rate: int, settings: dict[str, object], seconds: float) -> dict[float, float]:
    """Upper bound in seconds -> how often the loop was that late at most."""
    with run(endpoint, **{"rate.records_per_second": rate}, **settings) as address:
        wait_for_acks(address)
        time.sleep(WARM_UP_S)
        before = buckets(address, HISTOGRAM)
        time.sleep(seconds)
        after = buckets(address, HISTOGRAM)
        return {bound: count - before.get(bound, 0.0) for bound, count in after.items()}


def main() -> None:
    """Measure each mode."""
    parser = argparse.ArgumentParser(description="event loop stalls at 80 % load")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--mode", choices=MODES, action="append")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for mode in chosen.mode or MODES:
        settings: dict[str, object] = {
            "kinesis.shard_limits": False,
            "kinesis.aggregation": MODES[mode],
        }
        with local(*LOCAL) as (endpoint, _):
            rate = round(LOAD * full_rate(endpoint, settings, min(5.0, chosen.seconds)))
            counts = lateness(endpoint, rate, settings, chosen.seconds)
        record(
            "stalls",
            mode=mode,
            load=LOAD,
            records_per_second=rate,
            looks=round(counts[float("inf")]),
            p50_ms=round(1000 * quantile(counts, 0.5), 1),
            p99_ms=round(1000 * quantile(counts, 0.99), 1),
            within_25_ms=round(counts[BOUND_S] / counts[float("inf")], 4),
        )


if __name__ == "__main__":
    main()
