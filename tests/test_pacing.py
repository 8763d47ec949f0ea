"""How fast shards are sent to, simulated against the buckets by which `local` keeps the service's limits."""

import random
from collections import deque
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import routes
from tickerd.kinesis.capacity import FACTOR_MIN
from tickerd.kinesis.limits import SHARD_BYTES_PER_SECOND, SHARD_ENTRIES_PER_SECOND
from tickerd.kinesis.pacing import BURST_S, Pacer
from tickerd.kinesis.parked import Parked, look_pause_s
from tickerd.kinesis.route import Route
from tickerd.kinesis.rows import Rows
from tickerd.local.buckets import ShardBuckets
from tickerd.texts import WholeRecords

SHARDS = 8
LATENCY_S = 0.02
ENTRY_BYTES = 175
Counts = NDArray[np.int64]


@dataclass
class Host:
    """One worker that offers so many entries a second to each shard and knows of no other."""

    offered: float
    starts_s: float = 0.0
    entry_bytes: int = 175
    shards: int = SHARDS
    pauses: float = 0.0  # so often in a second, when others use the machine: for 0.3 s in the mean
    looked_s: float = 0.0
    stored: int = 0
    throttled: int = 0

    def __post_init__(self) -> None:
        self.waiting: Counts = np.zeros(self.shards, np.int64)
        self.pacer = Pacer([str(shard) for shard in range(self.shards)], 1.0, self.starts_s)
        self.looks_s = self.looked_s = self.starts_s


def simulate(
    hosts: list[Host], seconds: float, seed: int, random_share: float = 0.0, settled_s: float = 0.0
) -> None:
    """Let the hosts send to one stream; what is counted in them is counted from `settled_s` on.

    They look at what waits as `parked.py` does. Of two that look in the same moment the first one is first.
    """
    rng = np.random.default_rng(seed)
    random.seed(seed)
    buckets = ShardBuckets()
    many = hosts[0].shards
    buckets.grow(many)
    answers: deque[tuple[float, Host, Counts, Counts]] = deque()
    while (host := min(hosts, key=lambda each: each.looks_s)).looks_s < seconds:
        now_s = host.looks_s
        while answers and answers[0][0] <= now_s:
            answered_s, whose, sent, throttled = answers.popleft()
            whose.waiting += throttled
            whose.pacer.answered(sent, throttled, throttled * whose.entry_bytes, answered_s)
        passed_s, host.looked_s = now_s - host.looked_s, now_s
        host.looks_s += look_pause_s()
        if rng.random() < host.pauses * passed_s:
            host.looks_s += rng.exponential(0.3)
        host.waiting += rng.poisson(host.offered * passed_s, many)
        np.minimum(host.waiting, SHARD_ENTRIES_PER_SECOND, out=host.waiting)
        sent = np.array(
            [
                host.pacer.room(shard, [host.entry_bytes] * waits, now_s)
                for shard, waits in enumerate(host.waiting.tolist())
            ]
        )
        host.waiting -= sent
        shards = np.repeat(np.arange(many), sent)
        rng.shuffle(shards)
        refused = rng.random(len(shards)) < random_share
        refused[buckets.admit(now_s, shards.tolist(), [host.entry_bytes] * len(shards))] = True
        throttled = np.bincount(shards[refused], minlength=many)
        answers.append((now_s + LATENCY_S, host, sent, throttled))
        if now_s >= settled_s:
            host.stored += int(sent.sum() - throttled.sum())
            host.throttled += int(throttled.sum())


def throttled_share(hosts: list[Host]) -> float:
    refused = sum(host.throttled for host in hosts)
    return refused / (refused + sum(host.stored for host in hosts))


def used_share(hosts: list[Host], seconds: float) -> float:
    return sum(host.stored for host in hosts) / (SHARD_ENTRIES_PER_SECOND * SHARDS * seconds)


@pytest.mark.parametrize("later_s", [0.0, 60.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_two_hosts_that_offer_half_too_much_share_alike_and_are_seldom_throttled(
    seed: int, later_s: float
) -> None:
    hosts = [Host(750.0), Host(750.0, later_s)]
    simulate(hosts, later_s + 160, seed, settled_s=later_s + 60)
    first = hosts[0].stored / (hosts[0].stored + hosts[1].stored)
    assert 0.4 <= first <= 0.6
    assert throttled_share(hosts) < 0.05
    assert used_share(hosts, 100) > 0.85


@pytest.mark.parametrize("later_s", [0.0, 20.0])
def test_two_hosts_on_busy_machines_share_alike_within_seconds_in_each_of_many_runs(later_s: float) -> None:
    shares = []
    for seed in range(8):
        hosts = [Host(750.0, pauses=1.0), Host(750.0, later_s + 0.3 * seed, pauses=1.0)]
        simulate(hosts, later_s + 60, seed, settled_s=later_s + 20)
        shares.append(hosts[0].stored / (hosts[0].stored + hosts[1].stored))
        assert throttled_share(hosts) < 0.05
        assert used_share(hosts, 40) > 0.8
    assert 0.4 <= min(shares) <= max(shares) <= 0.6, shares
    assert np.std(shares) < 0.05, shares


def test_ten_hosts_that_offer_four_times_too_much_share_alike_and_use_the_shards() -> None:
    hosts = [Host(400.0) for _ in range(10)]
    simulate(hosts, 100, 3, settled_s=60)
    assert throttled_share(hosts) < 0.08
    assert used_share(hosts, 40) > 0.85
    stored = [host.stored for host in hosts]
    assert max(stored) < 2 * min(stored)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("offered", [800.0, 2000.0])
def test_throttles_that_do_not_depend_on_the_rate_cost_at_most_a_fifth(offered: float, seed: int) -> None:
    calm, hit = [Host(offered)], [Host(offered)]
    simulate(calm, 120, seed)
    simulate(hit, 120, seed, random_share=0.1)
    assert hit[0].stored >= 0.8 * calm[0].stored


@pytest.mark.parametrize("offered", [18.0, 42.0])
def test_large_entries_too_lose_a_fifth_at_most_though_few_of_them_tell_little(offered: float) -> None:
    calm = Host(offered, entry_bytes=50_000, shards=4)
    simulate([calm], 90, 0, settled_s=30)
    taken = []
    for seed in range(8):
        hit = Host(offered, entry_bytes=50_000, shards=4)
        simulate([hit], 90, seed, random_share=0.1, settled_s=30)
        taken.append(hit.stored / calm.stored)
    assert np.mean(taken) > 0.8, taken
    assert min(taken) > 0.6, taken  # one that never finds out stays below 0.4


def test_what_is_parked_is_looked_at_as_often_whatever_comes_to_it_and_at_random() -> None:
    def looks(route: Route, every_s: float) -> list[float]:
        parked = Parked(route)
        size = SHARD_BYTES_PER_SECOND  # more than a burst: hardly any of it goes
        rows = Rows(WholeRecords([b""]), np.array([[0], [0], [0], [size]]))
        looked: list[float] = []
        for tick in range(int(20 / every_s)):
            now_s = tick * every_s
            parked.admit(rows, now_s)
            if now_s >= parked.look_s:
                parked.unpark(1, now_s)
                looked.append(now_s)
        return looked

    shards = routes.equal_shards(1)
    for every_s in (0.001, 0.005):
        pacer = Pacer([shard.shard_id for shard in shards.shards], 1.0, 0.0)
        pauses = np.diff(looks(routes.route(shards, pacer=pacer), every_s))
        assert 0.02 < pauses.mean() < 0.033
        assert pauses.std() > 0.008


def test_a_shard_that_others_fill_is_slowed_down_alone() -> None:
    host = Host(500.0)
    few = np.full(SHARDS, 500, np.int64)
    for second in range(30):
        throttled = np.zeros(SHARDS, np.int64)
        throttled[3] = int(500 * max(0.0, 1 - 0.4 / host.pacer.factors[3]))  # 400 a second have room
        host.pacer.answered(few, throttled, throttled * ENTRY_BYTES, second + 1.0)
    assert host.pacer.factors[3] < 0.7
    assert (np.delete(host.pacer.factors, 3) > 0.9).all()


def test_factors_stay_within_their_bounds_whatever_is_throttled() -> None:
    pacer = Pacer(["a", "b"], 1.0, 0.0)
    for second in range(200):
        sent = np.array([300, 300])
        pacer.answered(sent, np.array([300, 0]), np.array([300, 0]) * ENTRY_BYTES, float(second))
        assert ((pacer.factors >= FACTOR_MIN) & (pacer.factors <= 1)).all()


@pytest.mark.parametrize(("wanted", "goes"), [(199, True), (200, True), (201, False)])
def test_a_burst_holds_a_fifth_of_a_second(wanted: int, goes: bool) -> None:
    pacer = Pacer(["a", "b"], 1.0, 0.0)
    admitted = pacer.admit(np.array([wanted, 1]), np.array([wanted, 1]), 0.0)
    assert admitted.tolist() == [goes, True]
    assert pacer.room(0, [1] * 300, 0.0) == (200 - wanted if goes else 200)
    assert pacer.wait_s(0, 1, 0.0) > 0
    assert pacer.wait_s(1, 1, 0.0) == 0


def test_an_entry_larger_than_the_burst_goes_to_a_free_shard_which_then_owes() -> None:
    pacer = Pacer(["a"], 1.0, 0.0)
    assert pacer.room(0, [SHARD_BYTES_PER_SECOND, 1], 0.0) == 1
    assert pacer.room(0, [1], 0.5) == 0
    assert pacer.wait_s(0, 1, 0.5) > 0
    assert pacer.room(0, [1], 1.0 + BURST_S) == 1


def test_a_shard_keeps_what_was_learnt_over_a_new_map_and_its_children_take_it_over() -> None:
    pacer = Pacer(["a", "b"], 1.0, 0.0)
    sent = np.array([300, 300])
    for second in range(1, 8):
        pacer.answered(sent, np.array([150, 0]), np.array([150, 0]) * ENTRY_BYTES, float(second))
    factor = float(pacer.factors[0])
    assert factor < 0.6
    newer = Pacer(["b", "a1", "a2", "c"], 1.0, 8.0, pacer, {"a1": "a", "a2": "a"})
    assert newer.factors.tolist() == [pacer.factors[1], factor, factor, 1.0]


@given(
    st.lists(st.tuples(st.floats(0.0, 0.4), st.integers(1, 400), st.integers(1, 60_000)), max_size=60),
    st.sampled_from([1.0, 0.5]),
)
def test_no_stretch_of_time_holds_more_than_the_limits(
    asked: list[tuple[float, int, int]], share: float
) -> None:
    pacer = Pacer(["a"], share, 0.0)
    now_s, entries, size = 0.0, 0, 0
    for pause_s, many, each in asked:
        now_s += pause_s
        gone = pacer.room(0, [each] * many, now_s)
        entries += gone
        size += gone * each
        assert entries <= share * SHARD_ENTRIES_PER_SECOND * (now_s + BURST_S) + 1
        assert size <= share * SHARD_BYTES_PER_SECOND * (now_s + BURST_S) + each
