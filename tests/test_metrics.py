"""`/metrics` as scrapers read it: promtool's and Prometheus' own rules, and the contract's names."""

import subprocess
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from daemon import Daemon, Host, Local, eventually
from programs import program
from tickerd.observe.counters import ERROR_CODES
from tickerd.store.faults import CODES

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

# The contract's list.
COUNTERS = {
    "records_generated": {"worker", "feed"},
    "records_acked": {"worker", "feed"},
    "bytes_acked": {"worker", "feed"},
    "entries_acked": {"worker"},
    "put_requests": {"outcome"},
    "put_errors": {"error_code"},
    "record_retries": {"worker"},
    "worker_restarts": {"worker", "reason"},
    "worker_cpu_seconds": {"worker"},
    "frames_regenerated": {"worker"},
    "frames_skipped": {"worker"},
    "reloads": {"result"},
    "snapshots_on_demand": {"outcome"},
    "database_rows_written": {"table"},
    "database_snapshots_written": set(),
    "database_snapshots_skipped": set(),
    "database_errors": {"error_code"},
    "events_dropped": set(),
    "event_listeners_refused": set(),
}
HISTOGRAMS = {
    "put_request_duration_seconds",
    "record_delay_seconds",
    "event_loop_lag_seconds",
    "records_per_entry",
    "entries_per_request",
}
GAUGES = {
    "backlog_records": {"worker"},
    "requests_in_flight": {"worker"},
    "lag_seconds": {"worker"},
    "target_records_per_second": {"worker"},
    "utilization_ratio": set(),
    "worker_up": {"worker"},
    "worker_resident_memory_bytes": {"worker"},
    "last_ack_timestamp_seconds": {"worker"},
    "destination_error": {"error_code"},
    "shards": set(),
    "stream_info": {"stream", "distribution", "aggregation", "order"},
    "draining": set(),
    "ready": set(),
    "event_listeners": set(),
    "build_info": {"version", "python"},
    "database_up": set(),
    "database_last_snapshot_timestamp_seconds": set(),
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, shared_local: Local) -> Iterator[Daemon]:
    """A daemon that has known every kind of trouble, so that every metric has a value."""
    shared_local.no_faults()
    stream = shared_local.create()
    host = Host(tmp_path_factory.mktemp("metrics"))
    try:
        daemon = host.run(**stream.settings)
        daemon.until_acked()
        shared_local.faults(throttled=0.3, error=0.3, lost_ack=0.1)
        daemon.until_acked(3000)
        shared_local.no_faults()
        shared_local.faults(deny=True)
        daemon.until("a cause", lambda status: status["errors"])
        yield daemon
    finally:
        shared_local.no_faults()
        host.close()


def test_the_names_and_labels_are_the_contracts(daemon: Daemon) -> None:
    families = {family.name: family for family in plain(daemon.get("/metrics")[1])}
    ours = {name.removeprefix("tickerd_"): family for name, family in families.items() if "tickerd" in name}
    kinds = {
        kind: {name for name, family in ours.items() if family.type == kind}
        for kind in ("counter", "histogram", "gauge")
    }
    assert kinds == {"counter": COUNTERS.keys(), "histogram": HISTOGRAMS, "gauge": GAUGES.keys()}
    assert len(ours) == len(COUNTERS) + len(HISTOGRAMS) + len(GAUGES)
    for name, labels in (COUNTERS | GAUGES).items():
        assert ours[name].samples, name
        for sample in ours[name].samples:
            assert sample.labels.keys() == labels, name
    assert {"process_cpu_seconds", "process_resident_memory_bytes", "process_open_fds"} <= families.keys()
    assert all(family.documentation for family in families.values())


def test_labels_have_values_of_bounded_sets(daemon: Daemon) -> None:
    values: dict[str, set[str]] = {}
    for family in plain(daemon.get("/metrics")[1]):
        for sample in family.samples:
            for label, value in sample.labels.items():
                values.setdefault(label, set()).add(value)
    assert values["worker"] == {"0", "1"}
    assert values["feed"] == {"forex", "stock", "news"}
    assert values["outcome"] == {"acknowledged", "partial", "failed"}
    assert values["reason"] == {"exception", "signal", "killed", "hung", "terminated"}
    assert values["error_code"] <= {*ERROR_CODES, *CODES}
    assert {"ProvisionedThroughputExceededException", "AccessDeniedException"} <= values["error_code"]


def test_openmetrics_is_what_its_own_parser_takes(daemon: Daemon) -> None:
    status, text = daemon.get("/metrics", OPENMETRICS)
    assert status == 200
    assert text.endswith("# EOF\n")
    families = {family.name: family.type for family in openmetrics(text)}  # type: ignore[no-untyped-call]
    for name in COUNTERS:
        assert families[f"tickerd_{name}"] == "counter"
    for name in HISTOGRAMS:
        assert families[f"tickerd_{name}"] == "histogram"


def test_the_faults_that_were_met_are_counted(daemon: Daemon) -> None:
    for metric in ("put_requests", "put_errors", "record_retries", "records_acked", "bytes_acked"):
        assert daemon.counter(f"tickerd_{metric}_total") > 0, metric
    for outcome in ("acknowledged", "partial", "failed"):
        assert daemon.counter("tickerd_put_requests_total", outcome=outcome) > 0, outcome
    requests = daemon.counter("tickerd_put_requests_total")
    assert daemon.counter("tickerd_entries_per_request_count") >= requests
    assert daemon.counter("tickerd_destination_error", error_code="AccessDeniedException") >= 1
    assert daemon.counter("tickerd_shards") == 4
    assert daemon.counter("tickerd_worker_up") == 2
    assert daemon.counter("tickerd_ready") == 1
    busy = eventually("a share of a core", lambda: daemon.counter("tickerd_utilization_ratio"))
    assert 0 < busy <= 1


def test_promtool_finds_nothing_wrong(daemon: Daemon) -> None:
    promtool = program("promtool", "prometheus")
    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=daemon.get("/metrics")[1],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (checked.returncode, checked.stderr, checked.stdout) == (0, "", "")
