"""What the page shows of the daemon: its last ten minutes second by second, and how the shards are used.

`sample` is called once a second whether anybody watches or not, so that a page has its charts at once.
"""

import time
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickerd.observe.counters import Histogram
from tickerd.supervisor import Supervisor

SAMPLES_KEPT = 600  # seconds
DELAY_SPAN_SAMPLES = 10  # delays are those of the records acknowledged in so many seconds
SHARDS_SPAN_SAMPLES = 10
PERCENTILES = (0.5, 0.95, 0.99)
SHARD_RECORDS_PER_SECOND, SHARD_BYTES_PER_SECOND = (
    1000,
    1 << 20,
)  # what a shard takes, by the service's limits

Sample = list[float | None]
Json = dict[str, Any]
Counted = NDArray[np.float64]  # [3, buckets] records, bytes, throttled entries
Process = tuple[int, int]  # a worker's process and its shards: counts of another begin at 0


class Figures:
    """The numbers of one daemon over time."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.samples: deque[Sample] = deque(maxlen=SAMPLES_KEPT)
        """[time, generated/s, acked/s, target/s, lag, delay p50, p95, p99], in seconds; the oldest first."""
        self._delays: deque[Histogram] = deque(maxlen=DELAY_SPAN_SAMPLES + 1)
        self._shards: deque[tuple[float, dict[Process, Counted]]] = deque(maxlen=SHARDS_SPAN_SAMPLES + 1)

    def sample(self, now_s: float) -> Sample:
        """Look once more; `now_s` is seconds since 1970."""
        supervisor = self._supervisor
        self._delays.append(supervisor.total().record_delay_s)
        reports = [slot.report for slot in supervisor.slots]
        target = sum(report.target_milli_records_per_second for report in reports) / 1000
        sample: Sample = [
            round(now_s),
            supervisor.generated_rate.per_second(),
            supervisor.acked_rate.per_second(),
            0.0 if supervisor.draining else target,
            round(max((report.lag_s for report in reports), default=0.0), 2),
            *percentiles(self._delays[0], self._delays[-1]),
        ]
        self.samples.append(sample)
        counted = {
            (slot.process.pid, slot.report.shards.shards): np.frombuffer(slot.report.shards.counts).reshape(
                3, -1
            )
            for slot in supervisor.slots
            if slot.process is not None and slot.report.shards is not None
        }
        self._shards.append((time.monotonic(), counted))
        return sample

    def shards(self) -> Json | None:
        """Each bucket's part of the records of the last seconds; None before there is anything to say.

        `share` is of all records, `load` of what the service lets a shard take, by this host alone,
        `throttled` entries refused per second; with several shards to a bucket, of all of them.
        """
        reports = [slot.report for slot in self._supervisor.slots]
        stream = next((report.stream for report in reports if report.stream), None)
        if stream is None or stream.distribution == "AUTO" or len(self._shards) < 2:
            return None
        (then_s, before), (now_s, now) = self._shards[0], self._shards[-1]
        newest = [counted for (_, shards), counted in now.items() if shards == stream.shards]
        if not newest or now_s <= then_s:
            return None
        grown = sum(
            counted - _comparable(before.get(process), counted)
            for process, counted in now.items()
            if process[1] == stream.shards
        )
        records, data_bytes, throttled = np.maximum(grown, 0) / (now_s - then_s)
        per_bucket = stream.shards / len(records)
        load = data_bytes / SHARD_BYTES_PER_SECOND / per_bucket
        if stream.aggregation == "none":
            load = np.maximum(load, records / SHARD_RECORDS_PER_SECOND / per_bucket)
        share = records / max(float(records.sum()), 1e-9)
        return {
            "shards": stream.shards,
            "share": np.round(share, 4).tolist(),
            "load": np.round(load, 3).tolist(),
            "throttled": np.round(throttled, 1).tolist(),
        }


def _comparable(before: Counted | None, now: Counted) -> Counted | float:
    """What a process had counted, where it still counts on from there."""
    if before is None or before.shape != now.shape or (before > now).any():
        return 0.0
    return before


def percentiles(before: Histogram, now: Histogram) -> list[float | None]:
    """The `PERCENTILES` of what was observed between two looks, in seconds; None where nothing was.

    Within a bucket values count as evenly spread; those above the last bound count as that.
    """
    counts = np.maximum(np.array(now.counts) - np.array(before.counts), 0)
    total = int(counts.sum())
    if not total:
        return [None] * len(PERCENTILES)
    bounds = np.array([0.0, *now.bounds, now.bounds[-1]])
    below = np.concatenate([[0], np.cumsum(counts)])
    found: list[float | None] = []
    for part in PERCENTILES:
        bucket = int(np.searchsorted(below, part * total, side="left")) - 1
        inside = (part * total - below[bucket]) / counts[bucket]
        found.append(round(float(bounds[bucket] + inside * (bounds[bucket + 1] - bounds[bucket])), 4))
    return found
