"""The daemon from start to end, through the front door: readiness, draining, exit codes, what it says."""

import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon import Daemon, Host, Json, Local, Stream, eventually, get

WORKER_1_STARTS_LATE = """
import json, os, sys, time
if "tickerd.worker" in sys.orig_argv:
    spec = json.loads(os.pread(int(sys.orig_argv[-1]), 1 << 20, 0))
    while spec["worker"] == 1 and not os.path.exists(os.environ["GATE"]):
        time.sleep(0.05)
"""
FALLING_TO_NOTHING = [{"for_s": 3, "records_per_second": 0}]


def at_rest(daemon: Daemon) -> None:
    """Wait until a daemon whose rate falls to nothing has delivered everything."""

    def rests(status: Json) -> bool:
        totals = status["totals"]
        begun = totals["generated"] and all(worker["generated"] for worker in status["workers"])
        return bool(begun and not status["rates"]["target"] and not totals["owed"])

    daemon.until("rest", rests)


def whole(report: Json) -> bool:
    """Whether `verify` found every record, once, as it was made and nothing else."""
    totals = dict(report["totals"])
    return bool(totals.pop("records")) and not any(totals.values()) and report["code"] == 0


# --- from start to end


def test_metrics_count_what_verify_reads(host: Host, stream: Stream) -> None:
    before = stream.local.stats()
    daemon = host.run(**stream.settings, rate__records_per_second=3000, rate__stages=FALLING_TO_NOTHING)
    at_rest(daemon)
    eventually("the last report", lambda: daemon.counter("tickerd_requests_in_flight") == 0)
    generated = daemon.counter("tickerd_records_generated_total")
    acked = {
        feed: daemon.counter("tickerd_records_acked_total", feed=feed) for feed in ("forex", "stock", "news")
    }
    counted_bytes = daemon.counter("tickerd_bytes_acked_total")
    entries = daemon.counter("tickerd_entries_acked_total")
    calls = daemon.counter("tickerd_put_requests_total", outcome="acknowledged")
    assert daemon.stop() == 0

    after = stream.local.stats()
    report = host.verify(stream)
    assert whole(report)
    read = report["totals"]["records"]
    assert read == generated == sum(acked.values()) == entries == after["records"] - before["records"]
    assert counted_bytes == after["bytes"] - before["bytes"]
    assert calls == after["operations"]["PutRecords"] - before["operations"].get("PutRecords", 0)
    # Shares of the default mix, but for the rounding of each frame.
    assert acked["forex"] == pytest.approx(0.3 * read, abs=4)
    assert acked["news"] == pytest.approx(0.05 * read, abs=4)
    assert [line["message"] for line in daemon.lines()][-1] == (
        f"generated {read}, acknowledged {read}, owed 0 records"
    )


def test_it_is_ready_only_when_every_worker_is_up(host: Host, stream: Stream) -> None:
    gate = host.directory / "gate"
    late = host.injected(WORKER_1_STARTS_LATE) | {"GATE": str(gate)}
    daemon = host.run(environment=late, **stream.settings)
    daemon.until_acked()
    assert daemon.get("/readyz") == (503, "not ready\n")
    assert daemon.get("/livez") == daemon.get("/healthz") == (200, "ok\n")
    assert "workers: 1 of 2 beat" in daemon.get("/readyz?verbose")[1]
    assert daemon.status()["state"] == "starting"
    assert not daemon.logged("ready")
    gate.touch()
    daemon.until_ready()
    eventually("the line", lambda: daemon.logged("ready"))
    assert daemon.status()["state"] == "running"


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_drains_and_everything_is_there(host: Host, stream: Stream, number: signal.Signals) -> None:
    daemon = host.run(**stream.settings)
    daemon.until_acked(500)
    assert daemon.stop(number) == 0
    assert whole(host.verify(stream))
    assert not host.pids("tickerd.worker")
    assert [source["owed"] for source in host.account()["sources"]] == [[], []]


def test_while_it_drains_it_is_alive_but_not_ready(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings)
    daemon.until_acked()
    stream.faults(throttled=1.0)
    daemon.until("a backlog", lambda status: status["totals"]["owed"] > 1000)
    daemon.send(signal.SIGTERM)
    daemon.until("draining", lambda status: status["draining"])
    assert daemon.get("/readyz")[0] == 503
    assert daemon.get("/livez")[0] == 200
    assert daemon.status()["state"] == "draining"
    assert daemon.counter("tickerd_draining") == 1
    assert daemon.counter("tickerd_ready") == 0
    eventually(
        "the end of generating",
        lambda: all(worker["state"] == "draining" for worker in daemon.status()["workers"]),
    )
    generated = daemon.status()["totals"]["generated"]
    stream.faults(throttled=0.0)
    assert daemon.wait() == 0
    report = host.verify(stream)
    assert report["totals"]["lost"] == 0
    assert report["totals"]["records"] >= generated


def test_a_signal_to_the_whole_group_drains_as_well(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings, source__drain_max_s=3600)
    daemon.until_acked()
    stream.faults(throttled=1.0)
    daemon.until("a backlog", lambda status: status["totals"]["owed"] > 1000)
    os.killpg(daemon.pid, signal.SIGTERM)  # as systemd does: the workers hear of it twice
    daemon.until("draining", lambda status: status["draining"])
    stream.faults(throttled=0.0)
    assert daemon.wait() == 0
    report = host.verify(stream)
    assert report["code"] == report["totals"]["lost"] == 0
    assert not daemon.logged("died")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_what_is_the_supervisors_to_answer_ends_no_worker(
    host: Host, stream: Stream, number: signal.Signals
) -> None:
    daemon = host.run(**stream.settings)
    # Also while they are starting.
    workers = daemon.until(
        "the workers' start", lambda status: all(worker["pid"] for worker in status["workers"])
    )["workers"]
    for _ in range(2):
        for worker in workers:
            os.kill(worker["pid"], number)
        daemon.until_acked(500)
    assert daemon.workers() == [worker["pid"] for worker in workers]
    assert daemon.counter("tickerd_worker_restarts_total") == 0
    assert daemon.stop() == 0


def test_quit_ends_it_at_once_with_an_account(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings, source__drain_max_s=3600)
    daemon.until_acked()
    stream.faults(throttled=1.0)
    daemon.until("a backlog", lambda status: all(worker["owed"] > 300 for worker in status["workers"]))
    os.killpg(daemon.pid, signal.SIGQUIT)  # as a terminal does
    assert daemon.wait() == 75
    assert all(source["owed"] for source in host.account()["sources"])
    assert not host.pids("tickerd.worker")


def test_a_second_signal_is_quick_and_the_exit_line_names_what_is_owed(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings, source__drain_max_s=3600)
    daemon.until_acked()
    stream.faults(throttled=1.0)
    daemon.until("a backlog", lambda status: all(worker["owed"] > 300 for worker in status["workers"]))
    daemon.send(signal.SIGINT)
    daemon.until("draining", lambda status: status["draining"])
    assert daemon.stop(signal.SIGTERM) == 75  # within PATIENCE_S, which is less than drain_max_s
    account = host.account()
    for source in account["sources"]:
        (owed,) = source["owed"]
        assert 0 <= source["first_seq"] <= owed["first_seq"] < owed["next_seq"] == source["next_seq"]
        (line,) = daemon.logged(f"{source['source']} owes")
        assert f"frames {owed['first_frame']} to {owed['end_frame'] - 1} " in line["message"]
        assert f"(seq {owed['first_seq']} to {owed['next_seq'] - 1})" in line["message"]
        assert str(source["segments"][0]["first_frame"]) in line["message"]
    assert host.verify(stream)["totals"]["lost"] == 0  # all but the owed is there


def test_draining_ends_by_itself_when_the_stream_takes_nothing(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings, source__drain_max_s=1)
    daemon.until_acked()
    stream.faults(outage=True)
    daemon.until("a backlog", lambda status: all(each["owed"] > 50 for each in status["workers"]))
    assert daemon.stop() == 75
    assert all(source["owed"] for source in host.account()["sources"])


@pytest.mark.parametrize("records", [pytest.param(1, marks=pytest.mark.slow), 1000])
def test_records_ends_after_the_first_whole_frame_that_reaches_them(
    host: Host, stream: Stream, records: int
) -> None:
    daemon = host.run("--records", str(records), **stream.settings, rate__records_per_second=1600)
    assert daemon.wait() == 0
    sources = host.account()["sources"]
    made = [source["next_seq"] for source in sources]
    for worker, next_seq in enumerate(made):
        share = records // 2 + (worker < records % 2)
        assert share <= next_seq < share + 52  # 50 records a frame of a worker, rounded for each feed
    assert whole(host.verify(stream))
    assert not daemon.logged("died")


@pytest.mark.slow
def test_records_are_not_exceeded_when_a_worker_is_started_again(host: Host, stream: Stream) -> None:
    daemon = host.run("--records", "4000", **stream.settings, rate__records_per_second=1600)
    os.kill(daemon.until_acked(1000)["workers"][0]["pid"], signal.SIGTERM)
    assert daemon.wait() == 0
    for source in host.account()["sources"]:
        assert 2000 <= source["next_seq"] < 2000 + 52


# --- what it says


def test_its_log_is_json_lines_and_none_a_record_or_a_call(host: Host, stream: Stream) -> None:
    before = stream.local.stats()
    stream.faults(throttled=0.1, error=0.05, lost_ack=0.02)
    daemon = host.run("--seconds", "3", **stream.settings, rate__records_per_second=5000)
    assert daemon.wait() == 0
    assert stream.local.stats()["calls"] > before["calls"] + 50
    lines = daemon.lines()
    assert len(lines) < 12
    assert all(line.keys() >= {"ts", "level", "process", "message"} for line in lines)
    assert {line["level"] for line in lines} == {"info"}


def test_usr1_shows_every_stack_and_hup_is_answered_and_neither_ends_anything(
    host: Host, stream: Stream
) -> None:
    daemon = host.run(**stream.settings)
    daemon.until("the workers' start", lambda status: all(worker["pid"] for worker in status["workers"]))
    daemon.send(signal.SIGUSR1)  # while they are still starting
    status = daemon.until_acked(500)
    daemon.send(signal.SIGUSR1)
    daemon.send(signal.SIGHUP)
    eventually("the answer", lambda: "the settings are read again" in daemon.said())
    eventually("the stacks", lambda: daemon.said().count("(most recent call first)") >= 6)
    assert [w["pid"] for w in daemon.status()["workers"]] == [w["pid"] for w in status["workers"]]
    assert daemon.counter("tickerd_worker_restarts_total") == 0
    assert daemon.stop() == 0


def test_seconds_end_it_and_text_lines_are_for_people(host: Host, stream: Stream) -> None:
    daemon = host.run("--seconds", "1", **stream.settings, log__format="text")
    assert daemon.wait() == 0
    lines = daemon.said().splitlines()
    assert any("info    tickerd  ready  workers=2" in line for line in lines)
    assert any("stopping (--seconds)" in line for line in lines)
    assert "{" not in daemon.said()
    assert whole(host.verify(stream))


# --- what it refuses: exit code and one line


def refused(daemon: Daemon, code: int, *words: str) -> None:
    """Assert that it ends with this code, saying one line that has these words, and never a traceback."""
    assert daemon.wait() == code
    said = daemon.said()
    assert "Traceback" not in said
    (line,) = [line["message"] for line in daemon.lines() if line["level"] in {"warning", "error"}]
    for word in words:
        assert word in line
    assert "\n" not in line


def test_a_second_supervisor_names_the_first_ones_pid(host: Host, stream: Stream) -> None:
    first = host.run(**stream.settings)
    first.until_acked()
    second = host.run(**stream.settings)
    refused(second, 1, "state.directory", str(host.state), f"pid {first.pid};")
    assert first.stop() == 0
    assert whole(host.verify(stream))


@pytest.mark.parametrize("directory", ["/proc/nowhere", "/dev/null", "/dev/null/state"])
def test_a_directory_that_cannot_be_written_is_named(host: Host, directory: str) -> None:
    refused(host.run(state__directory=directory), 1, "state.directory", directory, "writable")


def test_a_port_in_use_is_named(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        refused(host.run(web__listen=listen), 1, "web.listen", listen, "in use")


def test_an_address_of_another_machine_is_named(host: Host) -> None:
    refused(host.run(web__listen="192.0.2.1:9631"), 1, "web.listen", "192.0.2.1:9631")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    at = content.index(b'"first_frame":') + len(b'"first_frame":')
    content[at] = ord("1") if content[at] != ord("1") else ord("2")
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def foreign(file: Path) -> None:
    file.write_bytes(b'{"hello": "world"}')


def directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, shared_local: Local) -> Path:
    """A state directory that a daemon has used."""
    host = Host(tmp_path_factory.mktemp("used"))
    try:
        settings = shared_local.create().settings
        assert host.run("--records", "100", **settings, source__workers=1).wait() == 0
    finally:
        host.close()
    return host.state


@pytest.fixture
def used(host: Host, state: Path) -> Host:
    """A host whose state directory a daemon has used."""
    shutil.copytree(state, host.state)
    return host


@pytest.mark.parametrize("damage", [cut, flip, empty, foreign, directory])
def test_a_damaged_checkpoint_is_refused_with_what_to_do(used: Host, damage: Callable[[Path], None]) -> None:
    (checkpoint,) = (used.state / "checkpoint").glob("*.json")
    damage(checkpoint)
    refused(used.run(), 1, str(checkpoint), "restore it, or move it away")


def test_a_checkpoint_under_another_name_is_refused(used: Host) -> None:
    (checkpoint,) = (used.state / "checkpoint").glob("*.json")
    other = checkpoint.with_name("another-0-aaaaaaaa.json")
    checkpoint.rename(other)
    refused(used.run(), 1, str(other), "restore it, or move it away")


@pytest.mark.parametrize("damage", [cut, empty, foreign, directory])
def test_a_damaged_identity_is_refused_with_what_to_do(used: Host, damage: Callable[[Path], None]) -> None:
    damage(used.state / "identity.json")
    refused(used.run(), 1, str(used.state / "identity.json"), "move it away to begin a new run")


def test_what_a_killed_write_leaves_behind_does_no_harm(used: Host, stream: Stream) -> None:
    (used.state / "checkpoint" / ".half.json.123").write_bytes(b'{"half')
    (used.state / ".identity.json.123").write_bytes(b"")
    (before,) = used.checkpoints().values()
    assert used.run("--records", "100", **stream.settings, source__workers=1).wait() == 0
    (after,) = used.checkpoints().values()
    assert after["source"] == before["source"]
    assert after["lowest_unacknowledged"] > before["lowest_unacknowledged"]


def test_it_answers_only_what_it_offers(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings)
    daemon.until_ready()
    assert daemon.get("/nothing")[0] == 404
    assert get(daemon.address, "/status?" + "x" * 10_000)[0] == 400
    with socket.create_connection(("127.0.0.1", int(daemon.address.rpartition(":")[2]))) as idle:
        idle.sendall(b"GET /livez HTTP/1.1\r\nX: " + b"y" * 20_000)
        assert idle.recv(100).split()[1] == b"400"


def test_a_hundred_idle_connections_do_not_keep_health_from_answering(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings)
    daemon.until_ready()
    address = ("127.0.0.1", int(daemon.address.rpartition(":")[2]))
    idle = [socket.create_connection(address) for _ in range(100)]
    try:
        assert daemon.get("/livez") == (200, "ok\n")
        assert daemon.get("/readyz")[0] == 200
    finally:
        for connection in idle:
            connection.close()
