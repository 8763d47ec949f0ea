"""What is counted of calls and of records that have arrived, and taken off what their frames owe."""

import time

from tickerd.checkpoint import Progress
from tickerd.kinesis.by_shard import ByShard
from tickerd.kinesis.calls import Call
from tickerd.kinesis.outbox import Settled
from tickerd.kinesis.settle import Outcome
from tickerd.observe.counters import Report, error_label
from tickerd.schedule import end_ms


class Accounting:
    """Of one source, within its worker's report."""

    def __init__(self, progress: Progress, report: Report) -> None:
        self._progress = progress
        self._report = report
        self._by_shard = ByShard(report)

    def answered(self, call: Call, outcome: Outcome, duration_s: float) -> None:
        """Count a call that was answered, or was not and is given up."""
        counts = self._report.counts
        match outcome:
            case Outcome(unacknowledged=None):
                result = "failed"
            case Outcome(unacknowledged=[]):
                result = "acknowledged"
            case _:
                result = "partial"
        counts.put_requests[result] = counts.put_requests.get(result, 0) + 1
        counts.put_request_duration_s.observe(duration_s)
        counts.entries_per_request.observe(len(call))
        for code, entries in outcome.errors.items():
            label = error_label(code)
            counts.put_errors[label] = counts.put_errors.get(label, 0) + entries
        if outcome.throttled:
            self._by_shard.throttled(call, list(outcome.throttled))

    def settled(self, call: Call, settled: Settled) -> None:
        """Acknowledge the records of a call that have arrived; the others count as sent again."""
        counts, rows = self._report.counts, settled.arrived
        counts.record_retries += call.records - (len(rows) if rows else 0)
        if not rows:
            return
        now_s = time.time()
        sizes = rows.entry_bytes(call.route.key_bytes)
        for feed, (records, size) in enumerate(zip(*rows.records_by_feed(sizes), strict=True)):
            counts.records_acked[feed] += records
            counts.bytes_acked[feed] += size
        if settled.entries is None:
            counts.entries_acked += len(rows)
            counts.records_per_entry.observe(1, len(rows))
        else:
            counts.entries_acked += len(settled.entries)
            for records in settled.entries:
                counts.records_per_entry.observe(records)
        self._by_shard.arrived(call, rows, sizes, settled.entries)
        for frame, records in rows.records_by_frame():
            self._progress.acknowledge(frame, records)
            # To the nearest frame: a delay for each record would cost more than it tells.
            counts.record_delay_s.observe(max(0.0, now_s - end_ms(frame) / 1000), records)
        self._report.last_ack_s = now_s
