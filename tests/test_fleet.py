"""A fleet of 50 hosts coming and going on a stream of 500 shards, played through without processes.

A host is its segments, made by the schedule itself; it learns the size of the group as late as a daemon does.
"""

import random
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickerd.host.ec2 import CAPACITY_S, POLL_S, share_of
from tickerd.kinesis.limits import HASH_KEY_END
from tickerd.schedule import FRAMES_PER_SECOND, Timeline, split
from tickerd.schedule import Segment as Stretch

SHARDS, RECORDS_PER_SHARD = 500, 1000
FLEET = 400_000_000  # milli-records per second: 80 % of the shards
WEIGHTS, WORKERS = (0.3, 0.65, 0.05), 2
BOOT_S = 90
LEARNS_S = CAPACITY_S + POLL_S
HOUR_S = 3600


class Step(NamedTuple):
    """From a second on the group is to have so many hosts."""

    at_s: int
    hosts: int


STEPS = [Step(0, 50), Step(600, 25), Step(1200, 50), Step(1800, 10), Step(2400, 50), Step(3000, 49)]


class Host:
    """One host: when it works, and what its workers' timelines are."""

    def __init__(self, begins_s: float, offset_s: float) -> None:
        self.begins_s = begins_s
        self.ends_s = float("inf")
        self.rates: list[tuple[float, int]] = []  # (from when, milli-records per second)
        self._offset_s = offset_s  # its polls are not those of the others

    def learn(self, step: Step) -> None:
        """It hears of another size at its next look, or has it from its start."""
        at_s = max(self.begins_s, step.at_s + self._offset_s)
        self.rates.append((at_s, share_of(FLEET, step.hosts)))

    def rate(self, at_s: float) -> int:
        """Milli-records per second at a moment."""
        if not self.begins_s <= at_s < self.ends_s:
            return 0
        return next((rate for from_s, rate in reversed(self.rates) if from_s <= at_s), 0)

    def timelines(self) -> list[Timeline]:
        """The segments of its workers: another share is another segment."""
        made = []
        for worker in range(WORKERS):
            timeline: Timeline | None = None
            for from_s, rate in self.rates:
                frame, rates = int(from_s * FRAMES_PER_SECOND), split(rate, WEIGHTS, WORKERS, worker)
                if timeline is None:
                    timeline = Timeline([Stretch(frame, 0, rates, "d")])
                else:
                    timeline.append(frame, rates, "d")
            assert timeline is not None
            made.append(timeline)
        return made


@pytest.fixture(scope="module")
def fleet() -> list[Host]:
    """All hosts that there ever were in an hour of growing and shrinking."""
    chance = random.Random(5)
    everyone: list[Host] = []
    working: list[Host] = []
    for step in STEPS:
        while len(working) > step.hosts:
            host = working.pop(chance.randrange(len(working)))
            host.ends_s = step.at_s + chance.uniform(0, POLL_S)
        for host in working:
            host.learn(step)
        while len(working) < step.hosts:
            begins_s = step.at_s + (BOOT_S + chance.uniform(0, 60) if step.at_s else 0)
            host = Host(begins_s, chance.uniform(0, LEARNS_S))
            host.rates.append((begins_s, share_of(FLEET, step.hosts)))
            working.append(host)
            everyone.append(host)
    return everyone


def total(fleet: list[Host], at_s: float) -> int:
    return sum(host.rate(at_s) for host in fleet)


def test_the_sum_is_never_above_the_fleets_rate_but_for_the_moment_of_a_change(fleet: list[Host]) -> None:
    over = [at_s for at_s in np.arange(0, HOUR_S, 0.5) if total(fleet, float(at_s)) > FLEET]
    for at_s in over:
        # Only hosts that have not left yet, or have not heard yet, make it more; both have done soon.
        assert any(0 <= at_s - step.at_s <= LEARNS_S for step in STEPS)
    assert sum(0.5 for _ in over) <= len(STEPS) * LEARNS_S


def test_when_everybody_has_heard_the_rate_is_the_fleets_but_for_rounding(fleet: list[Host]) -> None:
    for step, following in zip(STEPS, [*STEPS[1:], Step(HOUR_S, 0)], strict=True):
        settled_s = following.at_s - 1
        assert FLEET - step.hosts < total(fleet, settled_s) <= FLEET


def test_more_hosts_never_mean_more_load_on_the_stream(fleet: list[Host]) -> None:
    grown = [step for before, step in pairwise(STEPS) if step.hosts > before.hosts]
    for step in grown:
        before = total(fleet, step.at_s - 1)
        after = [total(fleet, step.at_s + second) for second in range(300)]
        assert max(after) <= before + len(fleet)  # new hosts begin long after the others have given way


def test_every_source_is_gapless_over_all_its_shares(fleet: list[Host]) -> None:
    for host in fleet:
        for timeline in host.timelines():
            last = timeline.segments[-1].first_frame + 1000
            for segment in timeline.segments[1:]:
                counted = sum(timeline.segment(segment.first_frame - 1).counts(segment.first_frame - 1))
                assert timeline.seq(segment.first_frame) == timeline.seq(segment.first_frame - 1) + counted
            assert timeline.seq(last) > 0
            # What a host that is gone owed can be made again from its segments alone.
            again = Timeline(timeline.segments)
            assert again.parts(last) == timeline.parts(last)


def test_even_keys_fill_no_shard_beyond_its_limit(fleet: list[Host]) -> None:
    # Every host deals to all shards in turn: none gets more than its part of a host's rate, and one record.
    for at_s in range(0, HOUR_S, 60):
        busiest = sum(-(-host.rate(at_s) // (1000 * SHARDS)) for host in fleet)
        settled = not any(0 <= at_s - step.at_s <= LEARNS_S for step in STEPS)
        if settled:
            assert busiest <= RECORDS_PER_SHARD
    assert HASH_KEY_END % SHARDS != 0  # the shards' ranges are not quite equal, which even keys do not mind


@given(st.integers(0, 10**12), st.integers(0, 5000))
def test_shares_are_never_more_than_the_whole_and_hardly_less(rate: int, hosts: int) -> None:
    share = share_of(rate, hosts)
    assert share * max(1, hosts) <= rate
    assert rate - share * max(1, hosts) < max(1, hosts)
