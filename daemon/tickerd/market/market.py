"""The market: parts of frames to records. A pure function of seed, universe, source and part.

What it keeps and computes ahead only saves work: the same arguments give the same bytes in any process.
"""

from functools import cached_property, lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tickerd.batch import Batch, Interleaved
from tickerd.market.activity import I64
from tickerd.market.blocks import BLOCKS_KEPT, Blocks, keep
from tickerd.market.bridge import FRAMES_PER_BLOCK
from tickerd.market.choice import HOTTEST_MAX, choices, turnover
from tickerd.market.exactmath import F64
from tickerd.market.feed import NEWS, STOCK, Feed, Places, Quotes, quotes
from tickerd.market.merging import merged
from tickerd.market.news import FRAMES_PER_EPOCH, Epoch, Newsroom
from tickerd.market.prices import TICK, TICK_BITS, Block, FrameState, Prices
from tickerd.market.snapshot import Snapshots
from tickerd.market.stories import Stories
from tickerd.market.universe import CHOICES, Universe
from tickerd.records import FEEDS, Record
from tickerd.schedule import Part, first_ms, frame_of

FRAMES_AT_ONCE = 1024  # of one instrument alone: what fits into the processor's cache
INSTRUMENTS_KEPT = 32  # that were asked for alone


class Hours(Protocol):
    """When instruments are traded; it may change at multiples of four seconds."""

    def open(self, frame: int) -> NDArray[np.bool_]:
        """Which of Universe.instruments are open in a frame: bool[instruments]."""

    def last_open_ms(self, times_ms: I64) -> I64:
        """When each was last open at ascending milliseconds, at most these: i64[times, instruments]."""


class Quote(NamedTuple):
    """What an instrument costs: a pair's mid or a stock's last trade, with bid and ask."""

    price: float
    bid: float
    ask: float


class QuoteColumns(NamedTuple):
    """Quotes of all pairs, then all stocks: f64[quoted] each."""

    price: F64
    bid: F64
    ask: F64


class Market:
    """The market of a seed; with `hours`, rows are only about what is open, with `only`, about that alone."""

    def __init__(
        self, seed: int, universe: Universe, hours: Hours | None = None, only: str | None = None
    ) -> None:
        self.seed = seed
        self.universe = universe
        self.hours = hours
        self._only = None if only is None else universe.instruments.index(only)
        self._quoted = len(universe.pairs) + len(universe.stocks)
        alone = self._only is not None and self._only < self._quoted
        self.prices = Prices(seed, universe, [self._only] if alone and self._only is not None else None)
        self._alone_row = self._only if alone else None
        decimals = [pair.decimals for pair in universe.pairs] + [stock.decimals for stock in universe.stocks]
        self.ticks_per_unit = np.array([float(10**places) for places in decimals])
        """[quoted] 10 to the power of each instrument's decimals."""
        self._shares = universe.chances[:NEWS] / CHOICES
        self._symbols = np.array(universe.instruments, dtype=object)
        self.feeds = [Feed(self, kind) for kind in range(len(FEEDS))]
        self.snapshots = Snapshots(self)
        self._blocks = Blocks(self.prices)
        self._choices: dict[tuple[int, int], NDArray[np.int32]] = {}
        nothing = FrameState(*[np.zeros(0, dtype=np.int64)] * 4)
        self._last, self._last_block = (-1, nothing), (-1, nothing)
        self._kinds_used: set[int] = set()
        self.prices_of = lru_cache(INSTRUMENTS_KEPT)(self._make_prices_of)

    def records(self, source: str, part: Part) -> Batch:
        """The records of a part, by millisecond, then feed, then row; their seqs count on from its first."""
        rows = self.columns(source, part)
        return Batch(rows.frame, rows.first_seq, rows.records, rows.instruments, rows.feeds)

    def columns(self, source: str, part: Part) -> Interleaved:
        """The same before Structs are made of it."""
        if part.is_snapshot:
            columns = self.snapshots.columns(part)
        else:
            kinds = [kind for kind, (start, stop) in enumerate(part.rows) if start < stop]
            columns = [
                self.feeds[kind].columns(source, part.frame, *part.rows[kind], part.counts[kind])
                for kind in kinds
            ]
        rows = merged(columns, self._symbols, source, part.frame, first_ms(part.frame), part.first_seq)
        self._work_ahead(part.frame)
        return rows

    def stories(self, first_frame: int, end_frame: int, subject: int | None = None) -> Epoch:
        """The stories that break in these frames, as they are first told, in the order of their frames.

        `subject`: a stock, or after the stocks a currency, by its number; None: all.
        """
        return self._newsroom.broken(first_frame, end_frame, subject)

    def spans(self, frames: I64, news: bool) -> I64:
        """Which of ascending `frames` are near enough for `records_of`, with news or without: i64[frames].

        Those with the same number are.
        """
        if self._alone_row is None or news:
            return frames // FRAMES_PER_BLOCK
        return np.arange(len(frames)) // FRAMES_AT_ONCE

    def records_of(self, source: str, frames: I64, counts: I64, first_seq: int) -> list[Record]:
        """All records of ascending `frames`, which `spans` says to be near; `counts` i64[frames, feeds].

        The same as of their parts one by one, and much cheaper where frames have few.
        """
        kinds = [kind for kind in range(len(FEEDS)) if counts[:, kind].any()]
        columns = [self.feeds[kind].columns_of(source, frames, counts[:, kind]) for kind in kinds]
        first = int(frames[0])
        return merged(columns, self._symbols, source, first, first_ms(first), first_seq).records

    def at(self, instrument: str, ms: int) -> Quote:
        """The quote of a pair or stock in a millisecond since 1970; ValueError for any other name.

        Any time costs a few milliseconds.
        """
        row = self.universe.instruments.index(instrument)
        if row >= self._quoted:
            raise ValueError(f"{instrument} is a currency: only pairs and stocks have prices")
        frame = frame_of(ms)
        block = self._blocks.kept(frame // FRAMES_PER_BLOCK)
        if block is not None and self._alone_row is None:
            prices, place, state = self.prices, row, block.frame(frame)
        else:
            prices, place = self.prices_of(row), 0
            state = prices.frames(np.array([frame]))
        milliseconds = np.array([ms - first_ms(frame)])
        quoted = quotes(state, prices.quote_keys, frame, milliseconds, np.array([place], dtype=np.int32))
        columns = self.in_units(quoted, np.array([row]))
        return Quote(float(columns.price[0]), float(columns.bid[0]), float(columns.ask[0]))

    def quotes(self, ms: int) -> QuoteColumns:
        """The quotes of all pairs and stocks in a millisecond since 1970 (not with `only`)."""
        frame = frame_of(ms)
        rows = np.arange(self._quoted, dtype=np.int32)
        milliseconds = np.full(self._quoted, ms - first_ms(frame))
        quoted = quotes(self.frame(frame), self.prices.quote_keys, frame, milliseconds, rows)
        return self.in_units(quoted, rows)

    # What the feeds ask for.

    def frame(self, frame: int) -> FrameState:
        """The prices of a frame."""
        if self._last[0] != frame:
            self._last = (frame, self._blocks.block(frame // FRAMES_PER_BLOCK).frame(frame))
        return self._last[1]

    def frames(self, frames: I64, places: Places) -> tuple[FrameState, Places]:
        """The prices of near frames (see `spans`), and where in them those of `places` are, a frame each."""
        if self._alone_row is not None:
            apart = np.diff(frames, prepend=frames[:1] - 1) != 0
            return self.prices.frames(frames[apart]), np.cumsum(apart) - 1
        number = int(frames[0]) // FRAMES_PER_BLOCK
        if self._last_block[0] != number:
            self._last_block = (number, self.block(number).whole())
        return self._last_block[1], (frames - number * FRAMES_PER_BLOCK) * self._quoted + places

    def news(self, frame: int) -> Epoch:
        """What can be told in a frame."""
        return self._newsroom.epoch(frame // FRAMES_PER_EPOCH)

    def choices(self, kind: int, frame: int) -> NDArray[np.int32]:
        """What the rows of a feed are about in a frame: i32[CHOICES] instruments, or items of its news."""
        number = frame // FRAMES_PER_BLOCK
        if kind != NEWS and self._alone_row is not None:
            number = 0  # there is nothing to choose
        made = self._choices.get((kind, number))
        if made is None:
            self._kinds_used.add(kind)
            self._choices.pop((kind, number - 2), None)
            made = keep(self._choices, (kind, number), self._choose(kind, number), len(FEEDS) * BLOCKS_KEPT)
        return made

    def quoted(self, instruments: NDArray[np.int32]) -> NDArray[np.int32]:
        """The places of instruments in `prices`."""
        return instruments if self._alone_row is None else np.zeros_like(instruments)

    def block(self, number: int) -> Block:
        """A block of `prices`, made at once when it is not there."""
        return self._blocks.block(number)

    def _choose(self, kind: int, number: int) -> NDArray[np.int32]:
        if kind != NEWS and self._alone_row is not None:
            return np.full(CHOICES, self._alone_row, dtype=np.int32)
        first = number * FRAMES_PER_BLOCK
        is_open = self._open(first)
        if kind == NEWS:
            subjects = None if is_open is None else is_open[len(self.universe.pairs) :]
            return self._newsroom.choices(first, first + FRAMES_PER_BLOCK, subjects)
        block = self.block(number)
        weights = self._shares[kind, : self._quoted] * turnover(block.variances, block.busy)
        if kind == STOCK:
            weights[len(self.universe.pairs) :] *= block.bursts[: len(self.universe.stocks)] + 1.0
        if is_open is not None and (weights * is_open[: self._quoted]).any():
            weights *= is_open[: self._quoted]
        return choices(weights, float(self._shares[kind].max()) * HOTTEST_MAX)

    def _open(self, frame: int) -> NDArray[np.bool_] | None:
        if self._only is not None:
            alone: NDArray[np.bool_] = np.arange(len(self.universe.instruments)) == self._only
            return alone
        if self.hours is None:
            return None
        return self.hours.open(frame)

    @cached_property
    def _newsroom(self) -> Newsroom:
        universe = self.universe
        stories = self.prices.stories
        if self._alone_row is not None:
            stories = Stories(self.seed, universe.stocks, universe.currencies)
        return Newsroom(self.seed, universe, stories)

    def _work_ahead(self, frame: int) -> None:
        """Make a piece of what the next block needs, so that no call has to make the whole of it."""
        if self._blocks.work_ahead(frame):
            number = frame // FRAMES_PER_BLOCK + 1
            for kind in sorted(self._kinds_used):
                if (kind, number) not in self._choices:
                    self.choices(kind, number * FRAMES_PER_BLOCK)
                    return

    def _make_prices_of(self, row: int) -> Prices:
        return Prices(self.seed, self.universe, [row])

    def in_units(self, quoted: Quotes, rows: NDArray[np.int64] | NDArray[np.int32]) -> QuoteColumns:
        """Prices in units of their currencies; `rows` in Universe.instruments."""
        ticks_per_unit = self.ticks_per_unit.take(rows)
        mids = (quoted.mids + TICK // 2) >> TICK_BITS
        prices = np.where(quoted.at_ask, quoted.asks, quoted.bids)
        prices = np.where(rows < len(self.universe.pairs), mids, prices)
        return QuoteColumns(
            prices / ticks_per_unit, quoted.bids / ticks_per_unit, quoted.asks / ticks_per_unit
        )
