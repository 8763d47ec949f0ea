"""Prices of stocks: the world's move, their exchange's, their sector's, their own, and what stories add."""

import math
from collections.abc import Sequence

import numpy as np

from tickerd.market.activity import I64, Activity, profile, region
from tickerd.market.bridge import FRAMES_PER_BLOCK, FRAMES_PER_YEAR, Bridge, Group
from tickerd.market.exactmath import F64, exp, keys
from tickerd.market.forex import LOG_MAX
from tickerd.market.stories import JUMP_UNIT, STOCK_SHARE
from tickerd.market.universe import MARKET_VOL, SECTOR_VOL, Stock

WORLD_SHARE = 0.5  # of the variance of an exchange's market that all exchanges have in common
STOCK_LEVERAGE, MARKET_LEVERAGE = 0.3, 0.7  # a fall raises what comes next, a market's more than a stock's
_VOL_MIN = 1e-9  # what does not move at all has no return to compare with its size
STOCKS_PER_CHUNK = 512  # what a step of work holds: arrays of this width stay in the processor's cache


class Commons:
    """What stocks have in common: world, markets of regions, sectors of regions; one row of walks each."""

    def __init__(self, seed: int, activity: Activity, stocks: Sequence[Stock]) -> None:
        regions = sorted({region(stock.exchange) for stock in stocks})
        sectors = sorted({(stock.sector, region(stock.exchange)) for stock in stocks})
        names = ["world", *(f"market {name}" for name in regions)]
        names += [f"sector {sector} {name}" for sector, name in sectors]
        days = ["world", *regions, *(name for _, name in sectors)]
        self.rows = {name: row for row, name in enumerate(names)}
        market = MARKET_VOL * math.sqrt(1.0 - WORLD_SHARE)
        vols = [MARKET_VOL * math.sqrt(WORLD_SHARE), *[market] * len(regions), *[SECTOR_VOL] * len(sectors)]
        leverage = [MARKET_LEVERAGE] * (1 + len(regions)) + [STOCK_LEVERAGE] * len(sectors)
        profiles = np.array([profile(day) for day in days])
        self.group = Group.of(seed, "stock")
        self.bridge = Bridge(
            self.group,
            activity,
            keys(names, "walk", seed),
            np.array(vols),
            profiles,
            np.array(leverage),
        )


class Equities:
    """The prices of `stocks`, at most some hundreds, over the walks of `commons`."""

    def __init__(self, seed: int, activity: Activity, stocks: Sequence[Stock], commons: Commons) -> None:
        self.annual_vol = np.array([stock.annual_vol for stock in stocks])
        self.profiles = np.array([profile(region(stock.exchange)) for stock in stocks], dtype=np.int64)
        own = np.sqrt([1.0 if stock.real else 1.0 - STOCK_SHARE for stock in stocks])
        self.bridge = Bridge(
            commons.group,
            activity,
            keys([f"stock {stock.symbol}" for stock in stocks], "walk", seed),
            np.maximum(self.annual_vol * own, _VOL_MIN),
            self.profiles,
            np.full(len(stocks), STOCK_LEVERAGE),
        )
        rows = commons.rows
        self._market = np.array([rows[f"market {region(stock.exchange)}"] for stock in stocks])
        self._sector = np.array([rows[f"sector {s.sector} {region(s.exchange)}"] for s in stocks])
        self._beta = np.array([stock.beta for stock in stocks])
        self._price = np.array([stock.price for stock in stocks])

    def mids(self, walks: F64, commons: F64, moves: I64) -> F64:
        """Prices f64[T, stocks]: `walks` and `moves` (by stories) are so too, `commons` f64[T, rows]."""
        logs = (commons + commons[:, :1]).take(self._market, axis=1)
        logs *= self._beta
        logs += commons.take(self._sector, axis=1)
        logs += walks
        logs += moves * JUMP_UNIT
        result: F64 = exp(np.minimum(np.maximum(logs, -LOG_MAX), LOG_MAX)) * self._price
        return result

    def variances(self, of_block: F64) -> F64:
        """Of each stock's own part in a block, beside a year's mean: the shape of `of_block`."""
        usual = self.annual_vol * self.annual_vol * (FRAMES_PER_BLOCK / FRAMES_PER_YEAR) + 1e-30
        result: F64 = of_block / usual
        return result
