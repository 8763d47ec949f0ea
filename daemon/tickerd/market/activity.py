"""How busy each kind of instrument is at any time: profiles of a week, shifted by daylight saving.

Activity is the clock in which prices move. It is whole numbers throughout, the same in every week of ever but
for the hour that daylight saving moves; holidays are as busy as other days. It opens and closes nothing.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.market.exactmath import F64
from tickerd.schedule import FRAMES_PER_SECOND

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

MINUTES_PER_DAY, MINUTES_PER_WEEK = 1440, 10_080
FRAMES_PER_MINUTE = 60 * FRAMES_PER_SECOND
FRAMES_PER_DAY = MINUTES_PER_DAY * FRAMES_PER_MINUTE
FRAMES_PER_WEEK = MINUTES_PER_WEEK * FRAMES_PER_MINUTE
_MEAN = 1024  # of the activity of every profile, over a week
_FIRST_SUNDAY = 3  # days from 1970-01-01, a Thursday

# Rules of daylight saving: none, the United States', the European Union's.
_NONE, _US, _EU = range(3)


class _Exchange(NamedTuple):
    offset_minutes: int  # of standard time from UTC
    rule: int
    sessions: tuple[tuple[int, int], ...]  # in minutes of the local day


_EXCHANGES = {
    "new_york": _Exchange(-300, _US, ((570, 960),)),
    "london": _Exchange(0, _EU, ((480, 990),)),
    "frankfurt": _Exchange(60, _EU, ((540, 1050),)),
    "tokyo": _Exchange(540, _NONE, ((540, 690), (750, 930))),
    "hong_kong": _Exchange(480, _NONE, ((570, 720), (780, 960))),
}
_EXCHANGES_OF = {
    "XNYS": "new_york",
    "XNAS": "new_york",
    "ARCX": "new_york",
    "XLON": "london",
    "XETR": "frankfurt",
    "XPAR": "frankfurt",
    "XAMS": "frankfurt",
    "XMIL": "frankfurt",
    "XMAD": "frankfurt",
    "XSWX": "frankfurt",
    "XTKS": "tokyo",
    "XHKG": "hong_kong",
}
# Currencies: weights of the Asian, European and American day in each one's trading.
_CURRENCIES = {"asia": (1.0, 0.5, 0.5), "europe": (0.25, 1.0, 0.75), "america": (0.35, 0.7, 1.0)}
_FX_DAYS = ((540, _NONE, 480, 1080), (0, _EU, 420, 1020), (-300, _US, 450, 1020))
_FX_CLOSE = 17 * 60  # in New York, on Friday; it opens at the same time on Sunday
_FX_FLOOR, _FX_WEEKEND = 0.22, 0.02


def region(exchange: str) -> str:
    """The profile of an exchange by its ISO 10383 code; of New York where the exchange is not known."""
    return _EXCHANGES_OF.get(exchange, "new_york")


@cache
def activity() -> "Activity":
    """The one there is: building its tables takes some milliseconds."""
    return Activity()


class Activity:
    """The activity of all profiles; profiles are numbered as in `PROFILES`."""

    def __init__(self) -> None:
        weeks = [_week(summer) for summer in (False, True)]
        self._rates = np.concatenate(weeks).ravel()  # [summer, minute, profile] of a frame
        totals = np.zeros((2, MINUTES_PER_WEEK + 1, len(PROFILES)), dtype=np.int64)
        for total, week in zip(totals, weeks, strict=True):
            np.cumsum(week * FRAMES_PER_MINUTE, axis=0, out=total[1:])
        self._totals = totals.ravel()  # [summer, minute + end, profile]
        self._profiles = np.arange(len(PROFILES))
        self._week = _MEAN * FRAMES_PER_WEEK
        self._rules = np.array([_rule(name) for name in PROFILES])

    def cumulative(self, frames: I64, profiles: I64) -> I64:
        """Activity from the first Sunday of 1970 to each frame: i64[..., profiles], strictly growing."""
        week, frame = np.divmod(frames - _FIRST_SUNDAY * FRAMES_PER_DAY, FRAMES_PER_WEEK)
        minute, frame = np.divmod(frame, FRAMES_PER_MINUTE)
        summer = self._summer(week, profiles)
        place = summer * MINUTES_PER_WEEK + minute[..., None]
        rates = self._rates.take(place * len(PROFILES) + profiles)
        totals = self._totals.take((place + summer) * len(PROFILES) + profiles)
        result: I64 = week[..., None] * self._week + totals + rates * frame[..., None]
        return result

    def relative(self, frames: I64) -> F64:
        """Activity at each frame beside its mean over a week: f64[..., profiles]."""
        week, frame = np.divmod(frames - _FIRST_SUNDAY * FRAMES_PER_DAY, FRAMES_PER_WEEK)
        place = (
            self._summer(week, self._profiles) * MINUTES_PER_WEEK + (frame // FRAMES_PER_MINUTE)[..., None]
        )
        result: F64 = self._rates.take(place * len(PROFILES) + self._profiles) / _MEAN
        return result

    def _summer(self, weeks: I64, profiles: I64) -> I64:
        """Whether daylight saving holds in each profile's weeks from Sunday 0:00 UTC on: [..., profiles]."""
        # Clocks change in the night before trading begins on the weekend's Sunday, so the date of a week's
        # Sunday decides for the week: the US on the second of March and the first of November, the EU on
        # the last of March and of October.
        days = weeks * 7 + _FIRST_SUNDAY
        dates = days.astype("datetime64[D]")
        months = dates.astype("datetime64[M]")
        day = (dates - months.astype("datetime64[D]")).astype(np.int64) + 1
        month = months.astype(np.int64) % 12 + 1
        us = (month > 3) & (month < 11) | (month == 3) & (day > 7)
        eu = (month > 3) & (month < 10) | (month == 3) & (day > 24) | (month == 10) & (day < 25)
        flags = np.stack([us & False, us, eu], axis=-1).astype(np.int64)
        return flags.take(self._rules.take(profiles), axis=-1)


PROFILES = (*_EXCHANGES, *_CURRENCIES, "world")
"""Names of the profiles: exchanges, then the days of currencies, then all stocks' together."""


def _rule(name: str) -> int:
    if name in _EXCHANGES:
        return _EXCHANGES[name].rule
    return _EU if name == "europe" else _US


def _week(summer: bool) -> I64:
    """Activity of a week's minutes from Sunday 0:00 UTC on: i64[10,080, profiles], `_MEAN` on average."""
    zones = {(each.offset_minutes, each.rule) for each in _EXCHANGES.values()}
    zones |= {(offset, rule) for offset, rule, _, _ in _FX_DAYS}
    locals_ = {zone: _local(*zone, summer) for zone in zones}
    stocks = [_stocks(each, *locals_[each.offset_minutes, each.rule]) for each in _EXCHANGES.values()]
    days = [_forex_day(locals_[offset, rule][1], start, end) for offset, rule, start, end in _FX_DAYS]
    weekday, minute = locals_[-300, _US]
    closed = (weekday == 6) | (weekday == 5) & (minute >= _FX_CLOSE) | (weekday == 0) & (minute < _FX_CLOSE)
    forex = [_forex(weights, days, closed) for weights in _CURRENCIES.values()]
    world = stocks[0] * 3.0 + stocks[1] * 0.5 + stocks[2] + stocks[3] + stocks[4] * 0.5 + 0.2
    return np.stack([_whole(wanted) for wanted in (*stocks, *forex, world)], axis=1)


def _whole(wanted: F64) -> I64:
    """Whole numbers that add up exactly: the differences of a rounded total."""
    total = np.cumsum(wanted)
    total = np.rint(total / total[-1] * (_MEAN * MINUTES_PER_WEEK)).astype(np.int64)
    rates: I64 = np.diff(total, prepend=0)
    return rates


def _local(offset_minutes: int, rule: int, summer: bool) -> tuple[I32, I32]:
    """Weekday (0: Sunday) and minute of the day there, for each minute of a week in UTC."""
    moved = np.arange(MINUTES_PER_WEEK, dtype=np.int32) + (offset_minutes + 60 * (summer and rule != _NONE))
    moved %= MINUTES_PER_WEEK
    weekday = moved // MINUTES_PER_DAY
    return weekday, moved - weekday * MINUTES_PER_DAY


def _stocks(exchange: _Exchange, weekday: I32, minute: I32) -> F64:
    """A U within each session, little before and after, least at night and on the weekend."""
    opening, closing = exchange.sessions[0][0], exchange.sessions[-1][1]
    activity = np.full(len(minute), 0.06)
    activity[(minute >= opening - 330) & (minute < opening)] = 0.2
    activity[(minute >= closing) & (minute < closing + 240)] = 0.15
    for start, end in exchange.sessions:
        inside = (minute >= start) & (minute < end)
        since, until = (minute[inside] - start) / 20.0 + 1.0, (end - minute[inside]) / 20.0 + 1.0
        activity[inside] = 1.0 + 3.2 / (since * since) + 1.9 / (until * until)
    activity[(weekday == 0) | (weekday == 6)] = 0.03
    return activity


def _forex_day(minute: I32, start: int, end: int) -> tuple[NDArray[np.bool_], F64, F64]:
    """The minutes of one centre's day, and how it rises and falls in them."""
    inside = (minute >= start) & (minute < end)
    since, until = (minute[inside] - start) / 45.0 + 1.0, (end - minute[inside]) / 90.0 + 1.0
    return inside, 1.0 + 0.5 / since, 1.0 - 0.6 / until


def _forex(
    weights: tuple[float, ...],
    days: list[tuple[NDArray[np.bool_], F64, F64]],
    closed: NDArray[np.bool_],
) -> F64:
    """The days of Tokyo, London and New York on a floor, between New York's Sunday and Friday afternoon."""
    activity = np.full(len(closed), _FX_FLOOR)
    for weight, (inside, rise, fall) in zip(weights, days, strict=True):
        activity[inside] += weight * rise * fall
    activity[closed] = _FX_WEEKEND
    return activity


def profile(name: str) -> int:
    """The number of a profile by the name of an exchange's region or of a currency's session."""
    return PROFILES.index(name)
