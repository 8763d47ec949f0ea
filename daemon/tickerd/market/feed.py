"""One feed's rows of a frame as columns, and the columns as records.

A row's millisecond follows from its number; its instrument and size from a hash of seed, source, feed, frame
and row; everything else from the instrument and the millisecond alone.
"""

from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.market.exactmath import U64, draws, key
from tickerd.market.prices import I64, STOCK_DECIMALS, TICK, TICK_BITS
from tickerd.market.walk import FRAMES_PER_BLOCK
from tickerd.records import Forex, News, Record, Stock
from tickerd.schedule import FRAMES_PER_SECOND, end_ms, first_ms

if TYPE_CHECKING:
    from tickerd.market.market import Market

FOREX, STOCK, NEWS = range(3)  # as in records.FEEDS
HALF_MS_PER_FRAME = 125
_HALF_TICK = TICK // 2

ODD_LOTS_FIRST = 2388  # of the 4,096 sizes, those from here on are below 100 shares
_LOTS = ((1, 1100), (2, 480), (3, 260), (4, 150), (5, 170), (10, 140), (20, 60), (50, 20), (100, 8))


def _sizes() -> I64:
    lots = [100 * lot for lot, slots in _LOTS for _ in range(slots)]
    odd = 4096 - len(lots)
    return np.array(lots + [1 + 99 * i * i // (odd * odd) for i in range(odd)], dtype=np.int64)


SIZES = _sizes()
"""[4096] shares of a trade: lots of 100, few of them large, and odd lots."""


class Columns(NamedTuple):
    """Rows of a feed; all columns are [rows] long."""

    instruments: NDArray[np.int32]  # row in Universe.instruments
    milliseconds: NDArray[np.uint8]  # from the frame's first on; they never go back
    values: tuple[NDArray[np.float64] | I64 | NDArray[np.object_], ...]
    """The record's fields between symbol and time, in the record's order."""


class Feed:
    """Feed number `kind` of a market."""

    def __init__(self, market: "Market", kind: int) -> None:
        self._market = market
        self._kind = kind
        universe = market.universe
        rows = np.arange(len(universe.instruments), dtype=np.int32)
        self._choices = np.repeat(rows, universe.chances[kind])  # i32[CHOICES]
        self._symbols = np.array(universe.instruments, dtype=object)
        self._first_subject = len(universe.pairs)

    def columns(self, source: str, frame: int, start: int, stop: int, n: int) -> Columns:
        """Rows `start` to `stop` (not included) of the `n` that the frame has of this feed."""
        begin_ms = first_ms(frame)
        hashes = draws(key("rows", self._market.seed, source, self._kind, frame), start, stop)
        instruments = self._choices.take((hashes & np.uint64(0xFFFF)).view(np.int64))
        milliseconds = np.arange(start, stop) * (end_ms(frame) - begin_ms) // max(n, 1)
        values = (self._forex, self._stock, self._news)[self._kind](frame, instruments, milliseconds, hashes)
        return Columns(instruments, milliseconds.astype(np.uint8), values)

    def records(self, columns: Columns, source: str, times: NDArray[np.object_], seqs: I64) -> list[Record]:
        """The Structs of `columns`; `times` ([milliseconds]) are the frame's time strings, seqs: [rows]."""
        struct = (Forex, Stock, News)[self._kind]
        return list(
            map(
                struct,
                self._symbols.take(columns.instruments).tolist(),
                *[column.tolist() for column in columns.values],
                times.take(columns.milliseconds).tolist(),
                repeat(source),
                seqs.tolist(),
            )
        )

    def _forex(
        self, frame: int, instruments: NDArray[np.int32], milliseconds: I64, _hashes: U64
    ) -> tuple[NDArray[np.float64], ...]:
        mids, bids, asks = self._quotes(frame, instruments, milliseconds)
        ticks_per_unit = self._market.prices.ticks_per_unit.take(instruments)
        # Both numbers are whole, so the quotient is the float nearest to the decimal and prints as short.
        rates = (mids + _HALF_TICK) >> TICK_BITS
        return rates / ticks_per_unit, bids / ticks_per_unit, asks / ticks_per_unit

    def _stock(
        self, frame: int, instruments: NDArray[np.int32], milliseconds: I64, hashes: U64
    ) -> tuple[NDArray[np.float64] | I64, ...]:
        _, bids, asks = self._quotes(frame, instruments, milliseconds)
        sides = self._market.block(frame // FRAMES_PER_BLOCK).prices.sides[frame % FRAMES_PER_BLOCK]
        at_ask = (sides.take(instruments).view(np.int64) >> milliseconds) & 1
        prices = bids + at_ask * (asks - bids)
        sizes = SIZES.take(((hashes >> np.uint64(16)) & np.uint64(0xFFF)).view(np.int64))
        ticks_per_unit = float(10**STOCK_DECIMALS)
        return prices / ticks_per_unit, sizes, bids / ticks_per_unit, asks / ticks_per_unit

    def _news(
        self, frame: int, instruments: NDArray[np.int32], _milliseconds: I64, _hashes: U64
    ) -> tuple[NDArray[np.object_], ...]:
        stories = self._market.block(frame // FRAMES_PER_BLOCK).stories
        return tuple(column.take(instruments - self._first_subject) for column in stories)

    def _quotes(self, frame: int, instruments: NDArray[np.int32], milliseconds: I64) -> tuple[I64, I64, I64]:
        """Mids in 2**-20 ticks, bids and asks in ticks."""
        prices = self._market.block(frame // FRAMES_PER_BLOCK).prices
        row = frame % FRAMES_PER_BLOCK
        # A frame begins on a half millisecond when its number is odd: half milliseconds are whole numbers.
        begin = 2 * first_ms(frame) - HALF_MS_PER_FRAME * frame
        change = (prices.mids[row + 1] - prices.mids[row]).take(instruments)
        mids = prices.mids[row].take(instruments)
        mids += change * (2 * milliseconds + begin) // HALF_MS_PER_FRAME
        spreads = prices.spreads[row // FRAMES_PER_SECOND].take(instruments)
        bids = (mids - spreads * _HALF_TICK + _HALF_TICK) >> TICK_BITS
        return mids, bids, bids + spreads
