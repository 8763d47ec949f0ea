"""Hours without the endpoint, clocks that are set, suspended hosts, a week in a warm pool: one rule for all.

Real processes; the wall clock that they read is shifted by a file that these tests write, through code that
`Host.injected` puts before every Python program of the host. Nothing of that is in the daemon.
"""

import contextlib
import os
import signal
import time
from typing import Any

import pytest

from daemon import Daemon, Host, Json, Stream, eventually
from test_kill import owed_delivered

SHIFTED = """
import os, sys, time
if "tickerd.worker" in sys.orig_argv or "run" in sys.orig_argv:
    real, file = time.time_ns, os.environ["SHIFT"]

    def shifted():
        with open(file, "rb") as shift:
            return real() + int(shift.read() or b"0") * 10**9

    time.time_ns = shifted
    time.time = lambda: shifted() / 1e9
"""
HOUR_S, DAY_S = 3600, 86_400
CATCH_UP_MAX_S = 60
RATE = 2000
QUIET_S = 20
SETTINGS: dict[str, Any] = {"rate__records_per_second": RATE, "rate__catch_up_max_s": CATCH_UP_MAX_S}


class ShiftedHost:
    """A host whose wall clock the tests set."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._file = host.directory / "shift"
        self.environment = host.injected(SHIFTED) | {"SHIFT": str(self._file)}
        self.set(0)

    def set(self, seconds: int) -> None:
        """So far ahead of the real clock from now on; written whole, as it is read at any moment."""
        beside = self._file.with_suffix(".new")
        beside.write_text(str(seconds))
        beside.rename(self._file)

    def run(self, stream: Stream, **settings: object) -> Daemon:
        return self.host.run(environment=self.environment, **stream.settings | SETTINGS | settings)


@pytest.fixture
def shifted(host: Host) -> ShiftedHost:
    return ShiftedHost(host)


def skipped_frames(daemon: Daemon) -> float:
    return daemon.counter("tickerd_frames_skipped_total")


def caught_up(daemon: Daemon) -> None:
    """Wait until nothing is late any more."""
    daemon.until(
        "an end of catching up", lambda status: status["totals"]["acked"] and status["lag_seconds"] < 1
    )


def whole(host: Host, stream: Stream, runs: int = 1) -> Json:
    """What `verify` says, which is that nothing is lost, of two workers in each run."""
    report = host.verify(stream)
    totals = report["totals"]
    assert report["code"] == totals["lost"] == totals["altered"] == totals["corrupt"] == 0
    assert len({source["source"].rpartition("-")[2] for source in report["sources"]}) == runs
    return report


def frames(seconds: float) -> float:
    """Frames of both workers in a stretch of time."""
    return 2 * 16 * seconds


@pytest.mark.slow
def test_hours_without_the_endpoint_cost_little_and_are_skipped_and_counted(
    shifted: ShiftedHost, stream: Stream
) -> None:
    daemon = shifted.run(stream)
    daemon.until_acked(4 * RATE)
    stream.faults(outage=True)
    daemon.until("the cause", lambda status: len(status["errors"]) == 1)
    time.sleep(5)  # until all room for what is owed is used
    before, began_s = daemon.samples(), time.monotonic()
    time.sleep(QUIET_S)
    lag_s = daemon.status()["lag_seconds"]
    shifted.set(3 * HOUR_S)  # and the rest of three hours
    daemon.until("lag", lambda status: status["lag_seconds"] > 3 * HOUR_S)
    after, lasted_s = daemon.samples(), time.monotonic() - began_s
    assert lag_s >= QUIET_S
    for worker in "01":
        of = f" worker={worker}"
        memory = [samples[f"tickerd_worker_resident_memory_bytes{of}"] for samples in (before, after)]
        assert memory[1] < 1.1 * memory[0]
        cpu_s = (
            after[f"tickerd_worker_cpu_seconds_total{of}"] - before[f"tickerd_worker_cpu_seconds_total{of}"]
        )
        assert cpu_s < 0.1 * lasted_s
    assert skipped_frames(daemon) == 0  # nothing is skipped before it can be gone on with
    stream.faults(outage=False)
    caught_up(daemon)
    skipped = skipped_frames(daemon)
    assert frames(3 * HOUR_S - CATCH_UP_MAX_S) <= skipped <= frames(3 * HOUR_S + 120)
    assert daemon.logged("older than rate.catch_up_max_s are skipped")
    assert daemon.stop() == 0
    whole(shifted.host, stream)


@pytest.mark.slow
def test_a_clock_set_forward_by_an_hour_is_followed_and_what_lies_between_is_skipped(
    shifted: ShiftedHost, stream: Stream
) -> None:
    daemon = shifted.run(stream)
    run = daemon.until_acked(RATE)["run"]
    shifted.set(HOUR_S)
    daemon.until("a skip", lambda _status: skipped_frames(daemon) >= frames(HOUR_S - CATCH_UP_MAX_S))
    caught_up(daemon)
    assert skipped_frames(daemon) <= frames(HOUR_S)
    assert daemon.status()["run"] == run
    assert daemon.counter("tickerd_worker_restarts_total") == 0
    assert daemon.stop() == 0
    whole(shifted.host, stream)


@pytest.mark.slow
def test_a_clock_set_back_by_a_few_seconds_is_waited_out(shifted: ShiftedHost, stream: Stream) -> None:
    shifted.set(8)
    daemon = shifted.run(stream)
    run = daemon.until_acked(RATE)["run"]
    shifted.set(0)
    acked = daemon.status()["totals"]["acked"]
    daemon.until_acked(acked + 4 * RATE)
    assert daemon.status()["run"] == run
    assert skipped_frames(daemon) == 0
    assert daemon.stop() == 0
    assert whole(shifted.host, stream)["totals"]["duplicates"] == 0


@pytest.mark.slow
def test_a_clock_that_goes_forth_and_back_by_hours_begins_a_new_run_and_loses_nothing(
    shifted: ShiftedHost, stream: Stream
) -> None:
    daemon = shifted.run(stream)
    first = daemon.until_acked(RATE)["run"]
    shifted.set(HOUR_S)
    daemon.until("a skip", lambda _status: skipped_frames(daemon) > 0)
    caught_up(daemon)
    shifted.set(0)
    daemon.until("a new run", lambda status: status["run"] != first)
    # A source that owed nothing when the new run began is not among them any more.
    old = {name: state for name, state in shifted.host.checkpoints().items() if name.endswith(first)}
    owed_delivered(daemon, shifted.host, old)
    acked = daemon.status()["totals"]["acked"]
    daemon.until_acked(acked + RATE)
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.said()
    whole(shifted.host, stream, runs=2)


@pytest.mark.slow
@pytest.mark.parametrize("owing", [False, True])
def test_a_week_in_a_warm_pool_is_skipped_and_what_was_begun_before_is_delivered(
    shifted: ShiftedHost, stream: Stream, owing: bool
) -> None:
    first = shifted.run(stream, source__drain_max_s=1)
    run = first.until_acked(RATE)["run"]
    if owing:
        stream.faults(outage=True)
        first.until("what is owed", lambda status: status["totals"]["owed"] > RATE)
    assert first.stop() == (75 if owing else 0)
    stream.faults(outage=False)
    shifted.set(7 * DAY_S)
    second = shifted.run(stream)
    caught_up(second)
    assert second.status()["run"] == run
    assert frames(7 * DAY_S - CATCH_UP_MAX_S) <= skipped_frames(second) <= frames(7 * DAY_S + 120)
    assert (second.counter("tickerd_frames_regenerated_total") > 0) == owing
    assert second.stop() == 0
    whole(shifted.host, stream)


@pytest.mark.slow
def test_a_suspended_host_goes_on_with_the_same_processes(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings, **SETTINGS)
    daemon.until_acked(RATE)
    workers = daemon.workers()
    group = [daemon.pid, *workers]
    signalled(group, signal.SIGSTOP)
    time.sleep(16)  # longer than a worker may hang
    signalled(group, signal.SIGCONT)
    acked = daemon.status()["totals"]["acked"]
    daemon.until_acked(acked + 16 * RATE)
    caught_up(daemon)
    assert daemon.workers() == workers
    assert daemon.counter("tickerd_worker_restarts_total") == 0
    assert not daemon.logged("hangs")
    assert daemon.stop() == 0
    whole(host, stream)


@pytest.mark.slow
def test_a_host_suspended_for_hours_skips_them(shifted: ShiftedHost, stream: Stream) -> None:
    daemon = shifted.run(stream)
    daemon.until_acked(RATE)
    group = [daemon.pid, *daemon.workers()]
    signalled(group, signal.SIGSTOP)
    time.sleep(1)
    shifted.set(5 * HOUR_S)
    signalled(group, signal.SIGCONT)
    daemon.until("a skip", lambda _status: skipped_frames(daemon) >= frames(5 * HOUR_S - CATCH_UP_MAX_S))
    caught_up(daemon)
    assert daemon.counter("tickerd_worker_restarts_total") == 0
    assert daemon.stop() == 0
    whole(shifted.host, stream)


def signalled(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@pytest.mark.slow
def test_a_disk_that_takes_no_checkpoint_stops_generation_and_is_told_once(
    host: Host, stream: Stream
) -> None:
    daemon = host.run(**stream.settings, **SETTINGS)
    daemon.until_acked(RATE)
    directory, away = host.state / "checkpoint", host.state / "elsewhere"
    directory.rename(away)
    (error,) = daemon.until("the cause", lambda status: status["errors"])["errors"]
    assert error["code"] == "ENOENT"
    assert "state.directory" in error["message"]
    eventually("both workers' lines", lambda: len(daemon.logged("cannot be written")) == 2)
    daemon.until("lag", lambda status: status["lag_seconds"] > 3)
    assert f"notice: {error['message']}" in daemon.get("/readyz?verbose")[1]
    assert daemon.get("/readyz")[0] == 200
    away.rename(directory)
    daemon.until("an end of it", lambda status: not status["errors"])
    caught_up(daemon)
    assert len(daemon.logged("cannot be written")) == 2
    assert len(daemon.logged("can be written again")) == 2
    assert daemon.stop() == 0
    whole(host, stream)
