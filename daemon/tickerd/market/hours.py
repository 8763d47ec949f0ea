"""When each market is open: the exchanges' sessions and the forex week, in frames.

Hours and daylight saving follow rules for ever; holidays and early closes of 2015 to 2040 are in sessions.csv
(made by bench/market_hours.py), other years have none. A change of either needs another MODEL_VERSION. No
clock and no time zones of the machine are asked.
"""

import csv
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.records import FEEDS
from tickerd.schedule import FRAMES_PER_SECOND, Rates, first_ms, frame_of

if TYPE_CHECKING:
    from tickerd.market.universe import Universe

FRAMES_PER_MINUTE = 60 * FRAMES_PER_SECOND
NO_CHANGE_YEARS = 2  # as far as next_change looks ahead; no market is closed for so long
FOREX_WEEK = "forex"

Bools = NDArray[np.bool_]
Frames = NDArray[np.int64]
Minutes = tuple[int, ...]  # open, close, open, close, ... since midnight of the exchange's own time


class Zone(NamedTuple):
    """Minutes from UTC in winter, and the rule of daylight saving, by which clocks go one hour ahead."""

    standard: int
    rule: str


class Rule(NamedTuple):
    """An exchange's ordinary hours from a date on, Monday to Friday."""

    since: str
    zone: Zone
    hours: str


_NEW_YORK, _LONDON, _PARIS = Zone(-300, "us"), Zone(0, "eu"), Zone(60, "eu")
_TOKYO, _SEOUL, _HONG_KONG, _SYDNEY = Zone(540, ""), Zone(540, ""), Zone(480, ""), Zone(600, "au")

_CONTINENT = (Rule("", _PARIS, "09:00-17:30"),)
_AMERICA = (Rule("", _NEW_YORK, "09:30-16:00"),)
RULES: dict[str, tuple[Rule, ...]] = {
    "XNYS": _AMERICA,  # New York
    "XNAS": _AMERICA,  # Nasdaq
    "XTSE": _AMERICA,  # Toronto
    "XLON": (Rule("", _LONDON, "08:00-16:30"),),
    "XETR": _CONTINENT,  # Xetra
    "XPAR": _CONTINENT,  # Paris
    "XAMS": _CONTINENT,  # Amsterdam
    "XMIL": _CONTINENT,  # Milan
    "XMAD": _CONTINENT,  # Madrid
    "XSWX": _CONTINENT,  # Zurich
    "XSTO": _CONTINENT,  # Stockholm
    "XTKS": (
        Rule("", _TOKYO, "09:00-11:30 12:30-15:00"),
        Rule("2024-11-05", _TOKYO, "09:00-11:30 12:30-15:30"),
    ),
    "XKRX": (Rule("", _SEOUL, "09:00-15:00"), Rule("2016-08-01", _SEOUL, "09:00-15:30")),
    "XHKG": (Rule("", _HONG_KONG, "09:30-12:00 13:00-16:00"),),
    "XASX": (Rule("", _SYDNEY, "10:00-16:00"),),
}
EXCHANGES = tuple(RULES)
"""ISO 10383 codes of the exchanges whose hours are known."""


class Hours:
    """Which instruments are open: pairs and currencies in the forex week, stocks by their exchange."""

    def __init__(self, universe: "Universe", only: str | None = None) -> None:
        """With `only`, every instrument and feed counts as open when that instrument is."""
        markets = [FOREX_WEEK] * len(universe.pairs)
        markets += [stock.exchange for stock in universe.stocks]
        markets += [FOREX_WEEK] * len(universe.currencies)
        if only is not None:
            markets = [markets[universe.instruments.index(only)]] * len(markets)
        self._markets = sorted(set(markets))
        self._rows = np.array([self._markets.index(market) for market in markets])
        every = list(range(len(self._markets)))
        exchanges = [n for n in every if self._markets[n] != FOREX_WEEK]
        week = [n for n in every if self._markets[n] == FOREX_WEEK]
        self._feeds = (week or every, exchanges or every, every)  # news is about stocks and currencies
        assert len(self._feeds) == len(FEEDS)
        self._stretch: tuple[int, int, list[bool]] = (0, 0, [])  # frames between changes; the feeds

    def open(self, frame: int) -> Bools:
        """Whether each instrument is open in a frame: bool[instruments]."""
        opened: Bools = self._open_markets(np.array([frame]))[0, self._rows]
        return opened

    def open_frames(self, frames: Frames) -> Bools:
        """The same for many frames: bool[frames, instruments]."""
        opened: Bools = self._open_markets(frames)[:, self._rows]
        return opened

    def last_open_ms(self, times_ms: Frames) -> Frames:
        """When each instrument was last open, at these times at the latest: i64[times, instruments], ms."""
        frames = frame_of(times_ms)
        last = np.empty((len(times_ms), len(self._markets)), dtype=np.int64)
        for year in np.unique(_years(frames)).tolist():
            chosen = np.flatnonzero(_years(frames) == year)
            for column, market in enumerate(self._markets):
                edges = _edges(market, year)
                passed = np.searchsorted(edges, frames[chosen], side="right")
                # The millisecond before that of the last closing, where it is not open now.
                closed = first_ms(edges.take(passed - 1)) - 1
                last[chosen, column] = np.where(passed & 1, times_ms[chosen], closed)
        return last[:, self._rows]

    def feed_open(self, feed: int, frame: int) -> bool:
        """Whether any instrument of a feed (by its number in records.FEEDS) is open in a frame."""
        return bool(self.feed_open_frames(feed, np.array([frame]))[0])

    def feed_open_frames(self, feed: int, frames: Frames) -> Bools:
        """The same for many frames: bool[frames]."""
        opened: Bools = np.any(self._open_markets(frames)[:, self._feeds[feed]], axis=1)
        return opened

    def next_change(self, frame: int) -> int:
        """The first frame after this one at which a market opens or closes."""
        changes = []
        for market in self._markets:
            year = _year(frame)
            for later in range(NO_CHANGE_YEARS):
                edges = _edges(market, year + later)
                following = int(np.searchsorted(edges, frame, side="right"))
                if following < len(edges):
                    changes.append(int(edges[following]))
                    break
        return min(changes)

    def rates(self, rates: Rates, frame: int) -> Rates:
        """What is left of rates in a frame when feeds that are wholly closed have none."""
        start, stop, opened = self._stretch
        if not start <= frame < stop:
            opened = [self.feed_open(feed, frame) for feed in range(len(FEEDS))]
            self._stretch = (frame, self.next_change(frame), opened)
        forex, stock, news = opened
        return Rates(rates.forex * forex, rates.stock * stock, rates.news * news)

    def _open_markets(self, frames: Frames) -> Bools:
        """bool[frames, markets]."""
        opened = np.zeros((len(frames), len(self._markets)), dtype=bool)
        years = _years(frames)
        for year in np.unique(years).tolist():
            chosen = years == year
            for column, market in enumerate(self._markets):
                edges = _edges(market, year)
                opened[chosen, column] = np.searchsorted(edges, frames[chosen], side="right") & 1
        return opened


def _years(frames: Frames) -> NDArray[np.int64]:
    seconds = frames // FRAMES_PER_SECOND
    return seconds.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970


def _year(frame: int) -> int:
    return datetime.fromtimestamp(frame // FRAMES_PER_SECOND, UTC).year


@lru_cache(maxsize=256)
def _edges(market: str, year: int) -> Frames:
    """Where a market opens and closes, in turn, over a year and a month on both sides of it: frames."""
    minutes: list[int] = []
    day, end = date(year - 1, 12, 1), date(year + 1, 2, 1)
    while day < end:
        for local, offset in _session(market, day):
            minutes.append((day - date(1970, 1, 1)).days * 1440 + local - offset)
        day += timedelta(days=1)
    return np.array(minutes, dtype=np.int64) * FRAMES_PER_MINUTE


def _session(market: str, day: date) -> list[tuple[int, int]]:
    """(minute since local midnight, minutes from UTC) of each opening and closing in that day's session."""
    if market == FOREX_WEEK:  # from Sunday 17:00 to Friday 17:00 in New York, whichever offset each has
        if day.weekday() != 6:
            return []
        ends = day + timedelta(days=5)
        return [(17 * 60, _offset(_NEW_YORK, day)), (5 * 1440 + 17 * 60, _offset(_NEW_YORK, ends))]
    rules = [rule for rule in RULES[market] if rule.since <= day.isoformat()]
    ordinary = rules[-1].hours if day.weekday() < 5 else ""
    hours = _exceptions().get((market, day.isoformat()), ordinary)
    offset = _offset(rules[-1].zone, day)
    return [(minute, offset) for minute in minutes_of(hours)]


def minutes_of(hours: str) -> Minutes:
    """ "09:00-11:30 12:30-15:00" as minutes since midnight: 540, 690, 750, 900."""
    times = hours.replace("-", " ").split()
    return tuple(int(time[:2]) * 60 + int(time[3:]) for time in times)


@lru_cache(maxsize=1)
def _exceptions() -> dict[tuple[str, str], str]:
    """Hours of (exchange, day) where they are not the ordinary ones; empty when closed."""
    text = (files("tickerd.market") / "sessions.csv").read_text(encoding="ascii")
    return {(row["exchange"], row["day"]): row["hours"] for row in csv.DictReader(text.splitlines())}


def _offset(zone: Zone, day: date) -> int:
    """Minutes from UTC in the afternoon of a local day (clocks change in the night before)."""
    return zone.standard + 60 * _is_summer(zone.rule, day)


def _is_summer(rule: str, day: date) -> bool:
    year = day.year
    if rule == "us":  # since 2007
        return _sunday(year, 3, 2) <= day < _sunday(year, 11, 1)
    if rule == "eu":  # since 1996
        return _sunday(year, 3, -1) <= day < _sunday(year, 10, -1)
    if rule == "au":  # since 2008, south of the equator
        return not _sunday(year, 4, 1) <= day < _sunday(year, 10, 1)
    return False


@lru_cache(maxsize=64)
def _sunday(year: int, month: int, number: int) -> date:
    """The first, second ... Sunday of a month, or with -1 its last (of months with 31 days)."""
    if number < 0:
        last = date(year, month, 31)
        return last - timedelta(days=(last.weekday() + 1) % 7)
    first = date(year, month, 1)
    return first + timedelta(days=6 - first.weekday() + 7 * (number - 1))
