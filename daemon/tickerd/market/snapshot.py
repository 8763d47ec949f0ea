"""All pairs and stocks at given times, each at its price of that millisecond, and closed ones at their last.

A pure function of market and time: unlike the rows of a stream, none of it depends on the source.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.batch import Columns
from tickerd.market.activity import I64
from tickerd.market.exactmath import F64, draws_at, keys
from tickerd.market.feed import FOREX, STOCK, quotes, sizes_of
from tickerd.market.prices import FrameState
from tickerd.schedule import Part, first_ms, frame_of

if TYPE_CHECKING:
    from tickerd.market.market import Market


class Standing(NamedTuple):
    """Quotes and last trades at times: [times, quoted] each, pairs first, then stocks (or one row alone)."""

    price: F64  # a pair's mid, a stock's last trade
    size: I64  # shares of that trade; 0 for pairs
    bid: F64
    ask: F64


class Snapshots:
    """Every pair and stock of a market, at any time."""

    def __init__(self, market: "Market") -> None:
        self._market = market
        universe = market.universe
        self._pairs, self._quoted = len(universe.pairs), len(universe.pairs) + len(universe.stocks)
        self._size_keys = keys(universe.instruments[: self._quoted], "snapshot size", market.seed)
        self._lots = np.array([0] * self._pairs + [stock.lot for stock in universe.stocks])

    def at(self, times_ms: I64, row: int | None = None) -> Standing:
        """All instruments, or that of one row of Universe.instruments, at ascending milliseconds since 1970.

        One time costs some 10 ms, each of many together 1.6 ms, and of one instrument 0.04 ms.
        """
        rows = np.arange(self._quoted) if row is None else np.array([row])
        shown_ms = np.broadcast_to(times_ms[:, None], (len(times_ms), len(rows)))
        if self._market.hours is not None:
            shown_ms = np.minimum(shown_ms, self._market.hours.last_open_ms(times_ms)[:, rows])
        shown_ms, rows = shown_ms.ravel(), np.tile(rows, len(times_ms))
        frames = frame_of(shown_ms)
        wanted = np.unique(frames)
        width = self._quoted if row is None else 1
        state, places = self._state(wanted, row), np.zeros_like(rows) if row is not None else rows
        prices = self._market.prices if row is None else self._market.prices_of(row)
        quoted = quotes(
            state,
            prices.quote_keys,
            frames,
            shown_ms - first_ms(frames),
            places,
            np.searchsorted(wanted, frames) * width + places,
        )
        units = self._market.in_units(quoted, rows)
        hashes = draws_at(self._size_keys.take(rows), shown_ms.view(np.uint64)).view(np.int64)
        sizes = np.where(rows < self._pairs, 0, sizes_of(hashes, self._lots.take(rows)))
        shape = (len(times_ms), -1)
        return Standing(
            units.price.reshape(shape),
            sizes.reshape(shape),
            units.bid.reshape(shape),
            units.ask.reshape(shape),
        )

    def columns(self, part: Part) -> list[Columns]:
        """The rows of a snapshot's part: the pairs and stocks that it names, all in its first millisecond."""
        standing = self.at(np.array([first_ms(part.frame) + part.ms_start]))
        return [
            self._feed(feed, standing, start, stop, part.ms_start)
            for feed, (start, stop) in enumerate(part.rows)
            if start < stop
        ]

    def _feed(self, feed: int, standing: Standing, start: int, stop: int, millisecond: int) -> Columns:
        assert feed in {FOREX, STOCK}, "a snapshot is of what has a price"
        offset = self._pairs if feed == STOCK else 0
        rows = slice(offset + start, offset + stop)
        price, size, bid, ask = (column[0, rows] for column in standing)
        values = (price, bid, ask) if feed == FOREX else (price, size, bid, ask)
        instruments = np.arange(rows.start, rows.stop, dtype=np.int32)
        milliseconds: NDArray[np.uint8] = np.full(stop - start, millisecond, dtype=np.uint8)
        return Columns(feed, instruments, milliseconds, values)

    def _state(self, frames: I64, row: int | None) -> FrameState:
        """The prices of ascending frames: [frames * quoted], or of one instrument [frames]."""
        if row is None and len(frames) == 1:
            return self._market.frame(int(frames[0]))
        return (
            self._market.prices_of(row).frames(frames)
            if row is not None
            else self._market.prices.frames(frames)
        )
