"""Currency triangles: over all pairs, in every frame of a day, none pays and every cross agrees."""

from itertools import permutations
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from tickerd.market.activity import FRAMES_PER_DAY
from tickerd.market.bridge import FRAMES_PER_BLOCK
from tickerd.market.feed import quotes
from tickerd.market.prices import TICK, TICK_BITS, Prices
from tickerd.market.universe import Universe
from tickerd.schedule import end_ms, first_ms

UNIVERSE = Universe.load()
PAIRS = {pair.pair: row for row, pair in enumerate(UNIVERSE.pairs)}
F64 = NDArray[np.float64]
DAY = 20_782  # 2026-11-25, a Wednesday; before it in the large cities stories broke and markets moved


class Legs(NamedTuple):
    """Ways around: three conversions each, as (row of the pair, whether its base is sold)."""

    rows: NDArray[np.int64]  # [3, ways]
    sold: NDArray[np.bool_]  # [3, ways]


def legs() -> Legs:
    """All ways around all triangles, both ways round, each once."""
    codes = [currency.code for currency in UNIVERSE.currencies]
    ways = []
    for around in permutations(codes, 3):
        steps = list(zip(around, (*around[1:], around[0]), strict=True))
        found = [(PAIRS.get(f"{a}/{b}"), PAIRS.get(f"{b}/{a}")) for a, b in steps]
        if around[0] == min(around) and all(there != back for there, back in found):
            ways.append([(back if there is None else there, there is not None) for there, back in found])
    array = np.array(ways).transpose(2, 1, 0)
    return Legs(array[0], array[1].astype(np.bool_))


def gains_and_gaps(prices: Prices, number: int, ways: Legs, unit: F64) -> tuple[float, float]:
    """Of a block's frames, a millisecond each: the best product around, and the worst gap in roundings.

    `unit` are the ticks of each pair's quote in one.
    """
    (block,) = (made for made in prices.steps(number) if made is not None)
    frames = block.first_frame + np.arange(FRAMES_PER_BLOCK)
    milliseconds = (frames * 7 + number * 11) % (end_ms(frames) - first_ms(frames))
    count = len(PAIRS)
    quoted = quotes(
        block.whole(),
        prices.quote_keys,
        np.repeat(frames, count),
        np.repeat(milliseconds, count),
        np.tile(np.arange(count), FRAMES_PER_BLOCK),
        np.arange(count * FRAMES_PER_BLOCK),
    )
    bids, asks = (side.reshape(-1, count) / unit for side in (quoted.bids, quoted.asks))
    rates = ((quoted.mids + TICK // 2) >> TICK_BITS).reshape(-1, count) / unit
    gain, mid, slack = np.ones(1), np.ones(1), np.zeros(1)
    for rows, sold in zip(ways.rows, ways.sold, strict=True):
        # At the bid for what is sold; at the ask for what is bought.
        gain = gain * np.where(sold, bids[:, rows], 1 / asks[:, rows])
        mid = mid * np.where(sold, rates[:, rows], 1 / rates[:, rows])
        slack = slack + 0.5 / unit[rows] / rates[:, rows]  # half of the last decimal, as a share
    assert np.all(bids < asks)
    return float(np.max(gain)), float(np.max(abs(mid - 1.0) / slack))


def checked(seed: int, numbers: range) -> tuple[float, float]:
    prices = Prices(seed, UNIVERSE, range(len(PAIRS)))
    ways = legs()
    assert ways.rows.shape[1] == 162  # 81 triangles
    found = np.array([gains_and_gaps(prices, number, ways, prices.ticks_per_unit) for number in numbers])
    return float(found[:, 0].max()), float(found[:, 1].max())


BLOCKS_PER_DAY = FRAMES_PER_DAY // FRAMES_PER_BLOCK


def test_nobody_gains_by_going_around_a_triangle_and_crosses_agree_in_samples_of_some_days() -> None:
    for day in (DAY - 4, DAY, DAY + 365):  # the first is a Saturday
        gain, gap = checked(day, range(day * BLOCKS_PER_DAY, (day + 1) * BLOCKS_PER_DAY, 431))
        assert gain < 1 + 1e-12
        assert gap < 1.001


@pytest.mark.slow
@pytest.mark.timeout(1500)  # a million frames: two minutes on an idle core
def test_nobody_gains_by_going_around_a_triangle_and_crosses_agree_in_every_frame_of_a_day() -> None:
    gain, gap = checked(1, range(DAY * BLOCKS_PER_DAY, (DAY + 1) * BLOCKS_PER_DAY))
    assert gain < 1 + 1e-12
    assert gap < 1.001


def test_the_search_finds_a_quote_that_pays() -> None:
    prices = Prices(1, UNIVERSE, range(len(PAIRS)))
    unit = prices.ticks_per_unit.copy()
    unit[PAIRS["EUR/USD"]] *= 1.01  # as if it were quoted a percent too low
    gain, gap = gains_and_gaps(prices, DAY * BLOCKS_PER_DAY, legs(), unit)
    assert gain > 1.005
    assert gap > 5
