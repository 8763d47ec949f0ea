"""Which stories there are about whom, when they break, and how they move prices and the trading.

A story is a pure function of seed, symbol and its day; what it says is the newsroom's work. Its move of the
price is whole numbers, so that any order of addition gives the same bits.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.market.activity import (
    FRAMES_PER_DAY,
    FRAMES_PER_MINUTE,
    I64,
    PROFILES,
    activity,
    profile,
    region,
)
from tickerd.market.exactmath import F64, GOLDEN, U64, keys, lognormal_table, mix64
from tickerd.market.universe import Currency, Stock

JUMP_BITS = 44
JUMP_UNIT = 1.0 / (1 << JUMP_BITS)
"""Moves of a log price are whole numbers of this unit."""
DAYS_PER_YEAR = 365.25
STOCK_SHARE, CURRENCY_SHARE = 0.10, 0.025
"""What stories add to a stock's or currency's own variance; its bridge has the rest."""

DAYS_KEPT = 6  # two for each place in time that is at work
_SLOPES_KEPT = 40  # days: more than prices of one time look back on
SLOTS_PER_DAY = 2  # stories about a subject that a day may have
_CHANCE, _WEEKEND_CHANCE = 26_000, 5_000  # of 65,536, in each slot
_TIMES_BITS, _SIZES_BITS = 10, 10

# A move begins in its story's frame with 65 %, is complete after 30 minutes, and fades over 32 days.
_FADE_DAYS = 32
_RISE_FRAMES = 30 * FRAMES_PER_MINUTE
_LATER_PERCENT = 35
_BURST_FRAMES = 4 * 60 * FRAMES_PER_MINUTE
_BURST_SCALE = 20.0 * FRAMES_PER_MINUTE
_BURST_MAX = 8.0

_STEP = np.uint64(GOLDEN)
_SHIFT_16, _SHIFT_32, _SHIFT_42, _SHIFT_52 = (np.uint64(bits) for bits in (16, 32, 42, 52))
_MASK_10, _MASK_16 = np.uint64(0x3FF), np.uint64(0xFFFF)


class Day(NamedTuple):
    """The stories that break on one day, [SLOTS_PER_DAY, subjects]; many of the places are empty."""

    hashes: U64
    exists: NDArray[np.bool_]
    frames: I64  # in which they break
    sentiment: F64  # -1 to 1 in hundredths, 0 for a neutral one
    slopes: I64  # JUMP_UNITs that the move loses with each frame until the end of its fading
    later: I64  # JUMP_UNITs that are still missing for each frame before the rise is complete
    bursts: F64  # how many times more is traded when it breaks


class Broken(NamedTuple):
    """A story that has broken: about which subject, when, how, and what it does to the price."""

    subject: int  # stocks, then currencies
    frame: int
    sentiment: float
    words: int  # 64 bits, from which its headline is made
    move: float  # of the log price once it is complete; 0 for a neutral one


def _sentiments() -> F64:
    """[1024]: a fifth neutral, the others from a little to much, bad news somewhat more than good news."""
    rank = np.arange(1024)
    size = np.rint((rank % 400) / 400.0 * 80.0 + 15.0) / 100.0
    return np.where(rank < 210, 0.0, np.where(rank < 610, size, -size))


_SENTIMENTS = _sentiments()
_SIZES = lognormal_table(0.75, _SIZES_BITS)


def _square_mean(table: F64) -> float:
    return float(np.cumsum(table * table)[-1]) / len(table)


# Of a jump at sentiment 1 and size 1, in daily volatilities, so that a day's variances add up to 1.
_STORIES_PER_DAY = SLOTS_PER_DAY * (_CHANCE * 5 + _WEEKEND_CHANCE * 2) / 7 / 65_536
_SCALE = math.sqrt(1.0 / _STORIES_PER_DAY / _square_mean(_SIZES) / _square_mean(_SENTIMENTS))


@cache
def _break_times() -> I64:
    """[profiles * 1024] frames of a day at which equal shares of a weekday's stories have broken."""
    minutes = np.arange(FRAMES_PER_DAY // FRAMES_PER_MINUTE)
    wednesday = 6 * FRAMES_PER_DAY  # 1970-01-07
    busy = activity().relative(wednesday + minutes * FRAMES_PER_MINUTE)
    wanted = (np.arange(1 << _TIMES_BITS) + 0.5) / (1 << _TIMES_BITS)
    times = np.empty((len(PROFILES), 1 << _TIMES_BITS), dtype=np.int64)
    for row, each in enumerate(busy.T):
        below = np.cumsum(np.minimum(each, 2.0) + 0.25)
        times[row] = np.searchsorted(below / below[-1], wanted) * FRAMES_PER_MINUTE
    return times.ravel()


class Stories:
    """The stories about S subjects: stocks, then currencies."""

    def __init__(self, seed: int, stocks: Sequence[Stock], currencies: Sequence[Currency]) -> None:
        symbols = [stock.symbol for stock in stocks] + [currency.code for currency in currencies]
        self._keys = keys(symbols, "story", seed)
        days = [region(stock.exchange) for stock in stocks] + [each.session for each in currencies]
        self._profiles = np.array([profile(day) for day in days], dtype=np.int64)
        # Of real companies nothing good or bad is told, and so nothing moves.
        self._neutral = np.array([stock.real for stock in stocks] + [False] * len(currencies), dtype=np.bool_)
        vols = [stock.annual_vol * math.sqrt(STOCK_SHARE) for stock in stocks]
        vols += [0.0 if each.peg else each.annual_vol * math.sqrt(CURRENCY_SHARE) for each in currencies]
        self._jump = np.array(vols) * (_SCALE / math.sqrt(DAYS_PER_YEAR) / JUMP_UNIT)
        self._times = _break_times()
        self._days: dict[int, Day] = {}
        self._slopes: dict[int, I64] = {}
        self._fading: dict[int, tuple[I64, I64]] = {}

    def day(self, number: int) -> Day:
        """The stories of day `number` since 1970."""
        if number not in self._days:
            _make_room(self._days, DAYS_KEPT)
            self._days[number] = self._make(number)
        return self._days[number]

    def between(self, first: int, end: int) -> list[Broken]:
        """The stories that break in the frames from `first` to before `end`, the earliest first."""
        found: list[Broken] = []
        for number in range(first // FRAMES_PER_DAY, (end - 1) // FRAMES_PER_DAY + 1):
            day = self.day(number)
            fades = (number + 1 + _FADE_DAYS) * FRAMES_PER_DAY - day.frames
            told = day.exists & (day.frames >= first) & (day.frames < end)
            columns = (
                np.nonzero(told)[1],
                day.frames[told],
                day.sentiment[told],
                day.hashes[told],
                (day.slopes * fades)[told] * JUMP_UNIT,
            )
            found += map(Broken, *(column.tolist() for column in columns))
        return sorted(found, key=lambda story: (story.frame, story.subject))

    def impact(self, frames: I64) -> I64:
        """How far stories have moved log prices at the begins of ascending `frames` of one day.

        i64[frames, S] in JUMP_UNITs; the last frame may be the next day's first.
        """
        first, last = int(frames[0]), int(frames[-1])
        number = first // FRAMES_PER_DAY
        level, slope = self._older(number)
        today, yesterday = self.day(number), self.day(number - 1)
        end = (number + 1 + _FADE_DAYS) * FRAMES_PER_DAY
        for slot in range(SLOTS_PER_DAY):
            begun = today.exists[slot] & (today.frames[slot] < first)
            slopes = np.where(begun, today.slopes[slot], 0)
            level, slope = level + slopes * end, slope + slopes
        moves = level - slope * frames[:, None]
        for slot, subject in zip(
            *np.nonzero(today.exists & (today.frames >= first) & (today.frames < last)), strict=True
        ):
            fading = today.slopes[slot, subject] * (end - frames)
            moves[:, subject] += np.where(frames > today.frames[slot, subject], fading, 0)
        for day in (yesterday, today):
            rising = day.exists & (day.frames < last) & (day.frames > first - _RISE_FRAMES)
            for slot, subject in zip(*np.nonzero(rising), strict=True):
                age = frames - day.frames[slot, subject]
                missing = day.later[slot, subject] * (_RISE_FRAMES - age)
                moves[:, subject] -= np.where((age > 0) & (age < _RISE_FRAMES), missing, 0)
        return moves

    def bursts(self, frame: int) -> F64:
        """How many times more than usual is traded for stories' sake: f64[S], 0 when nothing happens."""
        extra = np.zeros(len(self._keys))
        number = frame // FRAMES_PER_DAY
        for day in (self.day(number - 1), self.day(number)):
            live = day.exists & (day.frames <= frame) & (day.frames > frame - _BURST_FRAMES)
            for slot, subject in zip(*np.nonzero(live), strict=True):
                age = 1.0 + float(frame - day.frames[slot, subject]) / _BURST_SCALE
                extra[subject] += day.bursts[slot, subject] / (age * age)
        return extra

    def _make(self, number: int) -> Day:
        slots = np.arange(number * SLOTS_PER_DAY, (number + 1) * SLOTS_PER_DAY)[:, None]
        hashes = mix64(self._keys + slots.view(np.uint64) * _STEP)
        weekday = (number + 4) % 7  # 1970-01-01 was a Thursday, number 4 from Sunday
        chance = _WEEKEND_CHANCE if weekday in {0, 6} else _CHANCE
        exists = (hashes & _MASK_16) < np.uint64(chance)
        within = (hashes >> _SHIFT_16) & _MASK_16  # a minute, in 65,536 parts
        time = (hashes >> _SHIFT_32) & _MASK_10
        frames = self._times.take(self._profiles * (1 << _TIMES_BITS) + time.view(np.int64))
        frames = frames + ((within.view(np.int64) * FRAMES_PER_MINUTE) >> 16) + number * FRAMES_PER_DAY
        sentiment = _SENTIMENTS.take(((hashes >> _SHIFT_42) & _MASK_10).view(np.int64))
        sentiment = np.where(self._neutral, 0.0, sentiment)
        size = _SIZES.take((hashes >> _SHIFT_52 & _MASK_10).view(np.int64))
        jumps = np.rint(sentiment * size * self._jump * exists).astype(np.int64)
        end = (number + 1 + _FADE_DAYS) * FRAMES_PER_DAY
        return Day(
            hashes=hashes,
            exists=exists,
            frames=frames,
            sentiment=sentiment,
            slopes=jumps // (end - frames),
            later=jumps * _LATER_PERCENT // 100 // _RISE_FRAMES,
            bursts=np.minimum(abs(sentiment) * size * (8.0 * math.sqrt(STOCK_SHARE) * _SCALE), _BURST_MAX),
        )

    def _older(self, number: int) -> tuple[I64, I64]:
        """What the days before day `number` leave to it: level at frame 0 and slope, each i64[S]."""
        if number not in self._fading:
            nothing: I64 = np.zeros(len(self._keys), dtype=np.int64)
            level, slope = self._fading.get(number - 1, (nothing, nothing))
            if number - 1 in self._fading:  # the oldest day's moves have ended
                begun, ended = [number - 1], [number - 1 - _FADE_DAYS]
            else:
                begun, ended = list(range(number - _FADE_DAYS, number)), []
            for sign, days in ((1, begun), (-1, ended)):
                for day in days:
                    slopes = self._slopes_of(day)
                    level = level + slopes * (sign * (day + 1 + _FADE_DAYS) * FRAMES_PER_DAY)
                    slope = slope + slopes * sign
            _make_room(self._fading, 3)
            self._fading[number] = level, slope
        return self._fading[number]

    def _slopes_of(self, number: int) -> I64:
        """The slopes of all of a day's stories about each subject, added up: i64[S]."""
        if number not in self._slopes:
            _make_room(self._slopes, _SLOPES_KEPT)
            day = self._days.get(number) or self._make(number)
            total = day.slopes[0]
            for slopes in day.slopes[1:]:
                total = total + slopes
            self._slopes[number] = total
        return self._slopes[number]


def _make_room(kept: dict[int, Any], most: int) -> None:
    """Forget the oldest until there is room for one more."""
    while len(kept) >= most:
        del kept[next(iter(kept))]
