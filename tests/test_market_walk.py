"""Random walks: seamless, bounded, spreading with the square root of time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickerd.market.exactmath import numbers
from tickerd.market.prices import Prices
from tickerd.market.universe import Universe
from tickerd.market.walk import FRAMES_PER_BLOCK, FRAMES_PER_YEAR, ROOT_LEVEL, Walks

BLOCKS_PER_ROOT = (1 << ROOT_LEVEL) // FRAMES_PER_BLOCK
blocks = st.one_of(st.integers(-(2**40), 2**40), st.integers(-9, 9).map(lambda n: n * BLOCKS_PER_ROOT - 1))


@pytest.fixture(scope="module")
def walks() -> Walks:
    return Walks(numbers(1, 500), np.ones(500))


@settings(max_examples=50, deadline=None)
@given(block=blocks)
def test_a_block_ends_with_the_same_bits_as_the_next_one_begins(walks: Walks, block: int) -> None:
    assert walks.block(block)[-1].tobytes() == walks.block(block + 1)[0].tobytes()


@settings(max_examples=50, deadline=None)
@given(block=blocks)
def test_no_walk_leaves_its_bounds_or_jumps(walks: Walks, block: int) -> None:
    values = np.concatenate([walks.block(block), walks.block(block + 1)[1:]])
    assert np.all(abs(values) <= walks.reach)
    assert abs(np.diff(values, axis=0)).max() < 8 / np.sqrt(FRAMES_PER_YEAR)


@pytest.mark.parametrize("frames", [1, 2, 16, 960, 57_600, 1_382_400, 30 * 1_382_400])
def test_a_walk_spreads_with_the_square_root_of_time(walks: Walks, frames: int) -> None:
    def at(frame: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        value: np.ndarray[tuple[int], np.dtype[np.float64]] = walks.block(frame // FRAMES_PER_BLOCK)[
            frame % FRAMES_PER_BLOCK
        ]
        return value

    starts = [12_345_678 * i for i in range(1, 41)]
    moves = np.array([at(start + frames) - at(start) for start in starts])
    assert moves.std() / np.sqrt(frames / FRAMES_PER_YEAR) == pytest.approx(1, abs=0.15)
    assert moves.mean() == pytest.approx(0, abs=4 * moves.std() / np.sqrt(40 * 500))


def test_steps_do_not_follow_from_the_steps_before_them(walks: Walks) -> None:
    steps = np.diff(np.concatenate([walks.block(block)[:-1] for block in range(30)]), axis=0)
    for lag in (1, 2, 16):
        assert np.corrcoef(steps[:-lag].ravel(), steps[lag:].ravel())[0, 1] == pytest.approx(0, abs=0.01)


def test_walks_of_different_keys_have_nothing_to_do_with_each_other(walks: Walks) -> None:
    steps = np.diff(np.concatenate([walks.block(block)[:-1, :20] for block in range(100)]), axis=0)
    correlations = np.corrcoef(steps.T) - np.eye(20)
    assert abs(correlations).max() < 0.06


def test_a_pegged_currency_keeps_to_its_peg_and_stays_for_decades() -> None:
    universe = Universe.load()
    prices = Prices(1, universe)
    rows = {pair.pair: row for row, pair in enumerate(universe.pairs)}
    seen = np.array([prices.block(block).mids[0] / 2**20 for block in range(0, 10**9, 10**7)])
    seen = seen[:, : len(prices.ticks_per_unit)] / prices.ticks_per_unit
    for pair, width in (("USD/HKD", 0.01), ("EUR/DKK", 0.01), ("USD/AED", 0.002)):
        of_pair = seen[:, rows[pair]]
        assert of_pair.max() / of_pair.min() < 1 + 2 * width
    assert 0.8 < seen[:, rows["EUR/USD"]].min() < seen[:, rows["EUR/USD"]].max() < 1.4
    assert 100 < seen[:, rows["USD/JPY"]].min() < seen[:, rows["USD/JPY"]].max() < 220
