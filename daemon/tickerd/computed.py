"""Pages of the market's past, made from the market itself: what answers where no database does.

Any time costs the same, so nothing bounds how far back it goes; one page is bounded by its rows and its time.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from tickerd.history import (
    Cursor,
    ForexRow,
    HistoryUnavailableError,
    NewsRow,
    Page,
    Query,
    Rows,
    StockRow,
)
from tickerd.market.feed import FOREX, NEWS, STOCK
from tickerd.records import FEEDS
from tickerd.snapshots import Snapshots

PAGE_S = 2.0
ROWS_AT_ONCE = 4096
NEWS_CHUNK_MS = 7 * 86_400_000

Row = ForexRow | StockRow | NewsRow
Found = tuple[Cursor, Row]


class ComputedHistory:
    """Answers from the market that `snapshots` has, at multiples of `every_s`, in the threads of `pool`."""

    def __init__(self, pool: ThreadPoolExecutor, snapshots: Callable[[], Snapshots], every_s: int) -> None:
        self._pool = pool
        self._snapshots = snapshots
        self._every_ms = every_s * 1000

    async def page(self, query: Query) -> Page:
        """One page; HistoryUnavailableError when it is not made in time."""
        ends_s = time.monotonic() + PAGE_S
        making = asyncio.get_running_loop().run_in_executor(self._pool, self._page, query, ends_s)
        try:
            async with asyncio.timeout(PAGE_S):
                return await making
        except TimeoutError:
            raise HistoryUnavailableError("too much is being computed", retry_after_s=1) from None

    def _page(self, query: Query, ends_s: float) -> Page:
        found = list(islice(self._found(self._snapshots(), query, ends_s), query.limit + 1))
        more = len(found) > query.limit
        found = found[: query.limit]
        rows = Rows(
            [row for _, row in found if isinstance(row, ForexRow)],
            [row for _, row in found if isinstance(row, StockRow)],
            [row for _, row in found if isinstance(row, NewsRow)],
        )
        return Page(rows, found[-1][0] if more else None)

    def _found(self, snapshots: Snapshots, query: Query, ends_s: float) -> Iterator[Found]:
        """The rows from the query's begin on, in their order, in chunks of time."""
        after = query.after or Cursor(-1, 0, "")
        begin = max(query.from_ms, after.ms)
        chunk_ms = self._chunk_ms(snapshots, query)
        while begin < query.to_ms:
            if time.monotonic() > ends_s:
                raise HistoryUnavailableError("this page takes too long to compute; ask for less time")
            end = min(begin + chunk_ms, query.to_ms)
            chunk = [*self._quoted(snapshots, query, begin, end), *_stories(snapshots, query, begin, end)]
            yield from (each for each in sorted(chunk, key=_place) if each[0] > after)
            begin = end

    def _chunk_ms(self, snapshots: Snapshots, query: Query) -> int:
        if query.feed == "news" or (query.instrument and query.instrument not in snapshots.quoted):
            return NEWS_CHUNK_MS
        names = 1 if query.instrument else len(snapshots.pairs) + len(snapshots.stocks)
        times = min(ROWS_AT_ONCE, query.limit) // names + 1
        return times * self._every_ms

    def _quoted(self, snapshots: Snapshots, query: Query, begin: int, end: int) -> Iterator[Found]:
        """Rows of pairs and stocks at the whole multiples from `begin` to before `end`."""
        name = query.instrument
        if query.feed == "news" or (name and name not in snapshots.quoted):
            return
        times = range(-(-begin // self._every_ms) * self._every_ms, end, self._every_ms)
        if not times:
            return
        standing = snapshots.standing(times, name)
        for number, ms in enumerate(times):
            forex, stocks = snapshots.rows(ms, standing, number, name)
            if query.feed in {None, FEEDS[FOREX]}:
                yield from ((Cursor(ms, FOREX, row.currency_pair), row) for row in forex)
            if query.feed in {None, FEEDS[STOCK]}:
                yield from ((Cursor(ms, STOCK, row.stock_symbol), row) for row in stocks)


def story_name(row: NewsRow) -> str:
    """The name of a story's row in a cursor: by subject, then by number."""
    return f"{row.stock_symbol} {row.story_id:016}"


def _stories(snapshots: Snapshots, query: Query, begin: int, end: int) -> Iterator[Found]:
    subject = query.instrument
    if query.feed not in {None, FEEDS[NEWS]} or (subject and subject not in snapshots.subjects):
        return
    for ms, row in snapshots.stories(begin, end, subject):
        yield Cursor(ms, NEWS, story_name(row)), row


def _place(found: Found) -> Cursor:
    return found[0]
