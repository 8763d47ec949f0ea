"""Mid prices, spreads and order flow of every pair and stock, a block of frames at a time, as integers.

It promises that all of an instrument is a pure function of seed, the instrument's own data and the frame: the
other instruments of the universe do not matter. Rounding to quotes is the feed's work.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tickerd.market.activity import FRAMES_PER_DAY, I64, activity
from tickerd.market.bridge import BLOCK_LEVEL, FRAMES_PER_BLOCK
from tickerd.market.equity import STOCKS_PER_CHUNK, Commons, Equities
from tickerd.market.exactmath import F64, draws_at, keys
from tickerd.market.forex import Forex
from tickerd.market.stories import Stories
from tickerd.market.universe import Universe
from tickerd.schedule import FRAMES_PER_SECOND

TICK_BITS = 20
TICK = 1 << TICK_BITS
"""Mids are integers of a tick's 2**20th part: interpolation between frames needs no floats."""

SPREAD_FACTOR_MAX = 5.0
_HALF_MIN = TICK // 4
_SECONDS_PER_BLOCK = FRAMES_PER_BLOCK // FRAMES_PER_SECOND

# Of 256 trades so many more are at the ask for as long as each of these holds: orders come in series.
_SERIES_SECONDS_BITS = (0, 2, 5, 8)
_SERIES_STRENGTH, _DIRECTION_STRENGTH = 20, 26


@dataclass(frozen=True, slots=True)
class FrameState:
    """One frame, all i64[quoted]: pairs first, then stocks. Or several of them: i64[frames, quoted]."""

    mids: I64  # at the frame's begin, in 2**-20 ticks
    changes: I64  # of the mid over the frame
    halves: I64  # half of the spread in 2**-20 ticks, before rounding outwards
    buys: I64  # of 256 trades how many are at the ask


@dataclass(frozen=True, slots=True)
class Block:
    """Prices of FRAMES_PER_BLOCK frames; columns are the quoted instruments, pairs first, then stocks."""

    first_frame: int
    mids: I64  # [frames + 1, quoted] at the boundaries of the frames, in 2**-20 ticks
    halves: I64  # [quoted]
    series: I64  # [seconds, quoted] of 256 trades how many are at the ask in a quiet price
    variances: F64  # [quoted] of the block beside a year's mean
    busy: F64  # [quoted] activity beside a week's mean
    bursts: F64  # [stocks + currencies] how many times more is traded for stories' sake

    def frame(self, frame: int) -> FrameState:
        """A frame of the block."""
        row = frame - self.first_frame
        changes = self.mids[row + 1] - self.mids[row]
        series = self.series[row // FRAMES_PER_SECOND]
        return FrameState(
            self.mids[row], changes, self.halves, series + np.sign(changes) * _DIRECTION_STRENGTH
        )

    def whole(self) -> FrameState:
        """All frames of the block."""
        changes = self.mids[1:] - self.mids[:-1]
        buys = np.repeat(self.series, FRAMES_PER_SECOND, axis=0) + np.sign(changes) * _DIRECTION_STRENGTH
        return FrameState(self.mids[:-1], changes, np.tile(self.halves, (FRAMES_PER_BLOCK, 1)), buys)


class Prices:
    """The prices of `only` (rows of Universe.instruments) or of all pairs and stocks."""

    def __init__(self, seed: int, universe: Universe, only: Sequence[int] | None = None) -> None:
        rows = range(len(universe.pairs) + len(universe.stocks)) if only is None else only
        pairs = [universe.pairs[row] for row in rows if row < len(universe.pairs)]
        stocks = [universe.stocks[row - len(universe.pairs)] for row in rows if row >= len(universe.pairs)]
        codes = {code for pair in pairs for code in (pair.base, pair.quote)}
        codes |= {currency.peg for currency in universe.currencies if currency.code in codes}
        currencies = [each for each in universe.currencies if only is None or each.code in codes]
        self.symbols = tuple(pair.pair for pair in pairs) + tuple(stock.symbol for stock in stocks)

        self._activity = activity()
        self._forex = Forex(seed, self._activity, currencies, pairs) if pairs else None
        self._commons = Commons(seed, self._activity, stocks) if stocks else None
        chunks = [stocks[i : i + STOCKS_PER_CHUNK] for i in range(0, len(stocks), STOCKS_PER_CHUNK)]
        self._chunks = [
            Equities(seed, self._activity, chunk, self._commons) for chunk in chunks if self._commons
        ]
        self._pairs, self._stocks = len(pairs), len(stocks)
        self.step_count = 5 + 2 * len(chunks)
        """How many pieces `steps` has."""

        self.stories = Stories(seed, stocks, currencies)
        decimals = [pair.decimals for pair in pairs] + [stock.decimals for stock in stocks]
        self.ticks_per_unit = np.array([float(10**places) for places in decimals])
        """[quoted] 10 to the power of each instrument's decimals."""
        spreads = [pair.spread_ticks for pair in pairs] + [stock.spread_ticks for stock in stocks]
        self._half = np.array(spreads) * (TICK / 2)
        # However low a price may fall, its bid stays on the grid and above 0.
        self._lowest = np.rint(self._half * (2.0 * SPREAD_FACTOR_MAX)).astype(np.int64) + 4 * TICK
        self._side_keys = keys(self.symbols, "side", seed)
        self.quote_keys = keys(self.symbols, "quote", seed)

    def steps(self, number: int) -> Iterator[Block | None]:
        """Makes block `number` in pieces of some milliseconds; the last one is the block, the others None."""
        first = number * FRAMES_PER_BLOCK
        boundaries = np.arange(first, first + FRAMES_PER_BLOCK + 1)
        mids = np.empty((FRAMES_PER_BLOCK + 1, self._pairs + self._stocks), dtype=np.int64)
        variances = np.empty(mids.shape[1])
        moves = self.stories.impact(boundaries)
        yield None
        if self._forex is not None:
            self._forex.bridge.prepare(number)
            yield None
            walks, variance = self._forex.bridge.block(number)
            pairs = slice(0, self._pairs)
            mids[:, pairs] = self._ticks(self._forex.mids(walks, moves[:, self._stocks :]), pairs)
            variances[pairs] = self._forex.variances(variance)
        yield None
        commons = self._commons.bridge.block(number)[0] if self._commons is not None else None
        for chunk, of in self._chunk_slices():
            yield None
            chunk.bridge.prepare(number)
            yield None
            walks, variance = chunk.bridge.block(number)
            assert commons is not None
            quoted = slice(self._pairs + of.start, self._pairs + of.stop)
            mids[:, quoted] = self._ticks(chunk.mids(walks, commons, moves[:, of]), quoted)
            variances[quoted] = chunk.variances(variance)
        yield None
        busy = self._busy(self._activity.relative(np.array(first)))
        seconds = np.arange(number * _SECONDS_PER_BLOCK, (number + 1) * _SECONDS_PER_BLOCK)
        bursts = self.stories.bursts(first)
        yield Block(
            first_frame=first,
            mids=mids,
            halves=self._halves(variances, busy),
            series=self._series(seconds),
            variances=variances,
            busy=busy,
            bursts=bursts,
        )

    def frames(self, frames: I64) -> FrameState:
        """M ascending frames, however far apart: the same bits as in their blocks."""
        both = self._moves(np.stack([frames, frames + 1], axis=1).ravel())
        moves = np.concatenate([both[::2], both[1::2]])
        mids = np.empty((2 * len(frames), self._pairs + self._stocks), dtype=np.int64)
        variances = np.empty((len(frames), mids.shape[1]))
        if self._forex is not None:
            begin, end, variance = self._forex.bridge.frames(frames)
            pairs = slice(0, self._pairs)
            walks = np.concatenate([begin, end])
            mids[:, pairs] = self._ticks(self._forex.mids(walks, moves[:, self._stocks :]), pairs)
            variances[:, pairs] = self._forex.variances(variance)
        if self._commons is not None:
            begin, end, _ = self._commons.bridge.frames(frames)
            commons = np.concatenate([begin, end])
            for chunk, of in self._chunk_slices():
                begin, end, variance = chunk.bridge.frames(frames)
                quoted = slice(self._pairs + of.start, self._pairs + of.stop)
                walks = np.concatenate([begin, end])
                mids[:, quoted] = self._ticks(chunk.mids(walks, commons, moves[:, of]), quoted)
                variances[:, quoted] = chunk.variances(variance)
        count = len(frames)
        relative = self._activity.relative(frames >> BLOCK_LEVEL << BLOCK_LEVEL)
        halves = self._halves(variances, self._busy(relative))
        changes = mids[count:] - mids[:count]
        buys = self._series(frames // FRAMES_PER_SECOND) + np.sign(changes) * _DIRECTION_STRENGTH
        return FrameState(mids[:count], changes, halves, buys)

    def history(self, level: int, first: int, count: int) -> tuple[I64, F64]:
        """Mids at `count` + 1 frames, 2**level (7 to 30) apart, the first at or not far before frame `first`.

        Frames i64[count + 1] and mids f64[count + 1, quoted]; ValueError unless these are only pairs or only
        stocks, at most `STOCKS_PER_CHUNK`. Cheaper by far than asking for each time.
        """
        if (self._forex is not None) + len(self._chunks) != 1:
            raise ValueError("a history is one of pairs or of some stocks")
        if self._forex is not None:
            frames, walks = self._forex.bridge.stretch(level, first, count)
            return frames, self._forex.mids(walks, self._moves(frames))
        assert self._commons is not None
        frames, walks = self._chunks[0].bridge.stretch(level, first, count)
        _, commons = self._commons.bridge.stretch(level, first, count)
        return frames, self._chunks[0].mids(walks, commons, self._moves(frames))

    def _chunk_slices(self) -> Iterator[tuple[Equities, slice]]:
        for i, chunk in enumerate(self._chunks):
            start = i * STOCKS_PER_CHUNK
            yield chunk, slice(start, min(start + STOCKS_PER_CHUNK, self._stocks))

    def _moves(self, frames: I64) -> I64:
        """Stories' moves at the begins of ascending frames: i64[M, subjects]."""
        days = frames // FRAMES_PER_DAY
        starts = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(frames)]
        return np.concatenate([self.stories.impact(frames[start:stop]) for start, stop in pairwise(starts)])

    def _ticks(self, mids: F64, quoted: slice) -> I64:
        scaled = np.rint(mids * (self.ticks_per_unit[quoted] * TICK)).astype(np.int64)
        result: I64 = np.maximum(scaled, self._lowest[quoted])
        return result

    def _busy(self, relative: F64) -> F64:
        """Activity of the instruments from that of the profiles, beside its mean: f64[..., quoted]."""
        busy = [self._forex.busy(relative)] if self._forex is not None else []
        busy += [relative.take(chunk.profiles, axis=-1) for chunk in self._chunks]
        return np.concatenate(busy, axis=-1)

    def _halves(self, variances: F64, busy: F64) -> I64:
        """Half spreads of blocks: wide while prices move more than usual for the hour, and at quiet hours."""
        heat = np.minimum(np.maximum(np.sqrt(np.sqrt(variances / busy)), 0.75), 2.25)
        quiet = np.minimum(np.maximum(1.0 / np.sqrt(np.sqrt(busy)), 0.8), SPREAD_FACTOR_MAX / 2.25)
        # Rounding a bid down and an ask up adds a tick on average: half of it is taken off here.
        halves = np.rint(heat * quiet * self._half).astype(np.int64) - TICK // 2
        return np.maximum(halves, _HALF_MIN)

    def _series(self, seconds: I64) -> I64:
        """[seconds, quoted] of 256 trades how many are at the ask, before the price's direction counts."""
        buys = np.full((len(seconds), len(self._side_keys)), 128, dtype=np.int64)
        for bits in _SERIES_SECONDS_BITS:
            spans = seconds >> bits
            starts, inverse = _distinct(spans)
            hashes = draws_at(self._side_keys, ((starts << 9) + bits).view(np.uint64)[:, None])
            up = (hashes >> np.uint64(63)).view(np.int64)
            buys += (up * (2 * _SERIES_STRENGTH) - _SERIES_STRENGTH)[inverse]
        return buys


def _distinct(ascending: I64) -> tuple[I64, NDArray[np.int64]]:
    """The different values of an ascending row, and which of them each place has."""
    changed = np.diff(ascending, prepend=ascending[:1] - 1) != 0
    return ascending[changed], np.cumsum(changed) - 1
