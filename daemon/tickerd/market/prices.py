"""Mid prices and spreads of every pair and stock, a block of frames at a time, as integers.

It promises that a block is a pure function of the seed, the instruments' own data and the block's number: the
other instruments of the universe do not matter. Rounding to quotes is the feed's work.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tickerd.market.exactmath import F64, U64, draws_at, exp, key, numbers
from tickerd.market.universe import Universe
from tickerd.market.walk import FRAMES_PER_BLOCK, Walks
from tickerd.schedule import FRAMES_PER_SECOND

TICK_BITS = 20
TICK = 1 << TICK_BITS
"""Mids are integers of a tick's 2**20th part: interpolation between frames needs no floats."""
STOCK_DECIMALS = 2
MARKET_VOL = 0.14  # of all stocks together, over a year
SPREAD_FACTOR_MAX = 3
SECTOR_VOL = 0.10  # of a sector beside the market

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Block:
    """Prices of FRAMES_PER_BLOCK frames; columns are the quoted instruments, pairs first, then stocks."""

    mids: I64  # [frames + 1, quoted] at the boundaries of the frames, in 2**-20 ticks
    spreads: I64  # [seconds, quoted] in ticks, at least 1
    sides: U64  # [frames, quoted] bit m: whether a trade in the frame's millisecond m is at the ask


class Prices:
    """The values of currencies and stocks, and the prices that follow from them."""

    def __init__(self, seed: int, universe: Universe) -> None:
        currencies, pairs, stocks = universe.currencies, universe.pairs, universe.stocks
        codes = [currency.code for currency in currencies]
        sectors = sorted({stock.sector for stock in stocks})
        walks = [(f"currency {currency.code}", currency.annual_vol) for currency in currencies]
        walks += [(f"stock {stock.symbol}", stock.annual_vol) for stock in stocks]
        walks += [(f"sector {sector}", SECTOR_VOL) for sector in sectors]
        walks += [("market", MARKET_VOL)]
        keys = np.array([key("walk", seed, name) for name, _ in walks], dtype=np.uint64)
        self._walks = Walks(keys, np.array([vol for _, vol in walks]))
        # Where each kind of walk ends and the next begins.
        self._kind_ends = np.cumsum([len(currencies), len(stocks), len(sectors)])

        self._peg = np.array([codes.index(c.peg or c.code) for c in currencies])
        self._pegged = np.array([1.0 if c.peg else 0.0 for c in currencies])
        self._usd_value = np.array([c.usd_value for c in currencies])
        self._base = np.array([codes.index(pair.base) for pair in pairs])
        self._quote = np.array([codes.index(pair.quote) for pair in pairs])
        self._sector = np.array([sectors.index(stock.sector) for stock in stocks])
        self._beta = np.array([stock.beta for stock in stocks])
        self._price = np.array([stock.price for stock in stocks])
        decimals = [pair.decimals for pair in pairs] + [STOCK_DECIMALS] * len(stocks)
        self.ticks_per_unit = np.array([float(10**places) for places in decimals])
        """[quoted] 10 to the power of each instrument's decimals."""

        self._spread = np.array(
            [pair.spread_ticks for pair in pairs] + [stock.spread_ticks for stock in stocks], dtype=np.int64
        )
        quoted = universe.instruments[: len(decimals)]
        self._check_lowest(quoted)
        self._spread_keys = np.array([key("spread", seed, name) for name in quoted], dtype=np.uint64)
        self._side_keys = np.array([key("side", seed, name) for name in quoted], dtype=np.uint64)

    def block(self, number: int) -> Block:
        """Block `number`: the frames from number * FRAMES_PER_BLOCK on."""
        currencies, stocks, sectors, market = np.split(self._walks.block(number), self._kind_ends, axis=1)
        mids = np.concatenate(
            [self._pair_mids(currencies), self._stock_mids(stocks, sectors, market)], axis=1
        ) * (self.ticks_per_unit * TICK)
        frames = numbers(number * FRAMES_PER_BLOCK, FRAMES_PER_BLOCK)
        return Block(
            mids=np.rint(mids).astype(np.int64),
            spreads=self._spreads(number),
            sides=draws_at(self._side_keys, frames[:, None]),
        )

    def _check_lowest(self, quoted: tuple[str, ...]) -> None:
        """ValueError for an instrument whose bid might ever fall to 0."""
        currencies, stocks, sectors, market = np.split(self._walks.reach, self._kind_ends)
        currencies = currencies + currencies[self._peg] * self._pegged
        pairs = self._usd_value[self._base] / self._usd_value[self._quote]
        low_pairs = pairs * exp(-currencies[self._base] - currencies[self._quote])
        low_stocks = self._price * exp(-stocks - sectors[self._sector] - market * abs(self._beta))
        low_ticks = np.concatenate([low_pairs, low_stocks]) * self.ticks_per_unit
        for symbol, low, spread in zip(quoted, low_ticks, self._spread, strict=True):
            if low < SPREAD_FACTOR_MAX * spread / 2 + 1:
                raise ValueError(
                    f"universe: {symbol} may fall below its spread; give it a higher price, more decimals or "
                    "less volatility"
                )

    def _pair_mids(self, walks: F64) -> F64:
        """[boundaries, pairs]: quotients of the currencies' values, so that crosses agree with each other."""
        values = exp(walks + walks.take(self._peg, axis=1) * self._pegged) * self._usd_value
        mids: F64 = values.take(self._base, axis=1) / values.take(self._quote, axis=1)
        return mids

    def _stock_mids(self, walks: F64, sectors: F64, market: F64) -> F64:
        """[boundaries, stocks]."""
        mids: F64 = exp(walks + sectors.take(self._sector, axis=1) + market * self._beta) * self._price
        return mids

    def _spreads(self, number: int) -> I64:
        """[seconds, quoted]: the usual spread, up to three times as wide in a few seconds."""
        count = FRAMES_PER_BLOCK // FRAMES_PER_SECOND
        hashes = draws_at(self._spread_keys, numbers(number * count, count)[:, None])
        chance = (hashes >> np.uint64(48)).astype(np.int64)
        # The square of a uniform chance: mostly little is added.
        return self._spread + ((self._spread * (SPREAD_FACTOR_MAX - 1) * (chance * chance >> 16)) >> 16)
