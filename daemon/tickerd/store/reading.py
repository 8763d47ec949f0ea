"""Pages of the market's past from the tables: at most four at a time, none for longer than two seconds."""

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import Column, Select, Table, bindparam, select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine

from tickerd.history import Cursor, ForexRow, HistoryUnavailableError, NewsRow, Page, Query, Rows, StockRow
from tickerd.market.catalogue import SYMBOL
from tickerd.records import FEEDS
from tickerd.store.connection import ERRORS, READERS_MAX
from tickerd.store.tables import forex_exchange_rates, stock_news_feed, stock_prices

PAGE_S = 2.0
LAST_MS = 253_402_300_799_999
DENSEST_FIRST = (1, 0, 2)
"""The feeds by how many rows they have a minute: a page that one of them fills bounds the others."""
STORY_DIGITS = 16
"""Of a story's number in a cursor's name, so that names sort as numbers do."""

Row = ForexRow | StockRow | NewsRow


class Found(NamedTuple):
    """A row and its place."""

    place: Cursor
    row: Row


class DatabaseHistory:
    """Answers from the tables. `market` says which market's rows are asked for at the moment."""

    def __init__(self, engine: AsyncEngine, market: Callable[[], str]) -> None:
        self._engine = engine
        self._market = market
        self._free = asyncio.Semaphore(READERS_MAX)

    async def page(self, query: Query) -> Page:
        """One page; HistoryUnavailableError when there is no answer in time."""
        if not _can_be(query):
            return Page(Rows(), None)
        try:
            async with asyncio.timeout(PAGE_S), self._free:
                return await self._page(query)
        except ERRORS as error:
            busy = isinstance(error, TimeoutError)
            why = "did not answer in time" if busy else "gives no answer now"
            raise HistoryUnavailableError(f"the database {why}; see /status") from error

    async def _page(self, query: Query) -> Page:
        found: list[list[Found]] = []
        async with self._engine.connect() as connection:
            for number in DENSEST_FIRST:
                if query.feed in {None, FEEDS[number]}:
                    statement = _statement(number, self._market(), query)
                    rows = (await connection.execute(statement)).all()
                    found.append(_FOUND[number](rows))
                    if len(rows) > query.limit:  # rows of other feeds that come later are not shown either
                        query = query._replace(to_ms=found[-1][-1].place.ms + 1)
        chosen = list(islice(merge(*found, key=lambda each: each.place), query.limit + 1))
        more = len(chosen) > query.limit
        chosen = chosen[: query.limit]
        by_feed: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
        for place, row in chosen:
            by_feed[place.feed].append(row)
        return Page(Rows(*by_feed), chosen[-1].place if more and chosen else None)


_TABLES = (forex_exchange_rates, stock_prices, stock_news_feed)
_KEYS: tuple[tuple[Column[Any], ...], ...] = (
    (forex_exchange_rates.c.currency_pair,),
    (stock_prices.c.stock_symbol,),
    (stock_news_feed.c.stock_symbol, stock_news_feed.c.story_id),
)
"""What orders the rows of one millisecond in each feed; the first of it is the instrument."""


def _can_be(query: Query) -> bool:
    """Whether such rows may exist: what no instrument is named, no database has to be asked for."""
    if query.instrument is not None and not re.fullmatch(SYMBOL, query.instrument):
        return False
    if query.after is None:
        return True
    story = query.after.feed < 2 or re.fullmatch(rf".* [0-9]{{{STORY_DIGITS}}}", query.after.name)
    return bool(story) and query.after.name.isascii() and query.after.name.isprintable()


def _statement(number: int, market: str, query: Query) -> Select[Any]:
    """The rows of one feed, in order, one more than may be shown."""
    table, key = _TABLES[number], _KEYS[number]
    statement = (
        select(*list(table.columns)[1:])  # all but the market
        .where(table.c.market == market)
        .where(table.c.time >= _within(query.from_ms), table.c.time < _within(query.to_ms))
        .order_by(table.c.time, *key)
        .limit(query.limit + 1)
    )
    if query.instrument is not None:
        statement = statement.where(key[0] == query.instrument)
    if query.after is not None:
        statement = _after(statement, table, number, query.after)
    return statement


def _within(ms: int) -> int:
    """A moment from 1970 to 9999, which every database knows."""
    return min(max(ms, 0), LAST_MS)


def _after(statement: Select[Any], table: Table, number: int, after: Cursor) -> Select[Any]:
    """Only rows whose place comes after that one."""
    if number < after.feed:
        return statement.where(table.c.time > _within(after.ms))
    if number > after.feed:
        return statement.where(table.c.time >= _within(after.ms))
    key = _KEYS[number]
    name: list[Any] = [after.name]
    if len(key) > 1:
        subject, _, story = after.name.rpartition(" ")
        name = [subject, int(story)]
    values = [
        bindparam(None, value, column.type)
        for value, column in zip([_within(after.ms), *name], (table.c.time, *key), strict=True)
    ]
    return statement.where(tuple_(table.c.time, *key) > tuple_(*values))


def _forex(rows: Sequence[Any]) -> list[Found]:
    return [
        Found(Cursor(ms, 0, pair), ForexRow(pair, rate, bid, ask, _time(ms)))
        for ms, pair, rate, bid, ask in rows
    ]


def _stocks(rows: Sequence[Any]) -> list[Found]:
    return [
        Found(Cursor(ms, 1, symbol), StockRow(symbol, price, size, bid, ask, _time(ms)))
        for ms, symbol, price, size, bid, ask in rows
    ]


def _news(rows: Sequence[Any]) -> list[Found]:
    return [
        Found(
            Cursor(ms, 2, f"{symbol} {story:0{STORY_DIGITS}}"),
            NewsRow(symbol, item, category, sentiment, story, _time(ms)),
        )
        for story, symbol, item, category, sentiment, ms in rows
    ]


_FOUND = (_forex, _stocks, _news)


@lru_cache(64)
def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).isoformat()[:19] + f".{ms % 1000:03d}Z"
