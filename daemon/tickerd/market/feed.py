"""One feed's rows of a frame as columns, and the columns as records.

A row's millisecond follows from its number; its instrument and size from a hash of seed, source, feed, frame
and row; everything else from the instrument and the millisecond alone.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.batch import Columns
from tickerd.market.activity import I64
from tickerd.market.exactmath import GOLDEN, draws, draws_at, key, keys, mix64
from tickerd.market.prices import TICK, TICK_BITS, FrameState
from tickerd.schedule import Frames, end_ms, first_ms

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


def sizes_of(hashes: I64, lots: I64 | None) -> I64:
    """Shares of trades by 12 bits of a hash each; `lots`: of their stocks (None: all are `LOT`)."""
    sizes: I64 = SIZES.take((hashes >> 16) & 0xFFF)
    return sizes if lots is None else np.maximum(sizes * lots // LOT, 1)


Places = NDArray[np.int32] | I64
Values = NDArray[np.float64] | I64 | NDArray[np.object_]


class Quotes(NamedTuple):
    """Bids and asks in ticks, mids in 2**-20 ticks, and which trades of the millisecond are at the ask."""

    mids: I64
    bids: I64
    asks: I64
    at_ask: NDArray[np.bool_]


def quotes(
    state: FrameState,
    quote_keys: NDArray[np.uint64],
    frame: Frames,
    milliseconds: I64,
    places: Places,
    rows: Places | None = None,
) -> Quotes:
    """Quotes of instruments at milliseconds of their frame; all are [rows] long.

    `places` are the instruments' in `quote_keys`, and in `state` too unless `rows` says where. The bid is
    never above the mid nor the ask below it: pairs, whose mids agree, leave no arbitrage.
    """
    if rows is None:
        rows = places
    # A frame begins on a half millisecond when its number is odd: half milliseconds are whole numbers.
    begin = 2 * first_ms(frame) - HALF_MS_PER_FRAME * frame
    mids = state.changes.take(rows)
    mids *= 2 * milliseconds + begin
    mids //= HALF_MS_PER_FRAME
    mids += state.mids.take(rows)

    steps = (milliseconds >> QUOTE_MS_BITS) + (frame << 4)
    hashes = mix64(quote_keys.take(places) + steps.view(np.uint64) * _STEP).view(np.int64)
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
        return Columns(self._kind, instruments, milliseconds.astype(np.uint8), values)

    def columns_of(self, source: str, frames: I64, counts: I64) -> Columns:
        """All `counts` rows of each of `frames`, which `Market.spans` says to be near."""
        begins = first_ms(frames)
        some = counts > 0
        counts, of_frames = counts[some], np.repeat(np.flatnonzero(some), counts[some])
        ends = np.cumsum(counts)
        numbers = np.arange(len(of_frames)) - np.repeat(ends - counts, counts)  # of each row in its frame
        of_rows = keys(frames[some].tolist(), "rows", self._market.seed, source, self._kind)
        hashes = draws_at(np.repeat(of_rows, counts), numbers.view(np.uint64)).view(np.int64)
        milliseconds = numbers * (end_ms(frames) - begins).take(of_frames)
        milliseconds //= np.repeat(counts, counts)
        columns = (self._forex, self._stock, self._news)[self._kind]
        instruments, values = columns(frames.take(of_frames), milliseconds, hashes)
        return Columns(self._kind, instruments, milliseconds + (begins - begins[0]).take(of_frames), values)

    def _forex(
        self, frame: int | I64, milliseconds: I64, hashes: I64
    ) -> tuple[NDArray[np.int32], tuple[Values, ...]]:
        instruments = self._choices(frame).take(hashes & 0xFFFF)
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
        self, frame: int | I64, milliseconds: I64, hashes: I64
    ) -> tuple[NDArray[np.int32], tuple[Values, ...]]:
        instruments = self._choices(frame).take(hashes & 0xFFFF)
        quoted = self._quotes(frame, instruments, milliseconds)
        prices = np.where(quoted.at_ask, quoted.asks, quoted.bids)
        sizes = sizes_of(hashes, None if self._lots is None else self._lots.take(instruments))
        ticks_per_unit = self._market.ticks_per_unit.take(instruments)
        return instruments, (
            prices / ticks_per_unit,
            sizes,
            quoted.bids / ticks_per_unit,
            quoted.asks / ticks_per_unit,
        )

    def _news(
        self, frame: int | I64, _milliseconds: I64, hashes: I64
    ) -> tuple[NDArray[np.int32], tuple[Values, ...]]:
        epoch = self._market.news(_first(frame))
        items = self._choices(frame).take(hashes & 0xFFFF)
        subjects = epoch.subjects.take(items)
        # The first items are the routine ones, in the subjects' order.
        items = np.where(epoch.begins.take(items) > frame, subjects, items)
        values = tuple(
            column.take(items)
            for column in (epoch.news_item, epoch.category, epoch.sentiment, epoch.story_id)
        )
        return (subjects + self._first_subject).astype(np.int32), values

    def _choices(self, frame: int | I64) -> NDArray[np.int32]:
        return self._market.choices(self._kind, _first(frame))

    def _quotes(self, frame: int | I64, instruments: NDArray[np.int32], milliseconds: I64) -> Quotes:
        market = self._market
        places = market.quoted(instruments)
        quote_keys = market.prices.quote_keys
        if isinstance(frame, int):
            return quotes(market.frame(frame), quote_keys, frame, milliseconds, places)
        state, rows = market.frames(frame, places)
        return quotes(state, quote_keys, frame, milliseconds, places, rows)


def _first(frame: int | I64) -> int:
    return frame if isinstance(frame, int) else int(frame[0])
