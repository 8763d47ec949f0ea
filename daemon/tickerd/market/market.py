"""The market: parts of frames to records. A pure function of seed, universe, source and part.

What it keeps and computes ahead only saves work: the same arguments give the same bytes in any process.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tickerd.batch import Batch
from tickerd.market.bridge import FRAMES_PER_BLOCK
from tickerd.market.choice import HOTTEST_MAX, choices, turnover
from tickerd.market.exactmath import F64
from tickerd.market.feed import NEWS, STOCK, Columns, Feed, Quotes, quotes
from tickerd.market.news import FRAMES_PER_EPOCH, Epoch, Newsroom
from tickerd.market.prices import TICK, TICK_BITS, Block, FrameState, Prices
from tickerd.market.stories import Stories
from tickerd.market.universe import CHOICES, Universe
from tickerd.records import FEEDS, Record
from tickerd.schedule import Part, end_ms, first_ms

BLOCKS_KEPT = 6  # of 4 seconds: the one that is live, the next, and some for sources that catch up
AHEAD_MAX = 3  # blocks that are being made ahead at once: one for each place in time that is at work
READY_FRAMES = 56  # of a block's 64, after which the next one is ready
PREFETCH_FRAMES = 1024  # at once: what fits into the processor's cache
INSTRUMENTS_KEPT = 32  # that were asked for alone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_MILLISECONDS, _NO_INSTRUMENTS = np.zeros(0, np.uint8), np.zeros(0, np.int32)
_FRACTIONS = [f".{millisecond:03d}Z" for millisecond in range(1000)]


class Hours(Protocol):
    """When instruments are traded; it may change at multiples of four seconds."""

    def open(self, frame: int) -> NDArray[np.bool_]:
        """Which of Universe.instruments are open in a frame: bool[instruments]."""


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
        self._hours = hours
        self._only = None if only is None else universe.instruments.index(only)
        self._quoted = len(universe.pairs) + len(universe.stocks)
        alone = self._only is not None and self._only < self._quoted
        self.prices = Prices(seed, universe, [self._only] if alone and self._only is not None else None)
        self._alone_row = self._only if alone else None
        decimals = [pair.decimals for pair in universe.pairs] + [stock.decimals for stock in universe.stocks]
        self.ticks_per_unit = np.array([float(10**places) for places in decimals])
        """[quoted] 10 to the power of each instrument's decimals."""
        self._shares = universe.chances[:NEWS] / CHOICES
        self.feeds = [Feed(self, kind) for kind in range(len(FEEDS))]
        self._blocks: dict[int, Block] = {}
        self._choices: dict[tuple[int, int], NDArray[np.int32]] = {}
        self._ahead: dict[int, tuple[Iterator[Block | None], int]] = {}
        self._prefetched: dict[int, FrameState] = {}
        self._last = (-1, FrameState(*[np.zeros(0, dtype=np.int64)] * 4))
        self._kinds_used: set[int] = set()
        self._prices_of = lru_cache(INSTRUMENTS_KEPT)(self._make_prices_of)

    def records(self, source: str, part: Part) -> Batch:
        """The records of a part, by millisecond, then feed, then row; their seqs count on from its first."""
        kinds = [kind for kind, (start, stop) in enumerate(part.rows) if start < stop]
        columns = [
            self.feeds[kind].columns(source, part.frame, *part.rows[kind], part.counts[kind])
            for kind in kinds
        ]
        batch = _merged(self.feeds, kinds, columns, source, part)
        self._work_ahead(part.frame)
        return batch

    def at(self, instrument: str, ms: int) -> Quote:
        """The quote of a pair or stock in a millisecond since 1970; ValueError for any other name.

        Any time costs a few milliseconds.
        """
        row = self.universe.instruments.index(instrument)
        if row >= self._quoted:
            raise ValueError(f"{instrument} is a currency: only pairs and stocks have prices")
        frame = _frame_of(ms)
        block = self._blocks.get(frame // FRAMES_PER_BLOCK)
        if block is not None and self._alone_row is None:
            prices, place, state = self.prices, row, block.frame(frame)
        else:
            prices, place = self._prices_of(row), 0
            state = prices.frames(np.array([frame]))[0]
        quoted = quotes(
            state,
            prices.quote_keys,
            frame,
            np.array([place], dtype=np.int32),
            np.array([ms - first_ms(frame)]),
        )
        columns = self._in_units(quoted, np.array([row]))
        return Quote(float(columns.price[0]), float(columns.bid[0]), float(columns.ask[0]))

    def quotes(self, ms: int) -> QuoteColumns:
        """The quotes of all pairs and stocks in a millisecond since 1970 (not with `only`)."""
        frame = _frame_of(ms)
        rows = np.arange(self._quoted, dtype=np.int32)
        milliseconds = np.full(self._quoted, ms - first_ms(frame))
        return self._in_units(
            quotes(self.frame(frame), self.prices.quote_keys, frame, rows, milliseconds), rows
        )

    def prefetch(self, frames: Sequence[int]) -> None:
        """Compute ascending `frames` at once, which saves much when they are far apart (with `only`)."""
        if self._alone_row is not None and frames:
            self._prefetched = {}
            for start in range(0, len(frames), PREFETCH_FRAMES):
                some = frames[start : start + PREFETCH_FRAMES]
                self._prefetched.update(zip(some, self.prices.frames(np.array(some)), strict=True))

    # What the feeds ask for.

    def frame(self, frame: int) -> FrameState:
        """The prices of a frame."""
        if self._last[0] != frame:
            state = self._prefetched.get(frame)
            self._last = (frame, state or self.block(frame // FRAMES_PER_BLOCK).frame(frame))
        return self._last[1]

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
            made = _kept(self._choices, (kind, number), self._choose(kind, number), 3 * BLOCKS_KEPT)
        return made

    def quoted(self, instruments: NDArray[np.int32]) -> NDArray[np.int32]:
        """The places of instruments in `prices`."""
        return instruments if self._alone_row is None else np.zeros_like(instruments)

    def block(self, number: int) -> Block:
        """A block of `prices`, made at once when it is not there."""
        block = self._blocks.get(number)
        if block is None:
            steps, _ = self._ahead.pop(number, (self.prices.steps(number), 0))
            block = _kept(self._blocks, number, _finished(steps), BLOCKS_KEPT)
        return block

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
        if self._hours is None:
            return None
        return self._hours.open(frame)

    @cached_property
    def _newsroom(self) -> Newsroom:
        universe = self.universe
        stories = self.prices.stories
        if self._alone_row is not None:
            stories = Stories(self.seed, universe.stocks, universe.currencies)
        return Newsroom(self.seed, universe, stories)

    def _work_ahead(self, frame: int) -> None:
        """Make a piece of the next block, so that no call has to make the whole of it."""
        number, row = divmod(frame, FRAMES_PER_BLOCK)
        number += 1
        if number - 1 not in self._blocks:
            return
        if number not in self._blocks:
            steps, done = self._ahead.get(number) or (self.prices.steps(number), 0)
            wanted = min(self.prices.step_count, (row + 1) * self.prices.step_count // READY_FRAMES)
            block = None
            while done < wanted and block is None:
                block, done = next(steps), done + 1
            if block is None:
                _kept(self._ahead, number, (steps, done), AHEAD_MAX)
            else:
                self._ahead.pop(number, None)
                _kept(self._blocks, number, block, BLOCKS_KEPT)
            return
        # What the feeds choose from follows, a feed a call.
        for kind in sorted(self._kinds_used):
            if (kind, number) not in self._choices:
                self.choices(kind, number * FRAMES_PER_BLOCK)
                return

    def _make_prices_of(self, row: int) -> Prices:
        return Prices(self.seed, self.universe, [row])

    def _in_units(self, quoted: Quotes, rows: NDArray[np.int64] | NDArray[np.int32]) -> QuoteColumns:
        ticks_per_unit = self.ticks_per_unit.take(rows)
        mids = (quoted.mids + TICK // 2) >> TICK_BITS
        prices = np.where(quoted.at_ask, quoted.asks, quoted.bids)
        prices = np.where(rows < len(self.universe.pairs), mids, prices)
        return QuoteColumns(
            prices / ticks_per_unit, quoted.bids / ticks_per_unit, quoted.asks / ticks_per_unit
        )


def _merged(
    feeds: Sequence[Feed], kinds: Sequence[int], columns: Sequence[Columns], source: str, part: Part
) -> Batch:
    """Columns of feeds `kinds` as one batch."""
    seqs = np.arange(part.first_seq, part.first_seq + part.records)
    if len(kinds) == 1:
        (of_feed,) = columns
        records = feeds[kinds[0]].records(of_feed, source, timestamps(part.frame, of_feed.milliseconds), seqs)
        marks = np.full(len(records), kinds[0], dtype=np.uint8)
        return Batch(part.frame, part.first_seq, records, of_feed.instruments, marks)
    milliseconds = np.concatenate([_NO_MILLISECONDS, *[each.milliseconds for each in columns]])
    order = np.argsort(milliseconds, kind="stable")
    seqs[order] = seqs.copy()
    times = timestamps(part.frame, milliseconds)
    unordered: list[Record] = []
    for kind, each in zip(kinds, columns, strict=True):
        rows = slice(len(unordered), len(unordered) + len(each.instruments))
        unordered += feeds[kind].records(each, source, times[rows], seqs[rows])
    marks = np.repeat(np.array(kinds, dtype=np.uint8), [len(each.instruments) for each in columns])
    instruments = np.concatenate([_NO_INSTRUMENTS, *[each.instruments for each in columns]])
    return Batch(
        frame=part.frame,
        first_seq=part.first_seq,
        records=list(map(unordered.__getitem__, order.tolist())),
        instruments=instruments[order],
        feeds=marks[order],
    )


def timestamps(frame: int, milliseconds: NDArray[np.uint8]) -> list[str]:
    """RFC 3339 strings in UTC of a frame's milliseconds; ValueError or OverflowError beyond year 9999."""
    begin = first_ms(frame)
    second, millisecond = divmod(begin, 1000)  # frames do not cross seconds
    prefix = (_EPOCH + timedelta(seconds=second)).isoformat()[:19]
    if len(milliseconds) < end_ms(frame) - begin:
        return [prefix + _FRACTIONS[millisecond + each] for each in milliseconds.tolist()]
    fractions = _FRACTIONS[millisecond : millisecond + end_ms(frame) - begin]
    texts = np.array([prefix + fraction for fraction in fractions], dtype=object)
    times: list[str] = texts.take(milliseconds).tolist()
    return times


def _frame_of(ms: int) -> int:
    return ms * 16 // 1000


def _finished(steps: Iterator[Block | None]) -> Block:
    made = [block for block in steps if block is not None]
    return made[0]


Key = TypeVar("Key")
Value = TypeVar("Value")


def _kept(kept: dict[Key, Value], at: Key, value: Value, most: int) -> Value:
    """`value`, kept at `at` while there are not `most` newer ones."""
    kept.pop(at, None)
    while len(kept) >= most:
        del kept[next(iter(kept))]
    kept[at] = value
    return value
