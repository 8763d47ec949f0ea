"""Deaths of every kind under load, and what the state directory makes of them: nothing is lost or altered."""

import contextlib
import itertools
import random
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from daemon import POLL_S, Daemon, Host, Json, Local, Stream, eventually, killed

HELD = {"for_s": 8, "records_per_second": 4000}
TO_NOTHING = {"for_s": 1, "records_per_second": 0}
FAULTS = "throttled=0.05,error=0.02,lost_ack=0.01"
CLOCK_IS_SET_BACK = """
import os, sys, time
if "tickerd.worker" in sys.orig_argv or "run" in sys.orig_argv:
    real = time.time_ns
    time.time_ns = lambda: real() - 30_000_000_000 * os.path.exists(os.environ["GATE"])
    time.time = lambda: time.time_ns() / 1e9
"""
DIES_AT_A_FRAME = """
import os, sys
if "tickerd.worker" in sys.orig_argv:
    from pathlib import Path
    from tickerd.market.market import Market

    made, seen = Market.columns, Path(os.environ["SEEN"])

    def columns(self, source, part):
        if source.split("-")[-2] == "0" and part.counts != (0, 0, 0):
            if not seen.exists() and Path(os.environ["GATE"]).exists():
                seen.write_text(str(part.frame))
            if seen.exists() and part.frame == int(seen.read_text()):
                {death}
        return made(self, source, part)

    Market.columns = columns
"""


def nothing_lost(report: Json) -> bool:
    """Whether everything that the account promises is there, in one version only."""
    totals = report["totals"]
    wrong = ("lost", "altered", "corrupt", "foreign")
    return bool(totals["records"]) and not any(totals[name] for name in wrong) and report["code"] == 0


def replaced(daemon: Daemon, dead: int) -> None:
    """Wait until a worker's place is taken by another, and all of them run."""

    def is_replaced(status: Json) -> bool:
        workers = status["workers"]
        return all(worker["state"] == "running" and worker["pid"] not in {dead, None} for worker in workers)

    daemon.until("a new worker", is_replaced)


def owed_delivered(daemon: Daemon, host: Host, owing: dict[str, Json]) -> None:
    """Wait until every frame that these checkpoints owe is delivered, as the checkpoints on the disk tell."""

    def is_delivered(_status: Json) -> bool:
        now = host.checkpoints()
        return all(
            now[name]["lowest_unacknowledged"] >= state["begun_below"] for name, state in owing.items()
        )

    daemon.until("the delivery of all that was owed", is_delivered)


@contextlib.contextmanager
def never_falling(daemon: Daemon) -> Iterator[None]:
    """Look at every counter of `/metrics` all the time; fail when one is lower than before, or gone."""
    ended = threading.Event()
    falls: list[str] = []

    def look() -> None:
        last: dict[str, float] = {}
        while not ended.wait(POLL_S):
            code, _ = daemon.get("/metrics")
            if code == 0:
                return  # the supervisor was killed
            with contextlib.suppress(AssertionError):
                now = daemon.counters()
                falls.extend(
                    f"{name}: {value} to {now.get(name)}"
                    for name, value in last.items()
                    if now.get(name, -1) < value
                )
                last = now

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()
    assert not falls


def killed_in_rounds(
    host: Host, stream: Stream, rounds: int, seed: int, pause_max_s: float, **settings: Any
) -> list[float]:
    """Kill a worker, the supervisor, both, everything, in turn, at random moments; seconds of each round.

    A round lasts until records are acknowledged again.
    """
    moments = random.Random(seed)
    durations: list[float] = []
    owing: dict[str, Json] = {}
    daemon = host.run(**stream.settings, **settings)
    daemon.until_acked()
    for victim in itertools.islice(itertools.cycle(("worker", "supervisor", "both", "all")), rounds):
        began = time.monotonic()
        with never_falling(daemon):
            time.sleep(moments.uniform(0, pause_max_s))
            workers = daemon.workers()
            one = moments.sample(workers, 1)
            killed({"worker": one, "supervisor": [], "both": one, "all": workers}[victim])
            if victim == "worker":
                replaced(daemon, one[0])
        if victim != "worker":
            killed([daemon.pid])
            assert daemon.wait() == -signal.SIGKILL
            owing = host.checkpoints()
            daemon = host.run(**stream.settings, **settings)
            daemon.until_acked()
        durations.append(time.monotonic() - began)
    owed_delivered(daemon, host, owing)
    assert daemon.stop() == 0
    assert not host.pids()
    assert "Traceback" not in "".join(file.read_text() for file in host.directory.glob("daemon-*.log"))
    return durations


def test_four_rounds_of_kill_lose_and_alter_nothing(host: Host, stream: Stream) -> None:
    stream.faults(throttled=0.05, error=0.02, lost_ack=0.01)
    killed_in_rounds(host, stream, 4, 4, 0.5, rate__records_per_second=2000)
    report = host.verify(stream)
    assert nothing_lost(report)
    assert len(report["sources"]) == 2  # one run, through every death


@pytest.fixture
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """An endpoint that throttles, fails and loses acknowledgements from its start."""
    machine = Host(tmp_path_factory.mktemp("faulty"))
    try:
        yield machine.local("--no-shard-limits", "--faults", FAULTS, "--retention-mb", "4096")
    finally:
        machine.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_rounds_of_kill_at_20_000_records_a_second_lose_and_alter_nothing(
    host: Host, faulty: Local, capsys: pytest.CaptureFixture[str]
) -> None:
    stream, seed = faulty.create(shards=8), random.randrange(2**32)
    durations = killed_in_rounds(host, stream, 20, seed, 1.5, rate__records_per_second=20_000)
    with capsys.disabled():
        seconds = " ".join(f"{duration:.1f}" for duration in durations)
        print(f"\nseed {seed}, seconds of the rounds: {seconds}")  # noqa: T201 - so that CI shows them
    assert faulty.stats()["dropped_records"] == 0
    report = host.verify(stream)
    assert nothing_lost(report)
    assert len(report["sources"]) == 2
    # The load was what the schedule asked for, however long this machine took to deliver it.
    segments = [source["segments"][-1] for source in host.account()["sources"]]
    assert sum(sum(segment["milli_records_per_second"].values()) for segment in segments) == 20_000_000


# --- a worker dies


def test_over_a_workers_deaths_each_record_is_counted_once(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings, rate__records_per_second=4000, rate__stages=[HELD, TO_NOTHING])
    with never_falling(daemon):
        for round_ in range(3):
            daemon.until_acked(1000 * (round_ + 1))
            killed(daemon.workers()[:1])
            returned(daemon, 0, round_ + 1)
        daemon.until("rest", lambda status: not status["rates"]["target"] and not status["totals"]["owed"])
        eventually("the end of all calls", lambda: daemon.counter("tickerd_requests_in_flight") == 0)
        generated = daemon.counter("tickerd_records_generated_total")
        acked = daemon.counter("tickerd_records_acked_total")
        assert daemon.counter("tickerd_worker_restarts_total", worker="0", reason="killed") == 3
        assert daemon.counter("tickerd_worker_restarts_total") == 3
        assert daemon.counter("tickerd_frames_regenerated_total", worker="0") > 0
        assert daemon.counter("tickerd_frames_regenerated_total", worker="1") == 0
    assert daemon.stop() == 0
    report = host.verify(stream)
    assert nothing_lost(report)
    assert generated == sum(source["next_seq"] for source in host.account()["sources"])
    assert acked >= report["totals"]["records"] - report["totals"]["duplicates"]


def returned(daemon: Daemon, worker: int, times: int) -> None:
    """Wait until a worker has come back so often, and delivers again."""

    def is_back(status: Json) -> bool:
        state = status["workers"][worker]
        return bool(state["restarts"] == times and state["pid"] and state["state"] == "running")

    daemon.until("the worker's return", is_back)


def test_a_worker_that_is_told_to_stop_by_hand_comes_back(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings)
    daemon.until_acked()
    before = daemon.workers()
    killed(before[1:], signal.SIGTERM)
    returned(daemon, 1, 1)
    assert daemon.workers()[0] == before[0]
    assert daemon.counter("tickerd_worker_restarts_total", worker="1", reason="terminated") == 1
    assert daemon.get("/readyz")[0] == 200
    assert daemon.stop() == 0
    report = host.verify(stream)
    assert nothing_lost(report)
    assert report["totals"]["duplicates"] == 0


@pytest.mark.slow
def test_a_worker_that_hangs_is_killed_and_replaced(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings)
    daemon.until_acked()
    hung = daemon.workers()[0]
    killed([hung], signal.SIGSTOP)
    returned(daemon, 0, 1)
    assert hung not in daemon.workers()
    assert daemon.counter("tickerd_worker_restarts_total", worker="0", reason="hung") == 1
    assert [line["message"] for line in daemon.logged("hangs")] == [
        f"worker 0 hangs: {number}" for number in ("SIGUSR1", "SIGTERM", "SIGKILL")
    ]
    owed_delivered(daemon, host, host.checkpoints())
    assert daemon.stop() == 0
    assert nothing_lost(host.verify(stream))
    assert not host.pids()


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        ("raise ValueError('poison')", "exception"),
        pytest.param("os.kill(os.getpid(), 11)", "signal", marks=pytest.mark.slow),
    ],
)
def test_three_deaths_on_one_frame_stop_that_worker_alone_and_name_the_frame(
    host: Host, stream: Stream, death: str, reason: str
) -> None:
    seen, gate = host.directory / "seen", host.directory / "gate"
    poison = host.injected(DIES_AT_A_FRAME.format(death=death)) | {"SEEN": str(seen), "GATE": str(gate)}
    daemon = host.run(environment=poison, **stream.settings, rate__records_per_second=320)
    daemon.until_ready()
    gate.touch()
    status = daemon.until("the poison", lambda status: status["workers"][0]["poison_frame"])
    poisoned, other = status["workers"]
    assert poisoned["poison_frame"] == int(seen.read_text())
    assert (poisoned["state"], poisoned["restarts"], poisoned["pid"]) == ("poisoned", 3, None)
    assert daemon.counter("tickerd_worker_restarts_total", worker="0", reason=reason) == 3
    assert daemon.counter("tickerd_worker_up", worker="0") == 0
    assert daemon.get("/readyz")[0] == 200  # half of the workers beat
    daemon.until("the other one's work", lambda now: now["workers"][1]["acked"] > other["acked"] + 100)
    assert daemon.stop() == 75
    (owed,) = host.account()["sources"][0]["owed"]
    assert owed["first_frame"] <= poisoned["poison_frame"] < owed["end_frame"]

    owing = host.checkpoints()
    healed = host.run(**stream.settings)
    owed_delivered(healed, host, owing)
    assert healed.stop() == 0
    assert nothing_lost(host.verify(stream))


def test_a_daemon_whose_only_worker_is_poisoned_ends_with_1(host: Host, stream: Stream) -> None:
    seen, gate = host.directory / "seen", host.directory / "gate"
    gate.touch()
    poison = host.injected(DIES_AT_A_FRAME.format(death="raise ValueError('poison')"))
    poison |= {"SEEN": str(seen), "GATE": str(gate)}
    daemon = host.run(environment=poison, **stream.settings, source__workers=1)
    assert daemon.wait() == 1
    (line,) = daemon.logged("is stopped")
    assert seen.read_text() in line["message"]


# --- the supervisor dies


def test_workers_drain_by_themselves_when_their_supervisor_is_killed(host: Host, stream: Stream) -> None:
    stream.faults(latency_ms=700)  # so that there is something to drain
    daemon = host.run(**stream.settings)
    daemon.until_acked()
    killed([daemon.pid])
    assert daemon.wait() == -signal.SIGKILL
    eventually("the workers' end", lambda: not host.pids())
    for state in host.checkpoints().values():
        assert state["lowest_unacknowledged"] == state["begun_below"]
    assert len(daemon.logged("the supervisor is gone: draining")) == 2
    stream.faults(latency_ms=0)
    again = host.run(**stream.settings)
    again.until_acked()
    assert again.stop() == 0
    report = host.verify(stream)
    assert nothing_lost(report)
    assert report["totals"]["duplicates"] == 0
    assert len(report["sources"]) == 2
    assert again.logged("a new run begins") == []


@pytest.mark.slow
def test_a_new_supervisor_waits_for_the_dead_ones_workers(host: Host, stream: Stream) -> None:
    stream.faults(latency_ms=1500)
    daemon = host.run(**stream.settings)
    daemon.until_acked()
    killed([daemon.pid])
    assert daemon.wait() == -signal.SIGKILL
    again = host.run(**stream.settings)
    eventually("its waiting", lambda: again.logged("waiting for the workers"), again.said)
    assert host.pids("tickerd.worker")
    stream.faults(latency_ms=0)
    again.until_acked()
    assert again.logged("a new run begins") == []
    owed_delivered(again, host, host.checkpoints())
    assert again.stop() == 0
    assert nothing_lost(host.verify(stream))


@pytest.mark.slow
def test_a_new_supervisor_kills_a_dead_ones_worker_that_hangs(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings)
    daemon.until_acked()
    hung = daemon.workers()[0]
    killed([hung], signal.SIGSTOP)
    killed([daemon.pid])
    assert daemon.wait() == -signal.SIGKILL
    again = host.run(**stream.settings)
    again.until_acked()
    (line,) = again.logged("killing a worker that hangs")
    assert line["pid"] == str(hung)
    assert hung not in host.pids()
    owed_delivered(again, host, host.checkpoints())
    assert again.stop() == 0
    assert nothing_lost(host.verify(stream))
    assert not host.pids()


def test_a_stop_right_after_the_start_delivers_what_was_owed_before(host: Host, stream: Stream) -> None:
    for state in ("starting", "running"):
        daemon = host.run(**stream.settings)
        daemon.until_acked(500)
        all_killed(host, daemon)
        again = host.run(**stream.settings)
        again.until(state, lambda status: all(worker["pid"] for worker in status["workers"]))
        if state == "running":
            again.until_ready()
        assert again.stop() == 0, again.said()
        for left in host.checkpoints().values():
            assert left["lowest_unacknowledged"] == left["begun_below"]
    assert nothing_lost(host.verify(stream))


# --- what comes back is not what was there before


def all_killed(host: Host, daemon: Daemon) -> None:
    """Kill every process at once, so that much is owed."""
    killed(host.pids())
    assert daemon.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_fewer_workers_finish_what_retired_sources_owe_and_more_go_on_without_a_gap(
    host: Host, stream: Stream
) -> None:
    three = host.run(**stream.settings, source__workers=3, rate__records_per_second=3000)
    three.until("work of all", lambda status: all(worker["acked"] for worker in status["workers"]))
    stream.faults(outage=True)
    three.until("work owed by all", lambda status: all(worker["owed"] > 100 for worker in status["workers"]))
    all_killed(host, three)
    stream.faults(outage=False)
    owing = host.checkpoints()
    assert len(owing) == 3

    one = host.run(**stream.settings, source__workers=1)
    owed_delivered(one, host, owing)
    assert one.stop() == 0
    retired = [state for state in host.checkpoints().values() if state.get("retired")]
    assert len(retired) == 2
    for state in retired:
        assert state["lowest_unacknowledged"] == state["begun_below"]
    report = host.verify(stream)
    assert nothing_lost(report)
    assert {source["source"] for source in report["sources"]} == owing.keys()

    more = host.run(**stream.settings, source__workers=3, rate__records_per_second=3000)
    more.until("work of all", lambda status: all(worker["acked"] > 500 for worker in status["workers"]))
    assert more.stop() == 0
    after = host.verify(stream)
    assert nothing_lost(after)
    grown = {source["source"]: source["next_seq"] for source in after["sources"]}
    assert grown.keys() == owing.keys()
    for source in report["sources"]:
        assert grown[source["source"]] > source["next_seq"]


@pytest.mark.slow
def test_another_seed_is_a_new_run_and_the_old_ones_owed_frames_are_finished(
    host: Host, stream: Stream
) -> None:
    daemon = host.run(**stream.settings)
    daemon.until_acked()
    stream.faults(outage=True)
    daemon.until("work owed", lambda status: all(worker["owed"] > 100 for worker in status["workers"]))
    all_killed(host, daemon)
    stream.faults(outage=False)
    old = host.checkpoints()

    other = host.run(**stream.settings, market__seed=2)
    assert other.until_acked()["run"] not in "".join(old)
    owed_delivered(other, host, old)
    assert other.stop() == 0
    assert other.logged("a new run begins")
    report = host.verify(stream)
    assert nothing_lost(report)
    # The old run is in no account: it is judged by its gaps, and its head and tail by the checkpoints.
    found = {source["source"]: source for source in host.verify(stream, "--settle", "0")["sources"]}
    for name, state in old.items():
        (segment,) = state["segments"]
        elapsed = state["begun_below"] - segment["first_frame"]
        rates = segment["milli_records_per_second"].values()
        assert found[name]["lost"] == found[name]["first_seq"] == 0
        assert found[name]["next_seq"] == sum(rate * elapsed // 16_000 for rate in rates)

    assert host.run("--seconds", "0.5", **stream.settings, market__seed=2).wait() == 0
    assert not host.checkpoints().keys() & old.keys()  # nothing of it is owed any more


@pytest.mark.slow
def test_another_rate_is_a_new_segment_of_the_same_run(host: Host, stream: Stream) -> None:
    first = host.run(**stream.settings)
    first.until_acked(500)
    all_killed(host, first)
    second = host.run(**stream.settings, rate__records_per_second=2500)
    second.until("the new rate", lambda status: status["rates"]["target"] == 2500)
    assert second.stop() == 0
    assert second.logged("a new run begins") == []
    assert nothing_lost(host.verify(stream))
    for source in host.account()["sources"]:
        assert sum(source["segments"][-1]["milli_records_per_second"].values()) == 1_250_000


@pytest.mark.slow
def test_stages_go_on_over_a_restart_and_a_changed_plan_begins_anew(host: Host, stream: Stream) -> None:
    stages = [{"for_s": 3, "records_per_second": 1600}]
    ramp = {"rate__records_per_second": 400, "rate__stages": stages, "source__workers": 1}
    first = host.run(**stream.settings | ramp)
    targets = {first.until_acked()["rates"]["target"]}
    while max(targets) < 1600:
        targets.add(first.status()["rates"]["target"])
    assert targets >= {1200, 1600}
    assert targets <= {0, 800, 1200, 1600}
    all_killed(host, first)

    second = host.run(**stream.settings | ramp)
    owed_delivered(second, host, host.checkpoints())
    assert second.status()["rates"]["target"] == 1600
    assert second.stop() == 0

    third = host.run(
        **stream.settings | ramp | {"rate__stages": [{"for_s": 3600, "records_per_second": 4000}]}
    )
    third.until("the new plan", lambda status: 0 < status["rates"]["target"] < 1600)
    assert 400 <= third.status()["rates"]["target"] < 500
    assert third.stop() == 0
    assert nothing_lost(host.verify(stream))


@pytest.mark.slow
def test_a_clock_that_is_set_back_by_half_a_minute_begins_a_new_run(host: Host, stream: Stream) -> None:
    gate = host.directory / "gate"
    clock = host.injected(CLOCK_IS_SET_BACK) | {"GATE": str(gate)}
    daemon = host.run(environment=clock, **stream.settings)
    first = daemon.until_acked(1000)["run"]
    with never_falling(daemon):
        gate.touch()
        second = daemon.until("a new run", lambda status: status["run"] != first)["run"]
        old = {name: state for name, state in host.checkpoints().items() if name.endswith(first)}
        owed_delivered(daemon, host, old)
        acked = daemon.status()["totals"]["acked"]
        daemon.until_acked(acked + 1000)
        totals = daemon.status()["totals"]
        assert totals["generated"] >= totals["acked"]
        assert daemon.counter("tickerd_worker_restarts_total") == 0
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.said()
    report = host.verify(stream)
    assert nothing_lost(report)
    assert {source["source"].rpartition("-")[2] for source in report["sources"]} == {first, second}
