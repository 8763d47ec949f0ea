"""A daemon whose rate rises in steps, and what it did on each: throughput, CPU, lag, delay of its records.

One process climbs all steps (`rate.stages`), so that only the first pays for starting. The delays are read
off the daemon's own histogram, interpolated within a bucket.
"""

import json
import time
import urllib.request
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from processes import metrics, run, wait_for_acks

START_S = 5  # that a daemon may take from its first frame, which the stages begin with, to the first answer
WARM_UP_S = 3  # at the first step's rate: what start-up delayed is caught up
SETTLE_S = 1.0  # after a rise, before a step is measured
HISTOGRAM = "tickerd_record_delay_seconds_bucket"
KEPT_UP_SHARE, KEPT_UP_LAG_S = 0.97, 1.0
PUBLISH_MAX_S = 1.0  # that a worker may take to publish its counters; mostly a quarter


class Step(NamedTuple):
    """What a daemon did at one rate. `cpu` is of all workers, in cores; `lag_s` at the step's end."""

    target: float  # records/s
    acked: float  # records/s
    cpu: float
    lag_s: float
    p50_s: float
    p99_s: float
    p999_s: float

    @property
    def kept_up(self) -> bool:
        """Whether as much arrived as was wanted, in time."""
        return self.acked >= KEPT_UP_SHARE * self.target and self.lag_s < KEPT_UP_LAG_S


def climb(endpoint: str, rates: Sequence[int], hold_s: float, **settings: object) -> Iterator[Step]:
    """Hold each of the rising rates. A step that went by before it could be measured is left out."""
    span_s = 1 + SETTLE_S + hold_s + 1
    stages: list[dict[str, int]] = [{"for_s": START_S + WARM_UP_S, "records_per_second": rates[0]}]
    for rate in rates:
        stages.append({"for_s": 1, "records_per_second": rate})
        stages.append({"for_s": round(span_s) - 1, "records_per_second": rate})
    ours = {"rate.records_per_second": rates[0], "rate.stages": stages, **settings}
    with run(endpoint, **ours) as address:
        wait_for_acks(address)
        time.sleep(WARM_UP_S)
        for rate in rates:
            while metrics(address)["tickerd_target_records_per_second"] < 0.999 * rate:
                time.sleep(0.1)
            step = measure(address, rate, hold_s)
            if step is not None:
                yield step


def measure(address: str, rate: int, hold_s: float) -> Step | None:
    """One step; None when the rate was another by its end."""
    time.sleep(SETTLE_S)
    (before, then), delays = published(address), buckets(address)
    time.sleep(hold_s)
    (after, now), delays_after = published(address), buckets(address)
    if abs(after["tickerd_target_records_per_second"] - rate) > 0.001 * rate:
        return None
    acked = after["tickerd_records_acked_total"] - before["tickerd_records_acked_total"]
    cpu = after["tickerd_worker_cpu_seconds_total"] - before["tickerd_worker_cpu_seconds_total"]
    counts = {bound: delays_after[bound] - delays.get(bound, 0.0) for bound in delays_after}
    return Step(
        rate,
        acked / (now - then),
        cpu / (now - then),
        lag_s(address),
        *(quantile(counts, share) for share in (0.5, 0.99, 0.999)),
    )


def published(address: str) -> tuple[dict[str, float], float]:
    """The metrics as soon as they have moved, and when: between two such moments nothing is uncounted.

    At any moment up to a quarter of a second may be, which is 3 % of a step of eight seconds.
    """
    at_first, began = metrics(address), time.monotonic()
    while True:
        found, now = metrics(address), time.monotonic()
        moved = found["tickerd_records_acked_total"] != at_first["tickerd_records_acked_total"]
        if moved or now > began + PUBLISH_MAX_S:
            return found, now
        time.sleep(0.01)


def lag_s(address: str) -> float:
    """How far the worst worker is behind."""
    with urllib.request.urlopen(f"{address}/status", timeout=5) as answer:  # noqa: S310 - our own address
        return float(json.load(answer)["lag_seconds"])


def buckets(address: str, histogram: str = HISTOGRAM) -> dict[float, float]:
    """Upper bound of each bucket in seconds -> what is counted up to it, records by default."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as answer:  # noqa: S310 - our own address
        lines = answer.read().decode().splitlines()
    found: dict[float, float] = {}
    for line in lines:
        if line.startswith(histogram):
            bound = float(line.partition('le="')[2].partition('"')[0])
            found[bound] = found.get(bound, 0.0) + float(line.rpartition(" ")[2])
    return found


def quantile(counts: dict[float, float], share: float) -> float:
    """The seconds that this share of what is counted does not exceed; beyond all bounds, the last."""
    wanted = share * counts[float("inf")]
    below, lower = 0.0, 0.0
    for bound, count in sorted(counts.items()):
        if bound != float("inf") and count >= wanted > below:
            return lower + (bound - lower) * (wanted - below) / (count - below)
        below, lower = count, bound if bound != float("inf") else lower
    return lower
