"""A reload while the daemon runs: what it reaches, what it refuses, and that nothing is lost."""

import signal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import Daemon, Host, Json, Stream, eventually
from tickerd.checks import LEAVES
from tickerd.orders import HALF_BYTES, Order, Orders
from tickerd.reload import AT_ONCE, AT_START, TOGETHER, changes
from tickerd.schedule import RatePlan, Stage
from tickerd.settings import Kinesis, Log, Market, Rate, Settings, Source, Web


def test_every_setting_is_of_one_reach() -> None:
    for group in (*AT_ONCE, *TOGETHER, *AT_START):
        assert any(path == group or path.startswith(f"{group}.") for path in LEAVES), group
    assert not {*AT_ONCE} & {*TOGETHER} & {*AT_START}


def test_changes_are_told_apart_by_how_far_they_reach() -> None:
    new = Settings(
        rate=Rate(records_per_second=5),
        log=Log(level="debug"),
        kinesis=Kinesis(linger_ms=7),
        source=Source(workers=3, drain_max_s=5),
        market=Market(seed=2),
        web=Web(listen="127.0.0.1:1"),
    )
    found = changes(Settings(), new)
    assert found.at_once == ["rate.records_per_second", "log.level"]
    assert found.rolling == ["source.drain_max_s", "kinesis.linger_ms"]
    assert found.together == ["source.workers", "market.seed"]
    assert found.at_start == ["web.listen"]
    assert found.settings == msgspec.structs.replace(new, web=Web())


def test_nothing_changes_when_nothing_differs() -> None:
    assert changes(Settings(), Settings())[1:] == ([], [], [], [])


ORDERS = st.builds(
    Order,
    plan=st.builds(
        RatePlan,
        st.integers(0, 2**40),
        st.integers(0, 10**11),
        st.lists(st.builds(Stage, st.integers(1, 10**7), st.integers(0, 10**11)), max_size=20).map(tuple),
    ),
    mix=st.tuples(*[st.floats(0, 1e6)] * 3),
    log_level=st.sampled_from(["debug", "info"]),
    log_format=st.sampled_from(["auto", "json"]),
)


@given(st.lists(ORDERS, min_size=1, max_size=5))
def test_a_worker_reads_the_last_order_once(given: list[Order]) -> None:
    supervisors = Orders.create()
    workers = Orders(supervisors.fd)
    try:
        assert workers.new() is None
        for order in given:
            supervisors.publish(order)
        assert workers.new() == given[-1]
        assert workers.new() is None
        assert Orders(supervisors.fd).new() == given[-1]  # one that starts later
    finally:
        supervisors.close()


def test_an_order_that_does_not_fit_is_refused_and_the_last_one_stays() -> None:
    orders = Orders.create()
    plan = RatePlan(0, 1, (Stage(1, 1),) * HALF_BYTES)
    order = Order(RatePlan(0, 1), (1, 1, 1), "info", "auto")
    try:
        orders.publish(order)
        with pytest.raises(ValueError, match="does not fit"):
            orders.publish(msgspec.structs.replace(order, plan=plan))
        assert orders.new() == order
    finally:
        orders.close()


def test_the_largest_plan_that_settings_allow_fits() -> None:
    orders = Orders.create()
    plan = RatePlan(2**40, 10**11, (Stage(366 * 86_400, 10**11),) * 1000)
    try:
        orders.publish(Order(plan, (0.123456789012345, 1e6, 1e6), "warning", "auto"))
    finally:
        orders.close()


# --- a daemon that runs


class Configured:
    """A host whose daemon has its settings in a file."""

    def __init__(self, host: Host, stream: Stream) -> None:
        self.host = host
        self.stream = stream
        self.file = host.directory / "tickerd.toml"

    def write(self, **tables: str) -> None:
        """The settings' file: a table's lines by its name."""
        tables = {
            "web": 'listen = "127.0.0.1:0"',
            "rate": "records_per_second = 800",
            "source": "workers = 2",
        } | tables
        ours = f'endpoint_url = "{self.stream.url}"\nstream = "{self.stream.name}"\nshard_limits = false\n'
        tables["state"] = f'directory = "{self.host.state}"'
        text = f"[kinesis]\n{ours}{tables.pop('kinesis', '')}\n"
        text += "".join(f"[{name}]\n{lines}\n" for name, lines in tables.items())
        self.file.write_text(text)

    def start(self) -> Daemon:
        """Start the daemon with this file and nothing else."""
        return self.host.run_with("-c", str(self.file))


@pytest.fixture
def configured(host: Host, stream: Stream) -> Configured:
    made = Configured(host, stream)
    made.write()
    return made


def reload(daemon: Daemon, times: int) -> Json:
    """Send HUP, and the line that answers it."""
    daemon.send(signal.SIGHUP)

    def answer() -> Json | None:
        lines = daemon.logged("the settings are read again") + daemon.logged("the settings stay as they were")
        return lines[-1] if len(lines) >= times else None

    return eventually("the answer to HUP", answer, daemon.said)


def ended_well(configured: Configured, daemon: Daemon) -> None:
    daemon.until("what is owed", lambda status: status["lag_seconds"] < 1)
    assert daemon.stop() == 0
    report = configured.host.verify(configured.stream)
    assert report["code"] == 0, report
    assert report["totals"]["records"] > 0
    assert report["totals"]["lost"] == report["totals"]["altered"] == 0


def test_rates_mix_and_log_level_change_without_a_restart(configured: Configured) -> None:
    daemon = configured.start()
    pids = daemon.until_acked(200) and daemon.workers()
    configured.write(rate="records_per_second = 1600\nmix = { news = 0 }", log='level = "debug"')
    line = reload(daemon, 1)
    assert line["at_once"] == ["rate.records_per_second", "rate.mix.news", "log.level"]
    daemon.until("the new rate", lambda status: status["rates"]["target"] == 1600)
    news = daemon.counter("tickerd_records_generated_total", feed="news")
    daemon.until_acked(3000)
    assert daemon.counter("tickerd_records_generated_total", feed="news") == news
    assert daemon.workers() == pids
    assert daemon.counter("tickerd_reloads_total", result="applied") == 1
    ended_well(configured, daemon)


def test_wrong_settings_keep_the_old_ones_and_say_why(configured: Configured) -> None:
    daemon = configured.start()
    pids = daemon.until_acked(200) and daemon.workers()
    configured.write(rate="records_per_second = 1600", log='level = "loud"')
    line = reload(daemon, 1)
    assert "log.level" in line["message"]
    assert "Traceback" not in daemon.said()
    configured.write(market='universe = "/nowhere"')
    assert "universe" in reload(daemon, 2)["message"]
    configured.file.unlink()
    assert str(configured.file) in reload(daemon, 3)["message"]
    assert daemon.counter("tickerd_reloads_total", result="failed") == 3
    assert daemon.workers() == pids
    daemon.until("the old rate", lambda status: status["rates"]["target"] == 800)
    ended_well(configured, daemon)


def test_other_settings_of_delivery_reach_one_worker_after_the_other(configured: Configured) -> None:
    daemon = configured.start()
    pids = daemon.until_acked(200) and daemon.workers()
    configured.write(kinesis="linger_ms = 100")
    assert reload(daemon, 1)["worker_by_worker"] == ["kinesis.linger_ms"]
    seen = daemon.until(
        "new workers", lambda status: not {w["pid"] for w in status["workers"]} & {*pids, None}
    )
    daemon.until_acked(seen["totals"]["acked"] + 500)
    assert daemon.counter("tickerd_worker_restarts_total") == 0
    ended_well(configured, daemon)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_another_number_of_workers_loses_nothing_and_no_counter_falls(
    configured: Configured, workers: int
) -> None:
    daemon = configured.start()
    daemon.until_acked(500)
    before = daemon.counters()
    configured.write(source=f"workers = {workers}")
    assert reload(daemon, 1)["all_workers_together"] == ["source.workers"]
    daemon.until(
        "so many workers",
        lambda status: [w["state"] for w in status["workers"]].count("running") == workers,
    )
    daemon.until("the whole rate", lambda status: status["rates"]["target"] == 800)
    after = daemon.counters()
    assert all(after[name] >= value for name, value in before.items())
    daemon.until_acked(2000)
    assert daemon.get("/readyz")[0] == 200
    ended_well(configured, daemon)


def test_another_seed_is_a_new_run(configured: Configured) -> None:
    daemon = configured.start()
    run = daemon.until_acked(200)["run"]
    configured.write(market="seed = 2")
    reload(daemon, 1)
    begun = daemon.until("a new run", lambda status: status["run"] != run)
    daemon.until_acked(begun["totals"]["acked"] + 1500)  # of the new run, however many the old one had
    ended_well(configured, daemon)


def test_what_needs_a_start_keeps_its_value_and_is_named(configured: Configured) -> None:
    daemon = configured.start()
    daemon.until_acked(200)
    configured.write(web='listen = "127.0.0.1:0"\ncontrol_socket = "/nowhere"')
    reload(daemon, 1)
    (line,) = eventually("the warning", lambda: daemon.logged("keeps its old value"))
    assert line["message"].startswith("web.control_socket: ")
    ended_well(configured, daemon)


def test_many_hups_at_once_are_few_reloads(configured: Configured) -> None:
    daemon = configured.start()
    daemon.until_acked(200)
    configured.write(rate="records_per_second = 400")
    for _ in range(50):
        daemon.send(signal.SIGHUP)
    daemon.until("the new rate", lambda status: status["rates"]["target"] == 400)
    reloads = eventually("a reload that is counted", lambda: daemon.counter("tickerd_reloads_total"))
    assert reloads < 50
    ended_well(configured, daemon)
