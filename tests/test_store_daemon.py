"""The daemon and its database, as real processes: what it shows, what a reload takes up, an outage."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from daemon import Daemon, Host, Json, Stream, eventually
from databases import AnyDatabase
from postgres import PASSWORD, PASSWORD_IN_URL, PostgreSQL
from tickerd.market.universe import Universe

NEW_STOCK = """INSERT INTO instruments
    (universe, symbol, kind, name, sector, price, beta, annual_vol, share, invented)
    VALUES ('default', 'ZZNEW', 'stock', 'Zeta New', 'Technology', 12.5, 1.1, 0.3, 1, 'yes')"""
BEHIND_S = 3.0  # the snapshot of the last second, or of the one before, and some time to ask


def db(host: Host, action: str, database: AnyDatabase) -> str:
    """`tickerd db`; what it said."""
    sets = ["--set", f"database.url={database.url}", "--set", f"state.directory={host.state}"]
    ran = host.tickerd("db", action, *sets)
    assert ran.returncode == 0, ran.stderr
    assert PASSWORD not in ran.stdout + ran.stderr
    assert PASSWORD_IN_URL not in ran.stdout + ran.stderr
    return ran.stdout


def run(host: Host, stream: Stream, database: AnyDatabase, **settings: object) -> Daemon:
    ours: dict[str, object] = {"database__url": database.url, "database__snapshot_every_s": 1}
    return host.run(**(stream.settings | ours | settings))


def state(daemon: Daemon, wanted: str) -> Json:
    """Wait for the state of the database; what `/status` says of it."""
    found = daemon.until(f"database {wanted}", lambda status: status["database"]["state"] == wanted)
    return dict(found["database"])


def until_stored(daemon: Daemon, snapshots: int = 1) -> None:
    name, before = "tickerd_database_snapshots_written_total", daemon.samples()
    wanted = before["tickerd_database_snapshots_written_total"] + snapshots
    eventually("snapshots", lambda: daemon.samples()[name] >= wanted, daemon.said)


def until_none_is_missing(daemon: Daemon) -> None:
    """Wait until the last snapshot that was due is stored."""

    def caught_up() -> bool:
        last = daemon.status()["database"]["last_snapshot"]
        return last is not None and time.time() - datetime.fromisoformat(last).timestamp() < BEHIND_S

    eventually("all snapshots up to now", caught_up, daemon.said)


@pytest.fixture
def database(request: pytest.FixtureRequest, host: Host) -> AnyDatabase:
    """A database in the daemon's state directory, or of a server."""
    host.state.mkdir()
    server = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    return AnyDatabase(host.state, server)


both = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)


@both
def test_the_daemon_stores_the_market_and_says_so(host: Host, stream: Stream, database: AnyDatabase) -> None:
    if database.server:
        assert "it had no tables" in db(host, "upgrade", database)
        assert "it was 0001" in db(host, "upgrade", database)
    daemon = run(host, stream, database)
    shown = state(daemon, "up")
    until_stored(daemon, 2)
    assert "database: up" in daemon.get("/readyz?verbose")[1]
    samples = daemon.samples()
    assert samples["tickerd_database_up"] == 1
    assert samples["tickerd_database_rows_written_total table=stock_prices"] >= 1000
    everything = daemon.said() + daemon.get("/status")[1] + daemon.get("/metrics")[1]
    for word in (PASSWORD, PASSWORD_IN_URL):
        assert word not in everything
    assert shown["catalogue"] == "settings"
    for pid in daemon.workers():
        loaded = Path(f"/proc/{pid}/maps").read_text()
        assert "numpy" in loaded
        assert "greenlet" not in loaded, "a worker has imported SQLAlchemy"
    assert daemon.stop() == 0
    times = database.times_ms()
    assert times == list(range(times[0], times[-1] + 1, 1000))
    assert host.verify(stream)["totals"]["lost"] == 0


@both
def test_a_stretch_of_logs_comes_from_the_database(host: Host, stream: Stream, database: AnyDatabase) -> None:
    if database.server:
        db(host, "upgrade", database)
    daemon = run(host, stream, database)
    until_stored(daemon, 3)
    first = daemon.status()["database"]["first_snapshot"]
    _, before = daemon.get(f"/logs?from={first}&limit=579")
    assert len(json.loads(before)["stock_prices"]) == 500
    # What stands in the table is what is told, not what would be computed.
    database.rows("UPDATE stock_prices SET price = 4711 WHERE stock_symbol = 'QRVA'")
    _, told = daemon.get(f"/logs?from={first}&limit=1&instrument=QRVA&feed=stock")
    assert json.loads(told)["stock_prices"][0]["price"] == 4711


def test_without_tables_the_daemon_streams_and_says_what_to_do(
    host: Host, stream: Stream, postgres: PostgreSQL, tmp_path: Path
) -> None:
    database = AnyDatabase(tmp_path, postgres)
    daemon = run(host, stream, database)
    shown = state(daemon, "down")
    assert "run `tickerd db upgrade`" in shown["message"]
    assert "database: down: " in daemon.get("/readyz?verbose")[1]
    assert daemon.get("/readyz")[0] == 200
    daemon.until_acked()
    (line,) = daemon.logged("has no tables yet")
    assert line["level"] == "error"
    db(host, "upgrade", database)
    state(daemon, "up")
    assert len(daemon.logged("has no tables yet")) == 1
    assert daemon.logged("the database is there again")


@both
def test_an_edited_catalogue_is_taken_up_by_a_reload_and_a_wrong_one_is_not(
    host: Host, stream: Stream, database: AnyDatabase
) -> None:
    if database.server:
        db(host, "upgrade", database)
    instruments = len(Universe.load().instruments)
    assert f"{instruments} added, 0 were there" in db(host, "seed", database)
    daemon = run(host, stream, database, rate__mix={"forex": 0, "news": 0}, rate__records_per_second=5000)
    first = daemon.until_acked(5000)
    assert first["database"]["catalogue"] == "settings"

    database.rows(NEW_STOCK)
    database.rows("UPDATE instruments SET active = false WHERE symbol = 'QRVA'")
    daemon.send(signal.SIGHUP)
    second = daemon.until("another run", lambda status: status["run"] != first["run"])
    assert second["database"]["catalogue"] == "database"
    daemon.until_acked(20_000)
    code, body = daemon.get("/logs?instrument=ZZNEW")
    assert code == 200
    assert [row["stock_symbol"] for row in json.loads(body)["stock_prices"]] == ["ZZNEW"]
    assert daemon.get("/logs?instrument=QRVA")[0] == 400

    database.rows("UPDATE instruments SET price = -1 WHERE symbol = 'ZZNEW'")
    daemon.send(signal.SIGHUP)
    failed = "tickerd_reloads_total result=failed"
    eventually("the refusal", lambda: daemon.samples()[failed] == 1, daemon.said)
    (line,) = daemon.logged("the settings stay as they were")
    assert "instruments: stock 'ZZNEW': price = '-1.0'" in line["message"]
    assert daemon.status()["run"] == second["run"]
    assert daemon.stop() == 0

    # A start with rows that do not fit, and one without the rows, go on with the last that did.
    again = run(host, stream, database)
    again.until_acked()
    shown = again.status()
    assert (shown["run"], shown["database"]["catalogue"]) == (second["run"], "kept")
    assert again.logged("the database's catalogue does not fit")
    assert again.stop() == 0
    report = host.verify(stream)
    assert report["totals"]["lost"] == report["totals"]["altered"] == 0


def test_check_online_looks_at_the_database(
    host: Host, stream: Stream, postgres: PostgreSQL, tmp_path: Path
) -> None:
    variables = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "eu-central-1"}
    at = stream.settings | {"state__directory": str(host.state)}
    sets = [part for name, value in at.items() for part in ("--set", f"{name.replace('__', '.')}={value}")]
    sets = [text.replace("=False", "=false") for text in sets]
    ran = host.tickerd("check", "--online", *sets, environment=variables)
    assert "tickerd.db is made when the daemon starts" in ran.stdout
    database = AnyDatabase(tmp_path, postgres)
    sets += ["--set", f"database.url={database.url}"]
    ran = host.tickerd("check", "--online", *sets, environment=variables)
    assert (ran.returncode, "run `tickerd db upgrade`" in ran.stderr) == (1, True)
    db(host, "upgrade", database)
    ran = host.tickerd("check", "--online", *sets, environment=variables)
    assert (ran.returncode, "its tables have version 0001" in ran.stdout) == (0, True), ran.stderr
    assert PASSWORD_IN_URL not in ran.stdout + ran.stderr


# An outage: the daemon streams on, and what is missing is filled in.


class Probe(threading.Thread):
    """Asks `/livez` all the time, and notes how long the supervisor's loop let it wait.

    The time that either side waited for a processor that other programs had is no fault of the loop's.
    """

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon=True)
        self._daemon, self._end = daemon, threading.Event()
        self.waited_ms: list[float] = []

    def run(self) -> None:
        while not self._end.wait(0.01):
            began_ms, queued_ms = time.monotonic() * 1000, self._queued_ms()
            code, _ = self._daemon.get("/livez")
            took_ms = time.monotonic() * 1000 - began_ms
            self.waited_ms.append(took_ms - (self._queued_ms() - queued_ms))
            assert code == 200

    def _queued_ms(self) -> float:
        """For how long this thread and those of the supervisor were ready to run, and did not."""
        files = [Path("/proc/thread-self/schedstat")]
        files += Path(f"/proc/{self._daemon.pid}/task").glob("*/schedstat")
        return sum(int(file.read_text().split()[1]) for file in files) / 1e6

    def finish(self) -> list[float]:
        self._end.set()
        self.join()
        return sorted(self.waited_ms)


@pytest.fixture
def own_server() -> Iterator[PostgreSQL]:
    server = PostgreSQL()
    yield server
    server.close()


def outages(host: Host, stream: Stream, server: PostgreSQL, times: int, down_s: float) -> None:
    """Stop the server at once, again and again, while the daemon streams and stores.

    It is stopped again as soon as it has stored anything, which leaves the filling in for the end.
    """
    database = AnyDatabase(host.directory, server)
    db(host, "upgrade", database)
    daemon = run(host, stream, database, rate__records_per_second=20_000, kinesis__partition_key="even")
    until_stored(daemon)
    acked_before = daemon.status()["totals"]["acked"]
    probe = Probe(daemon)
    probe.start()
    for _ in range(times):
        server.stop()
        time.sleep(down_s)
        assert daemon.status()["totals"]["acked"] > acked_before
        server.start()
        until_stored(daemon)
    waited_ms = probe.finish()
    until_none_is_missing(daemon)
    assert daemon.stop() == 0
    report = host.verify(stream)
    assert report["totals"]["lost"] == report["totals"]["duplicates"] == 0
    stored = database.times_ms()
    assert stored == list(range(stored[0], stored[-1] + 1, 1000)), "snapshots are missing"
    assert stored[-1] - stored[0] > times * down_s * 1000
    assert database.count("stock_prices") == 500 * len(stored)
    assert database.count("forex_exchange_rates") == 79 * len(stored)
    downs = len(daemon.logged("the database is there again"))
    assert downs >= times
    assert len(waited_ms) > 100
    assert waited_ms[len(waited_ms) * 99 // 100] < 20, waited_ms[-len(waited_ms) // 50 :]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_power_cuts_of_the_database_lose_nothing_and_double_nothing(
    host: Host, own_server: PostgreSQL
) -> None:
    holds_minutes = host.local("--no-shard-limits", "--retention-mb", "4096")
    outages(host, holds_minutes.create(), own_server, 10, 10.0)


def test_a_power_cut_of_the_database_loses_nothing_and_doubles_nothing(
    host: Host, stream: Stream, own_server: PostgreSQL
) -> None:
    outages(host, stream, own_server, 1, 2.0)
