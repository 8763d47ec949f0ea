"""`tickerd plan`: what a rate needs, held against published limits, hand-made bills and a simulated fleet."""

import json
from math import ceil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import Host
from fleet import Simulated, simulate
from tickerd.config import load
from tickerd.market.universe import Universe
from tickerd.planning.figures import Curve, Speed, Step, read_prices, read_speed
from tickerd.planning.fleet import Fleet, fleet, host_speed
from tickerd.planning.page import plan
from tickerd.planning.question import Wanted
from tickerd.planning.shards import Mode, Traffic, even_shards, keyed_shards

UNIVERSE = Universe.load()
SHARES = UNIVERSE.shares((0.3, 0.65, 0.05))
KEYS = (UNIVERSE.instruments, SHARES)
HOTTEST = float(SHARES.max())
MIB = 1024 * 1024


def traffic(rate: float, mode: Mode = "none", record_bytes: float = 200, workers: int = 1) -> Traffic:
    return Traffic(rate, record_bytes, mode, workers, 0.25, 51_200)


def speed_of(records_per_second: float) -> Speed:
    curve = Curve(170, records_per_second, [Step(records_per_second, 0.9, 0.3)])
    modes = {"none": curve, "kpl": curve, "lines": curve}
    content = {"machine": "a machine", "date": "2026-11-24", "commit": "0", "workers": 1, "modes": modes}
    return msgspec.convert(msgspec.to_builtins(content), Speed)


def planned(wanted: Wanted, mode: Mode = "none", speed: Speed | None = None, *sets: str) -> Fleet:
    settings = load(None, list(sets), {}).settings
    return fleet(wanted, mode, settings, KEYS, speed or read_speed(None), read_prices(None))


@pytest.mark.parametrize(("rate", "shards"), [(1, 1), (999, 1), (1000, 1), (1001, 2), (2000, 2), (2001, 3)])
def test_plain_shards_are_counted_by_their_thousand_entries(rate: float, shards: int) -> None:
    assert even_shards(traffic(rate), 0) == shards


@pytest.mark.parametrize(("rate", "shards"), [(511, 1), (512, 1), (513, 2), (1024, 2), (1025, 3)])
def test_large_records_are_counted_by_their_mebibyte(rate: float, shards: int) -> None:
    assert even_shards(traffic(rate, record_bytes=2048), 0) == shards


@pytest.mark.parametrize(("rate", "shards"), [(749, 1), (750, 1), (751, 2)])
def test_what_is_to_be_left_free_is_not_planned_with(rate: float, shards: int) -> None:
    assert even_shards(traffic(rate), 0.25) == shards


def test_aggregated_records_are_counted_by_their_bytes_alone() -> None:
    assert even_shards(traffic(10 * MIB / 200, "kpl"), 0) == 10
    assert even_shards(traffic(10 * MIB / 200 + 1, "kpl"), 0) == 11


def test_when_very_many_workers_linger_aggregating_saves_no_shard() -> None:
    few, many = traffic(100_000, "kpl", workers=200), traffic(100_000, "kpl", workers=300)
    assert even_shards(few, 0) == ceil(100_000 * 200 / MIB)
    assert even_shards(many, 0) == 100  # 300 workers close 1,200 entries a second and shard


def test_instruments_that_fall_together_need_more_shards_than_even_keys() -> None:
    keyed = keyed_shards(traffic(10_000), 0, *KEYS)
    assert keyed is not None
    assert keyed > even_shards(traffic(10_000), 0) == 10


def test_no_number_of_shards_carries_more_than_the_hottest_instrument_allows() -> None:
    most = 1000 / HOTTEST
    assert keyed_shards(traffic(most * 0.9), 0, *KEYS) is not None
    assert keyed_shards(traffic(most * 1.001), 0, *KEYS) is None


@given(
    st.floats(1, 1e9),
    st.floats(1, 2 * MIB),
    st.sampled_from(["none", "kpl", "lines"]),
    st.integers(1, 10_000),
    st.floats(0, 0.95),
)
def test_even_shards_carry_every_traffic_and_nearly_none_fewer(
    rate: float, record_bytes: float, mode: Mode, workers: int, free: float
) -> None:
    asked = traffic(rate, mode, record_bytes, workers)
    shards = even_shards(asked, free)
    assert asked.is_carried(1 / shards, free)
    if shards > 1:
        assert not asked.is_carried(1 / (shards - 1), free)


@pytest.mark.parametrize(("rate", "hosts"), [(1, 1), (20_000, 1), (20_001, 2), (40_000, 2), (40_001, 3)])
def test_hosts_are_counted_by_what_a_worker_on_each_vcpu_sustained(rate: float, hosts: int) -> None:
    wanted = Wanted(rate, headroom=0, instance="c7g.large")
    assert planned(wanted, "none", speed_of(10_000)).hosts == hosts


def test_a_fast_machine_is_bounded_by_its_network() -> None:
    instance = read_prices(None).instances["c7g.large"]
    records, limit = host_speed(instance, speed_of(10_000_000).modes.kpl, 170, "kpl")
    assert limit == "network"
    assert records * 170 * 4 / 3 * 8 < instance.network_gbit_per_s * 1e9
    assert host_speed(instance, speed_of(1000).modes.kpl, 170, "kpl") == (2000, "CPU")


def test_larger_records_take_as_much_longer_and_smaller_ones_as_long() -> None:
    instance, curve = read_prices(None).instances["c7g.8xlarge"], speed_of(1000).modes.none
    assert host_speed(instance, curve, 340, "none")[0] == 16_000
    assert host_speed(instance, curve, 85, "none")[0] == 32_000


def test_a_month_costs_what_the_price_list_says() -> None:
    wanted = Wanted(1000, record_bytes=1000, headroom=0, instance="c7g.large")
    cost = planned(wanted, "none", speed_of(10_000), "kinesis.partition_key=even").cost
    seconds = 730 * 3600
    assert cost.hosts == pytest.approx(0.0725 * 730)
    assert cost.shards == pytest.approx(0.015 * 730)
    assert cost.put_units == pytest.approx(1000 * seconds / 1e6 * 0.014)
    assert cost.on_demand == pytest.approx(0.04 * 730 + 1000 * seconds / 1024**2 * 0.08)  # 1,000 bytes: 1 KB
    assert cost.advantage == pytest.approx(25 * seconds / 1024 * 0.032)  # the least that is charged
    assert cost.total == cost.hosts + cost.shards + cost.put_units


def test_an_aggregate_of_51200_bytes_is_two_units_and_fifty_kilobytes() -> None:
    cost = planned(Wanted(100_000, record_bytes=512, headroom=0), "kpl").cost
    seconds = 730 * 3600
    assert cost.put_units == pytest.approx(1000 * 2 * seconds / 1e6 * 0.014)
    assert cost.on_demand == pytest.approx(0.04 * 730 + 1000 * 50 * seconds / 1024**2 * 0.08)


def test_at_the_break_even_hours_on_demand_and_provisioned_cost_the_same() -> None:
    below = planned(Wanted(100_000), "none").on_demand_below_hours
    assert below is not None
    even = planned(Wanted(100_000, hours=below), "none").cost
    assert even.on_demand == pytest.approx(even.stream)


@pytest.mark.parametrize("mode", ["none", "kpl", "lines"])
@pytest.mark.parametrize("partition_key", ["instrument", "even"])
@pytest.mark.parametrize(("rate", "speed"), [(9_000, 2_000), (150_000, 10_000), (1_000_000, 60_000)])
@pytest.mark.parametrize("headroom", [0.0, 0.25])
def test_a_planned_fleet_carries_its_rate_in_simulation_and_one_host_fewer_does_not(
    mode: Mode, partition_key: str, rate: float, speed: float, headroom: float
) -> None:
    wanted = Wanted(rate, headroom=headroom, instance="c7g.large")
    made = planned(wanted, mode, speed_of(speed), f"kinesis.partition_key={partition_key}")
    full = Simulated(
        rate / (1 - headroom),
        made.hosts,
        made.host_records_per_second,
        made.traffic.workers,
        made.shards,
        made.partition_key,
        mode,
        made.traffic.record_bytes,
    )
    assert simulate(full).carried
    assert made.hosts > 1
    assert not simulate(full._replace(hosts=made.hosts - 1)).carried
    assert not simulate(full._replace(shards=max(1, made.shards * 9 // 10)), seconds=120).carried


def test_a_rate_schedule_is_told_when_its_peak_comes() -> None:
    steps = ((60, 5000), (30, 900_000), (9, 10))
    stages = ", ".join(f"{{for_s = {for_s}, records_per_second = {rate}}}" for for_s, rate in steps)
    settings = load(None, [f"rate.stages=[{stages}]"], {}).settings
    assert "the peak of rate.stages, 90 s after the start" in plan(settings, Wanted(900_000))


def test_order_by_key_is_said_to_be_impossible_above_the_hottest_instruments_shard() -> None:
    sets = ["kinesis.order=key", "kinesis.aggregation=kpl"]
    settings = load(None, sets, {}).settings
    assert "no stream takes this rate in order" in plan(settings, Wanted(300_000))
    assert "in order" not in plan(settings, Wanted(30_000))


def test_a_million_records_have_a_fleet_shards_a_cost_and_assumptions(host: Host) -> None:
    ran = host.tickerd("plan", "--rate", "1000000")
    assert (ran.returncode, ran.stderr) == (0, "")
    for word in ("shards", "hosts", "dollars a month", "assumed:", "EUR/USD", 'partition_key = "even"'):
        assert word in ran.stdout
    told = json.loads(host.tickerd("plan", "--rate", "1000000", "--json").stdout)
    by_mode = {each["aggregation"]: each for each in told["fleets"]}
    assert by_mode["none"]["shards"] == ceil(1_000_000 / 750)
    assert by_mode["kpl"]["dollars_per_month"]["total"] < by_mode["none"]["dollars_per_month"]["total"]
    assert told["assumptions"]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], "--rate"),
        (["--rate", "0"], "--rate"),
        (["--rate", "-5"], "--rate"),
        (["--rate", "nan"], "--rate"),
        (["--rate", "1e12"], "--rate"),
        (["--rate", "many"], "--rate"),
        (["--rate", "5", "--record-bytes", "0"], "--record-bytes"),
        (["--rate", "5", "--record-bytes", "1e9"], "--record-bytes"),
        (["--rate", "5", "--headroom", "1"], "--headroom"),
        (["--rate", "5", "--headroom", "-0.1"], "--headroom"),
        (["--rate", "5", "--hours", "745"], "--hours"),
        (["--rate", "5", "--region", "mars"], "mars"),
        (["--rate", "5", "--instance", "t0.nano"], "t0.nano"),
        (["--rate", "5", "--prices", "nowhere.toml"], "nowhere.toml"),
        (["--rate", "5", "--speed", "nowhere.json"], "nowhere.json"),
        (["--rate", "5", "--set", "kinesis.aggregation=zip"], "kinesis.aggregation"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_nonsense_gives_one_line_that_names_it(host: Host, arguments: list[str], names: str) -> None:
    ran = host.tickerd("plan", *arguments)
    assert ran.returncode in {1, 2, 78}
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert names in line


def written(directory: Path, name: str, content: Any) -> Path:
    file = directory / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_prices_of_ones_own_are_taken(host: Host) -> None:
    prices = written(
        host.directory,
        "mine.toml",
        'as_of = "2026-12-01"\nchecked = true\n[instances]\n"my.box" = {vcpus = 4, network_gbit_per_s = 10}\n'
        "[regions.cellar]\nshard_hour = 1\nmillion_put_units = 0\non_demand_stream_hour = 1\n"
        "on_demand_gb_in = 1\nadvantage_gb_in = 1\nadvantage_mib_per_s_min = 0\nshards_quota = 1\n"
        'instance_hour = {"my.box" = 2}\n',
    )
    ran = host.tickerd(
        "plan", "--rate", "2000", "--headroom", "0", "--region", "cellar", "--prices", str(prices)
    )
    assert ran.returncode == 0, ran.stderr
    assert "1 my.box" in ran.stdout
    assert "nobody has checked" not in ran.stdout
    assert "2026-12-01" in ran.stdout


@pytest.mark.parametrize(
    ("option", "content"),
    [
        ("--prices", "as_of = 1"),
        ("--prices", "no toml"),
        ("--prices", ""),
        ("--speed", "{}"),
        ("--speed", "no json"),
        ("--speed", '{"machine": "m", "date": "d", "commit": "c", "workers": 0, "modes": {}}'),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_named_in_one_line(
    host: Host, option: str, content: str
) -> None:
    file = written(host.directory, "mine", content)
    ran = host.tickerd("plan", "--rate", "5", option, str(file))
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert str(file) in line


def test_the_delay_of_a_load_between_two_that_were_measured_lies_between_theirs() -> None:
    curve = Curve(170, 300, [Step(100, 0.3, 0.1), Step(300, 0.9, 0.5)])
    assert curve.delay_p99_s(50) == 0.1
    assert curve.delay_p99_s(200) == pytest.approx(0.3)
    assert curve.delay_p99_s(900) == 0.5


def test_the_shipped_figures_are_whole() -> None:
    speed, prices = read_speed(None), read_prices(None)
    for curve in (speed.modes.none, speed.modes.kpl, speed.modes.lines):
        rates = [step.records_per_second for step in curve.steps]
        assert rates == sorted(rates)
        assert curve.sustainable_records_per_second == rates[-1]
    for region in prices.regions.values():
        per_vcpu = [price / prices.instances[name].vcpus for name, price in region.instance_hour.items()]
        assert np.ptp(per_vcpu) < 0.2 * max(per_vcpu) + 0.01  # a slip of the decimal point stands out
