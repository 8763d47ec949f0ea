"""One feed's rows of a frame as columns, and the columns as records.

A row's millisecond follows from its number; its instrument and size from a hash of seed, source, feed, frame
and row; everything else from the instrument and the millisecond alone.
"""

from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.market.activity import I64
from tickerd.market.exactmath import GOLDEN, draws, key, mix64
from tickerd.market.prices import TICK, TICK_BITS, FrameState
from tickerd.records import Forex, News, Record, Stock
from tickerd.schedule import end_ms, first_ms

if TYPE_CHECKING:
    from tickerd.market.market import Market

FOREX, STOCK, NEWS = range(3)  # as in records.FEEDS
HALF_MS_PER_FRAME = 125
QUOTE_MS_BITS = 2  # a quote stands for 4 ms
_HALF_TICK = TICK // 2
_STEP = np.uint64(GOLDEN)

_LOTS = ((1, 1100), (2, 480), (3, 260), (4, 150), (5, 170), (10, 140), (20, 60), (50, 20), (100, 8))
LOT = 100


def _sizes() -> I64:
    lots = [LOT * lot for lot, slots in _LOTS for _ in range(slots)]
    odd = 4096 - len(lots)
    return np.array(lots + [1 + 99 * i * i // (odd * odd) for i in range(odd)], dtype=np.int64)


SIZES = _sizes()
"""[4096] shares of a trade where a lot is 100: lots, few of them large, and odd lots."""


class Columns(NamedTuple):
    """Rows of a feed; all columns are [rows] long."""

    instruments: NDArray[np.int32]  # row in Universe.instruments
    milliseconds: NDArray[np.uint8]  # from the frame's first on; they never go back
    values: tuple[NDArray[np.float64] | I64 | NDArray[np.object_], ...]
    """The record's fields between symbol and time, in the record's order."""


class Quotes(NamedTuple):
    """Bids and asks in ticks, mids in 2**-20 ticks, and which trades of the millisecond are at the ask."""

    mids: I64
    bids: I64
    asks: I64
    at_ask: NDArray[np.bool_]


def quotes(
    state: FrameState, keys: NDArray[np.uint64], frame: int, rows: NDArray[np.int32], milliseconds: I64
) -> Quotes:
    """Quotes of `rows` (of `state` and `keys`) at milliseconds of the frame; all are [rows] long.

    The bid is never above the mid nor the ask below it: pairs, whose mids agree, leave no arbitrage.
    """
    # A frame begins on a half millisecond when its number is odd: half milliseconds are whole numbers.
    begin = 2 * first_ms(frame) - HALF_MS_PER_FRAME * frame
    mids = state.changes.take(rows)
    mids *= 2 * milliseconds + begin
    mids //= HALF_MS_PER_FRAME
    mids += state.mids.take(rows)

    steps = (milliseconds >> QUOTE_MS_BITS) + (frame << 4)
    hashes = mix64(keys.take(rows) + steps.view(np.uint64) * _STEP).view(np.int64)
    halves = state.halves.take(rows)
    # The quote's middle lies off the mid by up to half of the spread, and some quotes are wider.
    wide = (hashes >> 40) & 0xFF
    wide *= wide
    lean = ((hashes >> 32) & 0xFF) - 128
    lean *= halves
    lean >>= 7
    wide *= halves
    wide >>= 17
    halves += wide
    lean += mids
    bids = (lean - halves) >> TICK_BITS
    lean += halves
    lean += TICK - 1
    lean >>= TICK_BITS
    asks = np.maximum(lean, bids + 1)
    chance = (hashes >> ((milliseconds & 3) << 3)) & 0xFF
    return Quotes(mids, bids, asks, chance < state.buys.take(rows))


class Feed:
    """Feed number `kind` of a market."""

    def __init__(self, market: "Market", kind: int) -> None:
        self._market = market
        self._kind = kind
        self._symbols = np.array(market.universe.instruments, dtype=object)
        self._first_subject = len(market.universe.pairs)
        lots = [LOT] * len(market.universe.pairs) + [stock.lot for stock in market.universe.stocks]
        self._lots = np.array(lots) if set(lots) != {LOT} else None

    def columns(self, source: str, frame: int, start: int, stop: int, n: int) -> Columns:
        """Rows `start` to `stop` (not included) of the `n` that the frame has of this feed."""
        begin_ms = first_ms(frame)
        hashes = draws(key("rows", self._market.seed, source, self._kind, frame), start, stop).view(np.int64)
        milliseconds = np.arange(start, stop)
        milliseconds *= end_ms(frame) - begin_ms
        milliseconds //= max(n, 1)
        columns = (self._forex, self._stock, self._news)[self._kind]
        instruments, values = columns(frame, milliseconds, hashes)
        return Columns(instruments, milliseconds.astype(np.uint8), values)

    def records(self, columns: Columns, source: str, times: list[str], seqs: I64) -> list[Record]:
        """The Structs of `columns`, with the time strings and seqs of each row."""
        struct = (Forex, Stock, News)[self._kind]
        return list(
            map(
                struct,
                self._symbols.take(columns.instruments).tolist(),
                *[column.tolist() for column in columns.values],
                times,
                repeat(source),
                seqs.tolist(),
            )
        )

    def _forex(
        self, frame: int, milliseconds: I64, hashes: I64
    ) -> tuple[NDArray[np.int32], tuple[NDArray[np.float64], ...]]:
        instruments = self._market.choices(self._kind, frame).take(hashes & 0xFFFF)
        quoted = self._quotes(frame, instruments, milliseconds)
        ticks_per_unit = self._market.ticks_per_unit.take(instruments)
        # Both numbers are whole, so the quotient is the float nearest to the decimal and prints as short.
        rates = quoted.mids
        rates += _HALF_TICK
        rates >>= TICK_BITS
        return instruments, (
            rates / ticks_per_unit,
            quoted.bids / ticks_per_unit,
            quoted.asks / ticks_per_unit,
        )

    def _stock(
        self, frame: int, milliseconds: I64, hashes: I64
    ) -> tuple[NDArray[np.int32], tuple[NDArray[np.float64] | I64, ...]]:
        instruments = self._market.choices(self._kind, frame).take(hashes & 0xFFFF)
        quoted = self._quotes(frame, instruments, milliseconds)
        prices = np.where(quoted.at_ask, quoted.asks, quoted.bids)
        sizes = SIZES.take((hashes >> 16) & 0xFFF)
        if self._lots is not None:
            sizes = np.maximum(sizes * self._lots.take(instruments) // LOT, 1)
        ticks_per_unit = self._market.ticks_per_unit.take(instruments)
        return instruments, (
            prices / ticks_per_unit,
            sizes,
            quoted.bids / ticks_per_unit,
            quoted.asks / ticks_per_unit,
        )

    def _news(
        self, frame: int, _milliseconds: I64, hashes: I64
    ) -> tuple[NDArray[np.int32], tuple[NDArray[np.object_], ...]]:
        epoch = self._market.news(frame)
        items = self._market.choices(self._kind, frame).take(hashes & 0xFFFF)
        subjects = epoch.subjects.take(items)
        # The first items are the routine ones, in the subjects' order.
        items = np.where(epoch.begins.take(items) > frame, subjects, items)
        values = tuple(
            column.take(items)
            for column in (epoch.news_item, epoch.category, epoch.sentiment, epoch.story_id)
        )
        return (subjects + self._first_subject).astype(np.int32), values

    def _quotes(self, frame: int, instruments: NDArray[np.int32], milliseconds: I64) -> Quotes:
        market = self._market
        rows = market.quoted(instruments)
        return quotes(market.frame(frame), market.prices.quote_keys, frame, rows, milliseconds)
