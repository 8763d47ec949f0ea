"""Bridges: the same bits however they are asked for, seamless, split exactly, and sane for ever."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickerd.market.activity import PROFILES, activity
from tickerd.market.bridge import FRAMES_PER_BLOCK, FRAMES_PER_YEAR, ROOT_LEVEL, Bridge, Group
from tickerd.market.exactmath import key

NAMES = [f"process {i}" for i in range(40)]
NOW = 28_728_345_600 // FRAMES_PER_BLOCK
blocks = st.one_of(st.integers(-(2**36), 2**36), st.integers(NOW - 5, NOW + 5))


def bridge(names: list[str] = NAMES) -> Bridge:
    keys = np.array([key("walk", 1, name) for name in names], dtype=np.uint64)
    profiles = np.array([NAMES.index(name) % len(PROFILES) for name in names])
    leverage = np.array([0.3 * (NAMES.index(name) % 2) for name in names])
    vols = np.full(len(names), 0.3)
    return Bridge(Group.of(1, "stock"), activity(), keys, vols, profiles, leverage)


@pytest.fixture(scope="module")
def warm() -> Bridge:
    return bridge()


@settings(max_examples=40)
@given(block=blocks)
def test_a_block_ends_with_the_same_bits_as_the_next_one_begins(warm: Bridge, block: int) -> None:
    assert warm.block(block)[0][-1].tobytes() == warm.block(block + 1)[0][0].tobytes()


def test_blocks_join_where_roots_end(warm: Bridge) -> None:
    phase = Group.of(1, "stock").phase
    seams = [((root << ROOT_LEVEL) - phase) // FRAMES_PER_BLOCK for root in range(20, 30)]
    for seam in seams:
        before, after = warm.block(seam - 1)[0], warm.block(seam)[0]
        assert before[-1].tobytes() == after[0].tobytes()
        assert abs(np.diff(np.concatenate([before, after[1:]]), axis=0)).max() < 0.02


@settings(max_examples=25)
@given(block=blocks)
def test_a_cold_bridge_and_one_that_was_elsewhere_agree(warm: Bridge, block: int) -> None:
    values, variances = warm.block(block)
    cold_values, cold_variances = bridge().block(block)
    assert values.tobytes() == cold_values.tobytes()
    assert variances.tobytes() == cold_variances.tobytes()


def test_each_process_is_the_same_among_others_and_alone(warm: Bridge) -> None:
    chosen = [31, 2, 3, 18]
    few = bridge([NAMES[i] for i in chosen])
    assert few.block(NOW)[0].tobytes() == warm.block(NOW)[0][:, chosen].tobytes()


@settings(max_examples=25)
@given(block=blocks, rows=st.lists(st.integers(0, FRAMES_PER_BLOCK - 1), min_size=1, max_size=5, unique=True))
def test_frames_asked_for_one_by_one_have_the_bits_of_their_block(
    warm: Bridge, block: int, rows: list[int]
) -> None:
    values, variances = warm.block(block)
    frames = np.array(sorted(rows)) + block * FRAMES_PER_BLOCK
    begins, ends, of_block = warm.frames(frames)
    assert begins.tobytes() == values[sorted(rows)].tobytes()
    assert ends.tobytes() == values[[row + 1 for row in sorted(rows)]].tobytes()
    assert all(each.tobytes() == variances.tobytes() for each in of_block)


@pytest.mark.parametrize(("level", "count"), [(7, 1), (7, 300), (12, 5000), (25, 200), (30, 50)])
def test_a_stretch_of_time_has_the_bits_of_its_frames(warm: Bridge, level: int, count: int) -> None:
    frames, values = warm.stretch(level, NOW * FRAMES_PER_BLOCK + 777, count)
    assert frames[0] <= NOW * FRAMES_PER_BLOCK + 777 < frames[1]
    assert np.all(np.diff(frames) == 1 << level)
    some = [0, count // 3, count]
    assert warm.frames(frames[some])[0].tobytes() == values[some].tobytes()


def test_a_years_moves_have_the_volatility_that_was_asked_for() -> None:
    keys = np.array([key("walk", seed, "x") for seed in range(400)], dtype=np.uint64)
    level = 18
    for years_from in (10, 50):
        of = Bridge(
            Group.of(1, "stock"), activity(), keys, np.full(400, 0.2), np.zeros(400, dtype=int), np.zeros(400)
        )
        _, values = of.stretch(level, years_from * FRAMES_PER_YEAR, 1 << (ROOT_LEVEL - level + 1))
        years = (1 << (ROOT_LEVEL + 1)) / FRAMES_PER_YEAR
        realised = np.sqrt((np.diff(values, axis=0) ** 2).sum(axis=0) / years)
        assert np.mean(realised) == pytest.approx(0.2, rel=0.05)


def test_a_hundred_years_of_knots_stay_sane(warm: Bridge) -> None:
    _, values = warm.stretch(20, 0, 100 * FRAMES_PER_YEAR >> 20)
    assert np.isfinite(values).all()
    assert abs(values).max() < 3
    ends = [values[:500].std(), values[-500:].std()]
    assert max(ends) < 1  # it does not spread with time


def test_the_end_of_the_calendar_is_like_any_other_time(warm: Bridge) -> None:
    for year in (-1970, 8029):
        values, variances = warm.block(year * FRAMES_PER_YEAR // FRAMES_PER_BLOCK)
        assert np.isfinite(values).all()
        assert np.all(variances > 0)


def test_processes_of_a_group_share_their_wild_times_but_not_their_direction(warm: Bridge) -> None:
    _, values = warm.stretch(14, NOW * FRAMES_PER_BLOCK, 4000)
    moves = np.diff(values[:, ::9], axis=0)  # of one profile
    direction = np.corrcoef(moves.T) - np.eye(moves.shape[1])
    size = np.corrcoef(abs(moves).T) - np.eye(moves.shape[1])
    assert abs(direction).max() < 0.15
    assert size.sum() / 20 > 0.15


def test_profiles_keep_their_hours_through_daylight_saving() -> None:
    def share(name: str, begin: str, end: str) -> float:
        frames = np.array([begin, end], dtype="datetime64[s]").astype(np.int64) * 16
        totals = activity().cumulative(frames, np.array([PROFILES.index(name)]))[:, 0]
        return float(totals[1] - totals[0]) / float(frames[1] - frames[0]) / 1024

    for open_, before in (
        (("2026-01-14T14:30", "2026-01-14T15:00"), ("2026-01-14T13:30", "2026-01-14T14:00")),
        (("2026-07-15T13:30", "2026-07-15T14:00"), ("2026-07-15T12:30", "2026-07-15T13:00")),
        (("2026-03-09T13:30", "2026-03-09T14:00"), ("2026-03-09T12:30", "2026-03-09T13:00")),
        (("2026-11-02T14:30", "2026-11-02T15:00"), ("2026-11-02T13:30", "2026-11-02T14:00")),
    ):
        assert share("new_york", *open_) > 5 * share("new_york", *before)
    assert share("london", "2026-03-30T07:00", "2026-03-30T07:30") > 5 * share(
        "london", "2026-03-30T06:00", "2026-03-30T06:30"
    )
    assert share("tokyo", "2026-07-15T00:00", "2026-07-15T00:30") > 3
    assert share("america", "2026-07-18T12:00", "2026-07-18T13:00") < 0.1  # a Saturday
    for name in PROFILES:
        assert share(name, "2001-01-07T00:00", "2001-01-14T00:00") == pytest.approx(1, abs=0.001)


def test_activity_always_goes_on() -> None:
    frames = np.concatenate([np.arange(-(10**6), 10**6, 7), np.arange(NOW * 64, NOW * 64 + 10**7, 961)])
    totals = activity().cumulative(frames, np.arange(len(PROFILES)))
    assert np.all(np.diff(totals, axis=0) > 0)
