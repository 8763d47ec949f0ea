"""What is counted of requests and of records that have arrived, and taken off what their frames owe.

For destinations without shards; Kinesis counts by entry and shard in a way of its own.
"""

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.checkpoint import Progress
from tickerd.observe.counters import Report, error_label
from tickerd.records import FEEDS
from tickerd.schedule import end_ms


class Load(NamedTuple):
    """Some records of one frame, as their acknowledgement counts them."""

    frame: int
    records: list[int]  # by feed, as in records.FEEDS
    sizes: list[int]  # by feed, in bytes

    @property
    def total(self) -> int:
        """How many records."""
        return sum(self.records)


def load_of(frame: int, feeds: NDArray[np.uint8], sizes: NDArray[np.int32]) -> Load:
    """The load of [records] with these feeds and bytes."""
    counts: list[int] = np.bincount(feeds, minlength=len(FEEDS)).tolist()
    size = np.bincount(feeds, sizes, len(FEEDS))
    return Load(frame, counts, [int(each) for each in size.tolist()])


class Arrivals:
    """Of one source, within its worker's report."""

    def __init__(self, progress: Progress, report: Report) -> None:
        self._progress = progress
        self._report = report

    def answered(self, outcome: str, duration_s: float, entries: int, error_code: str = "") -> None:
        """Count a request: `outcome` is "acknowledged" or "failed"."""
        counts = self._report.counts
        counts.put_requests[outcome] = counts.put_requests.get(outcome, 0) + 1
        counts.put_request_duration_s.observe(duration_s)
        counts.entries_per_request.observe(entries)
        if error_code:
            label = error_label(error_code)
            counts.put_errors[label] = counts.put_errors.get(label, 0) + entries

    def again(self, records: int) -> None:
        """Count records that are sent once more."""
        self._report.counts.record_retries += records

    def arrived(self, loads: Iterable[Load], entries: Sequence[int] | None) -> None:
        """Acknowledge these records. `entries`: how many each entry held; None: an entry each."""
        counts, now_s = self._report.counts, time.time()
        total = 0
        for load in loads:
            many = load.total
            total += many
            for feed, records in enumerate(load.records):
                counts.records_acked[feed] += records
                counts.bytes_acked[feed] += load.sizes[feed]
            self._progress.acknowledge(load.frame, many)
            counts.record_delay_s.observe(max(0.0, now_s - end_ms(load.frame) / 1000), many)
        if entries is None:
            counts.entries_acked += total
            counts.records_per_entry.observe(1, total)
        else:
            counts.entries_acked += len(entries)
            for records in entries:
                counts.records_per_entry.observe(records)
        self._report.last_ack_s = now_s
