"""What a scraper reads: the workers' reports as Prometheus metrics, over all processes of each slot.

Names, labels and meanings are the contract's. Counters never go down: a dead worker's counts stay.
"""

import platform
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tickerd import __version__
from tickerd.observe.counters import Counts, Histogram, error_label
from tickerd.observe.rates import BusyShare
from tickerd.records import FEEDS
from tickerd.slot import Slot
from tickerd.store.faults import CODES
from tickerd.store.store import Store
from tickerd.supervisor import Supervisor

TABLES = ("forex_exchange_rates", "stock_prices", "stock_news_feed")
Family = TypeVar("Family", CounterMetricFamily, GaugeMetricFamily)


def registry(supervisor: Supervisor) -> CollectorRegistry:
    """All that `/metrics` shows: tickerd's own, and the supervisor's process_*."""
    metrics = CollectorRegistry()
    metrics.register(WorkersCollector(supervisor))
    ProcessCollector(registry=metrics)
    return metrics


class WorkersCollector(Collector):
    """Makes the metrics anew from the reports at each scrape."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._busy = BusyShare()

    def describe(self) -> Iterable[Metric]:
        """Nothing: the metrics need not be made when the collector is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric of the contract that exists by now."""
        slots = self._supervisor.slots
        counts = [slot.counts() for slot in slots]
        yield from _by_feed(counts)
        yield from _by_worker(slots, counts)
        yield from _of_requests(counts)
        yield from _histograms(counts)
        yield from _of_stream(slots)
        yield from self._of_supervisor(counts)
        if self._supervisor.store is not None and self._supervisor.store.condition.state != "off":
            yield from _of_store(self._supervisor.store)

    def _of_supervisor(self, counts: list[Counts]) -> Iterator[Metric]:
        supervisor = self._supervisor
        busy = self._busy.of([count.cpu_s for count in counts])
        text = "The busiest worker's share of its core since the last scrape (of a second or more ago)."
        yield _gauge("utilization_ratio", text, busy)
        yield _gauge("draining", "1 while the daemon drains.", supervisor.draining)
        yield _filled(
            CounterMetricFamily("tickerd_reloads", "Reloads of the settings.", labels=["result"]),
            (([result], supervisor.reloads[result]) for result in ("applied", "failed")),
        )
        asked = supervisor.crew.on_demand
        yield _filled(
            CounterMetricFamily(
                "tickerd_snapshots_on_demand",
                "Snapshots asked for by POST /logs; their records are in no other counter.",
                labels=["outcome"],
            ),
            ((["acknowledged"], asked.sent), (["failed"], asked.failed)),
        )
        yield _gauge("ready", "1 while /readyz answers 200.", supervisor.ready)
        build = GaugeMetricFamily(
            "tickerd_build_info", "Always 1; the labels say what runs.", labels=["version", "python"]
        )
        build.add_metric([__version__, platform.python_version()], 1)
        yield build


def _of_store(store: Store) -> Iterator[Metric]:
    yield _gauge("database_up", "1 while the database can be written.", store.condition.state == "up")
    yield _filled(
        CounterMetricFamily("tickerd_database_rows_written", "Rows that were new.", labels=["table"]),
        (([table], store.rows_written[table]) for table in TABLES),
    )
    text = "Snapshots stored, those included that another host had stored before."
    yield CounterMetricFamily("tickerd_database_snapshots_written", text, value=store.snapshots_written)
    text = "Snapshots never stored, being older than database.keep_days when the database came back."
    yield CounterMetricFamily("tickerd_database_snapshots_skipped", text, value=store.snapshots_skipped)
    last_s = store.held.last_ms / 1000 if store.held else 0
    yield _gauge("database_last_snapshot_timestamp_seconds", "Time of the latest stored snapshot.", last_s)
    yield _filled(
        CounterMetricFamily(
            "tickerd_database_errors", "Failed attempts, by what failed.", labels=["error_code"]
        ),
        (([code], store.condition.errors[code]) for code in CODES),
    )


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tickerd_{name}", text, value=float(value))


def _filled(family: Family, rows: Iterable[tuple[list[str], float]]) -> Family:
    for labels, value in rows:
        family.add_metric(labels, value)
    return family


def _by_feed(counts: list[Counts]) -> Iterator[Metric]:
    columns: list[tuple[str, str, Callable[[Counts], list[int]]]] = [
        ("records_generated", "Records made for the first time.", lambda count: count.records_generated),
        ("records_acked", "Records acknowledged by the destination.", lambda count: count.records_acked),
        ("bytes_acked", "Bytes acknowledged: data and partition keys.", lambda count: count.bytes_acked),
    ]
    for name, text, column in columns:
        yield _filled(
            CounterMetricFamily(f"tickerd_{name}", text, labels=["worker", "feed"]),
            (
                ([str(worker), feed], value)
                for worker, count in enumerate(counts)
                for feed, value in zip(FEEDS, column(count), strict=True)
            ),
        )


def _by_worker(slots: list[Slot], counts: list[Counts]) -> Iterator[Metric]:
    counters: list[tuple[str, str, Callable[[Counts], float]]] = [
        ("entries_acked", "Entries of PutRecords calls acknowledged.", lambda count: count.entries_acked),
        ("record_retries", "Records that were sent once more.", lambda count: count.record_retries),
        ("frames_regenerated", "Frames made again after a restart.", lambda count: count.frames_regenerated),
        ("frames_skipped", "Frames left out, being too old.", lambda count: count.frames_skipped),
        ("worker_cpu_seconds", "CPU time of the worker's processes.", lambda count: count.cpu_s),
    ]
    for name, text, column in counters:
        yield _filled(
            CounterMetricFamily(f"tickerd_{name}", text, labels=["worker"]),
            (([str(worker)], column(count)) for worker, count in enumerate(counts)),
        )
    gauges: list[tuple[str, str, Callable[[Slot], float]]] = [
        ("backlog_records", "Records generated and not acknowledged.", lambda slot: slot.report.owed),
        ("requests_in_flight", "Calls on their way.", lambda slot: slot.report.requests_in_flight),
        (
            "lag_seconds",
            "Age of the oldest frame that is due and not delivered.",
            lambda slot: slot.report.lag_s,
        ),
        (
            "target_records_per_second",
            "The rate that the schedule asks for.",
            lambda slot: slot.report.target_milli_records_per_second / 1000,
        ),
        ("worker_up", "1 while the worker's event loop turns.", lambda slot: slot.beats),
        ("worker_resident_memory_bytes", "Resident memory.", lambda slot: slot.report.resident_bytes),
        (
            "last_ack_timestamp_seconds",
            "When the destination last acknowledged anything.",
            lambda slot: slot.report.last_ack_s,
        ),
    ]
    for name, text, value in gauges:
        yield _filled(
            GaugeMetricFamily(f"tickerd_{name}", text, labels=["worker"]),
            (([str(slot.worker)], float(value(slot))) for slot in slots),
        )
    yield _filled(
        CounterMetricFamily("tickerd_worker_restarts", "Deaths of the worker.", labels=["worker", "reason"]),
        (
            ([str(slot.worker), reason], slot.restarts[reason])
            for slot in slots
            for reason in ("exception", "signal", "killed", "hung", "terminated")
        ),
    )


def _of_requests(counts: list[Counts]) -> Iterator[Metric]:
    total = Counts()
    for count in counts:
        total.add(count)
    yield _filled(
        CounterMetricFamily(
            "tickerd_put_requests", "PutRecords calls by what became of them.", labels=["outcome"]
        ),
        (
            ([outcome], total.put_requests.get(outcome, 0))
            for outcome in ("acknowledged", "partial", "failed")
        ),
    )
    yield _filled(
        CounterMetricFamily(
            "tickerd_put_errors", "Entries that were not acknowledged, by error code.", labels=["error_code"]
        ),
        (([code], value) for code, value in sorted(total.put_errors.items())),
    )


def _histograms(counts: list[Counts]) -> Iterator[Metric]:
    columns: list[tuple[str, str, Callable[[Counts], Histogram]]] = [
        (
            "put_request_duration_seconds",
            "From sending a call to its answer.",
            lambda c: c.put_request_duration_s,
        ),
        ("record_delay_seconds", "From a record's frame to its acknowledgement.", lambda c: c.record_delay_s),
        ("event_loop_lag_seconds", "How late the workers' event loops are.", lambda c: c.event_loop_lag_s),
        ("records_per_entry", "Records in an entry.", lambda c: c.records_per_entry),
        ("entries_per_request", "Entries in a call.", lambda c: c.entries_per_request),
    ]
    for name, text, column in columns:
        total = column(Counts())
        for count in counts:
            total.add(column(count))
        below, buckets = 0, []
        for bound, observed in zip([*map(str, total.bounds), "+Inf"], total.counts, strict=True):
            below += observed
            buckets.append((bound, float(below)))
        family = HistogramMetricFamily(f"tickerd_{name}", text)
        family.add_metric([], buckets, total.sum)
        yield family


def _of_stream(slots: list[Slot]) -> Iterator[Metric]:
    errors = GaugeMetricFamily(
        "tickerd_destination_error", "Workers held up by this cause.", labels=["error_code"]
    )
    held = [error_label(problem.code) for slot in slots for problem in slot.report.problems]
    yield _filled(errors, (([code], held.count(code)) for code in sorted(set(held))))
    stream = next((slot.report.stream for slot in slots if slot.report.stream), None)
    yield _gauge("shards", "Open shards of the stream.", stream.shards if stream else 0)
    info = GaugeMetricFamily(
        "tickerd_stream_info",
        "Always 1; the labels describe the stream.",
        labels=["stream", "distribution", "aggregation", "order"],
    )
    if stream:
        info.add_metric([stream.name, stream.distribution, stream.aggregation, stream.order], 1)
    yield info
