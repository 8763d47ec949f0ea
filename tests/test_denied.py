"""A permission that is taken for a minute: few calls, one cause told everywhere, recovery by itself."""

import time

import pytest

from daemon import Daemon, Host, Json, Stream, eventually

DENIED = "AccessDeniedException"
DENIED_S = 60
CALLS_IN_FLIGHT_MAX = 8  # of each of two workers
CALLS_MAX = 50  # beyond those
RECOVERY_MAX_S = 15  # a probe every ten seconds, and some for a slow machine


def refused(stream: Stream) -> int:
    """Calls of any operation that the endpoint refused so far for want of a permission."""
    return sum(codes.get(DENIED, 0) for codes in stream.local.stats()["errors"].values())


def running(host: Host, stream: Stream) -> Daemon:
    """A daemon with many calls on their way."""
    stream.faults(latency_ms=20)
    daemon = host.run(
        **stream.settings, kinesis__calls_in_flight_max=CALLS_IN_FLIGHT_MAX, rate__records_per_second=4000
    )
    daemon.until_acked(4000)
    return daemon


def denied(daemon: Daemon, stream: Stream) -> Json:
    """Take the permission and wait until both workers know; the cause in `/status`."""
    stream.faults(deny=True)
    eventually(
        "the cause of both workers",
        lambda: daemon.counter("tickerd_destination_error", error_code=DENIED) == 2,
        daemon.said,
    )
    (error,) = daemon.status()["errors"]
    return dict(error)


@pytest.mark.slow
def test_a_minute_without_permission_costs_few_calls_and_ends_by_itself(host: Host, stream: Stream) -> None:
    daemon = running(host, stream)
    before = refused(stream)
    error = denied(daemon, stream)
    assert error["code"] == DENIED
    assert "kinesis:PutRecords" in error["message"]
    time.sleep(DENIED_S)
    assert refused(stream) - before < CALLS_MAX + 2 * CALLS_IN_FLIGHT_MAX
    assert daemon.get("/readyz")[0] == 200
    acked = daemon.status()["totals"]["acked"]
    stream.faults(deny=False)
    given_back_s = time.monotonic()
    daemon.until("recovery", lambda status: status["totals"]["acked"] > acked and not status["errors"])
    assert time.monotonic() - given_back_s < RECOVERY_MAX_S
    assert daemon.counter("tickerd_destination_error") == 0
    daemon.until("an end of catching up", lambda status: status["lag_seconds"] < 1)
    assert daemon.stop() == 0
    report = host.verify(stream)
    assert report["code"] == report["totals"]["lost"] == report["totals"]["altered"] == 0
    assert report["totals"]["duplicates"] == 0  # what was refused was never stored


@pytest.mark.slow
def test_the_cause_is_logged_once_for_the_host(host: Host, stream: Stream) -> None:
    daemon = running(host, stream)
    denied(daemon, stream)
    lines = [line for line in daemon.lines() if line.get("error_code") == DENIED]
    assert len(lines) == 1
    stream.faults(deny=False, latency_ms=0)
    daemon.until("recovery", lambda status: not status["errors"])
    assert daemon.stop() == 0
