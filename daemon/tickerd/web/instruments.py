"""What the page shows of the market: instruments, prices of a moment, a chart, and the stories that move it.

All of it is computed beside the event loop: by one thread for the moment, whose market is its own, and by one
for charts, which may take their time. Nothing here asks a worker or a database.
"""

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tickerd.checkpoint import Recipe
from tickerd.market.hours import Hours
from tickerd.market.market import Market
from tickerd.market.stories import Broken, Stories
from tickerd.market.universe import Universe
from tickerd.recipe import market_of
from tickerd.schedule import FRAMES_PER_SECOND, first_ms, frame_of
from tickerd.snapshots import Snapshots

DAY_MS = 86_400_000
QUOTED_MAX = 1_000  # instruments with a price in each event: of a larger universe the first ones
STORIES_SHOWN = 40
STORIES_SPAN_S = 86_400
CHART_POINTS, CHART_POINTS_MAX = 360, 600
CHART_SPAN_S = 3600
CHART_INSTRUMENTS_MAX = 40
CHART_SPAN_MIN_S, CHART_SPAN_MAX_S = 60, 31 * 86_400
CHARTS_KEPT = 64
CHART_KEPT_S = 10  # so long one is given to whoever asks: its end lags behind by as much at most
CHARTS_WAITING_MAX = 32  # more are refused: one is drawn after the other

Json = dict[str, Any]
Result = TypeVar("Result")


class BusyError(Exception):
    """Too many wait for a chart already."""


class Chart(NamedTuple):
    """What a chart is of; the same one is computed once."""

    instruments: tuple[str, ...]
    span_s: int
    points: int
    end_s: int  # seconds since 1970, a multiple of CHART_KEPT_S


class Instruments:
    """The market of one run, for many readers. `close` it after use."""

    def __init__(self, recipe: Recipe, universe: Universe) -> None:
        self.recipe = recipe
        self._universe = universe
        self._seed = recipe.seed
        self._live = ThreadPoolExecutor(1, thread_name_prefix="page-live")
        self._charts = ThreadPoolExecutor(1, thread_name_prefix="page-charts")
        self._last = (b"", np.zeros(0))  # prices of what is closed, and when each of it was open last
        self._waiting = 0
        self._quoted = len(universe.pairs) + len(universe.stocks)
        self.names = universe.instruments[: self._quoted]  # of what has a price
        self._shown = min(self._quoted, QUOTED_MAX)
        self._stories = Stories(self._seed, universe.stocks, universe.currencies)
        self._names = [(stock.symbol, stock.name) for stock in universe.stocks]
        self._names += [(currency.code, currency.name) for currency in universe.currencies]
        self._drawn = lru_cache(CHARTS_KEPT)(self._draw)

    def close(self) -> None:
        """Let the threads end, when they have done what they were given; nothing more may be asked for."""
        for thread in (self._live, self._charts):
            thread.shutdown(wait=False)

    async def catalogue(self, now_ms: int) -> Json:
        """What a reader has to know once a day: names, decimals, prices at midnight (UTC), recent stories."""
        return await _in(self._live, partial(self._catalogue, now_ms))

    async def moment(self, after_ms: int, now_ms: int) -> Json:
        """Prices now, in the catalogue's order, which are closed, and the stories since `after_ms`."""
        return await _in(self._live, partial(self._moment, after_ms, now_ms))

    async def chart(self, instruments: tuple[str, ...], span_s: int, points: int) -> Json:
        """Prices of the last `span_s` seconds in `points` steps, with the stories that move them.

        They are of `names`. BusyError when too many wait.
        """
        end_s = int(time.time()) // CHART_KEPT_S * CHART_KEPT_S
        if self._waiting >= CHARTS_WAITING_MAX:
            raise BusyError
        self._waiting += 1
        try:
            return await _in(self._charts, partial(self._drawn, Chart(instruments, span_s, points, end_s)))
        finally:
            self._waiting -= 1

    # In the threads.

    @cached_property
    def _market(self) -> Market:
        return Market(self._seed, self._universe)

    @cached_property
    def _hours(self) -> Hours | None:
        return Hours(self._universe) if self.recipe.hours == "market" else None

    @cached_property
    def _snapshots(self) -> Snapshots:
        return Snapshots(market_of(self.recipe, self._universe))

    def _prices(self, ms: int) -> list[float]:
        """Of what is open now; what is closed has its last one, which is worked out when anything closes."""
        prices = self._market.quotes(ms).price
        if self._hours is not None:
            opened_ms = self._hours.last_open_ms(np.array([ms]))[0, : self._quoted]
            closed = opened_ms < ms
            when = np.where(closed, opened_ms, 0).tobytes()
            if when != self._last[0]:
                self._last = (when, self._snapshots.standing([ms]).price[0])
            prices = np.where(closed, self._last[1], prices)
        shown: list[float] = prices[: self._shown].tolist()
        return shown

    def _closed(self, ms: int) -> list[int]:
        """The instruments that are not traded at a time, by their places in the catalogue."""
        if self._hours is None:
            return []
        closed: list[int] = np.flatnonzero(~self._hours.open(frame_of(ms))[: self._shown]).tolist()
        return closed

    def _catalogue(self, now_ms: int) -> Json:
        universe = self._universe
        midnight_ms = now_ms // DAY_MS * DAY_MS
        names = {currency.code: currency.name for currency in universe.currencies}
        pairs = [
            {"name": _capital(f"{names[pair.base]} / {names[pair.quote]}"), "exchange": ""}
            for pair in universe.pairs
        ]
        stocks = [{"name": stock.name, "exchange": stock.exchange} for stock in universe.stocks]
        decimals = [pair.decimals for pair in universe.pairs] + [stock.decimals for stock in universe.stocks]
        return {
            "day_ms": midnight_ms,
            "pairs": min(len(pairs), self._shown),
            "instruments": [
                {"symbol": symbol, "decimals": places, **about}
                for symbol, places, about in zip(
                    universe.instruments, decimals, [*pairs, *stocks], strict=False
                )
            ][: self._shown],
            "left_out": self._quoted - self._shown,
            "midnight": self._prices(midnight_ms),
            "stories": self._told(now_ms - STORIES_SPAN_S * 1000, now_ms)[-STORIES_SHOWN:],
        }

    def _moment(self, after_ms: int, now_ms: int) -> Json:
        return {
            "prices": self._prices(now_ms),
            "closed": self._closed(now_ms),
            "stories": self._told(after_ms, now_ms),
        }

    def _told(self, after_ms: int, until_ms: int) -> list[Json]:
        first, end = _frame_after(after_ms), _frame_after(until_ms)
        if first >= end:
            return []
        stocks = len(self._universe.stocks)
        return [
            self._story(each, *self._names[each.subject], macro=each.subject >= stocks)
            for each in self._stories.between(first, end)
        ]

    def _story(self, story: Broken, symbol: str, name: str, *, macro: bool) -> Json:
        text, category = self._universe.headline(macro, story.sentiment, name, story.words)
        return {
            "story_id": story.words >> 12,
            "time_ms": int(first_ms(story.frame)),
            "symbol": symbol,
            "news_item": text,
            "category": category,
            "sentiment": story.sentiment,
            "move_percent": round(100 * math.expm1(story.move), 3),
        }

    def _draw(self, chart: Chart) -> Json:
        step_s = max(1, chart.span_s // chart.points)
        seconds = chart.end_s - np.arange(chart.points, -1, -1) * step_s
        prices = {
            name: self._snapshots.standing(seconds * 1000, name).price[:, 0].tolist()
            for name in chart.instruments
        }
        stories: list[Json] = []
        if len(chart.instruments) == 1:
            row = self._universe.instruments.index(chart.instruments[0])
            stories = self._moving(row, int(seconds[0]) * FRAMES_PER_SECOND, chart.end_s * FRAMES_PER_SECOND)
        return {"seconds": seconds.tolist(), "prices": prices, "stories": stories}

    def _moving(self, row: int, first: int, end: int) -> list[Json]:
        """The stories about a stock, or about either currency of a pair."""
        universe = self._universe
        stocks = [universe.stocks[row - len(universe.pairs)]] if row >= len(universe.pairs) else []
        codes = () if stocks else (universe.pairs[row].base, universe.pairs[row].quote)
        currencies = [currency for code in codes for currency in universe.currencies if currency.code == code]
        names = [(stock.symbol, stock.name) for stock in stocks]
        names += [(currency.code, currency.name) for currency in currencies]
        told = Stories(self._seed, stocks, currencies).between(first, end)
        return [self._story(each, *names[each.subject], macro=not stocks) for each in told]


async def _in(thread: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(thread, work)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _frame_after(ms: int) -> int:
    """The first frame that begins after a time."""
    return ms * FRAMES_PER_SECOND // 1000 + 1
