"""Metrics as log lines that CloudWatch reads, once a minute, where `log.embedded_metrics` is set.

Sums are of the last minute. Names are those of `/metrics` without the prefix; the namespace is "tickerd".
Format: the page "Embedded metric format specification" of CloudWatch's documentation.
"""

import logging
import time
from typing import Any

from tickerd.observe.counters import Counts
from tickerd.observe.rates import BusyShare
from tickerd.slot import Slot

EVERY_S = 60.0
NAMESPACE = "tickerd"
GROUP = "AutoScalingGroupName"  # the dimension by which a scaling policy finds the metric

log = logging.getLogger(__name__)
log.setLevel(logging.INFO)  # whatever `log.level` leaves out: these lines are what a group scales by


class EmbeddedMetrics:
    """Asked a few times a second; tells once a minute. `group`: of autoscaling, where the host is in one."""

    def __init__(self) -> None:
        self.group = ""
        self._busy = BusyShare()
        self._due_s = time.monotonic() + EVERY_S
        self._last = Counts()
        self._restarts = 0

    def tell(self, slots: list[Slot], stream: str, *, ready: bool) -> None:
        """Write the line, when it is due."""
        if time.monotonic() < self._due_s:
            return
        self._due_s += EVERY_S
        log.info("metrics", extra=self.line(slots, stream, ready=ready))

    def line(self, slots: list[Slot], stream: str, *, ready: bool) -> dict[str, Any]:
        """The fields of the line: what grew since the last one, and how things stand."""
        counts = [slot.counts() for slot in slots]
        total, before = Counts(), self._last
        for count in counts:
            total.add(count)
        self._last, restarts = total, sum(sum(slot.restarts.values()) for slot in slots)
        values: dict[str, tuple[float, str]] = {
            "records_generated": (sum(total.records_generated) - sum(before.records_generated), "Count"),
            "records_acked": (sum(total.records_acked) - sum(before.records_acked), "Count"),
            "bytes_acked": (sum(total.bytes_acked) - sum(before.bytes_acked), "Bytes"),
            "put_errors": (sum(total.put_errors.values()) - sum(before.put_errors.values()), "Count"),
            "frames_skipped": (total.frames_skipped - before.frames_skipped, "Count"),
            "worker_restarts": (restarts - self._restarts, "Count"),
            "backlog_records": (sum(slot.report.owed for slot in slots), "Count"),
            "lag_seconds": (round(max(slot.report.lag_s for slot in slots), 3), "Seconds"),
            "utilization_ratio": (round(self._busy.of([count.cpu_s for count in counts]), 4), "None"),
            "ready": (int(ready), "None"),
        }
        self._restarts = restarts
        dimensions = {"stream": stream} | ({GROUP: self.group} if self.group else {})
        directive = {
            "Namespace": NAMESPACE,
            "Dimensions": [[name] for name in dimensions],
            "Metrics": [{"Name": name, "Unit": unit} for name, (_, unit) in values.items()],
        }
        head = {"Timestamp": round(time.time() * 1000), "CloudWatchMetrics": [directive]}
        return {"_aws": head, **dimensions, **{name: value for name, (value, _) in values.items()}}
