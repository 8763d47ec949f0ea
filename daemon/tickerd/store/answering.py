"""Pages of the market's past from whoever has them: the database what it holds, the market itself the rest.

The rows are the same; that the database is off, down, or begins later is not seen in an answer.
"""

from tickerd.history import Cursor, History, Page, Query, Rows
from tickerd.store.store import Store

BEFORE_ALL = Cursor(0, 0, "!")
"""Before every row of its millisecond: no name begins with that sign or a lesser one."""


class Answers:
    """The store's pages, and `computed` ones of what it does not hold."""

    def __init__(self, store: Store | None, computed: History) -> None:
        self._store, self._computed = store, computed

    async def page(self, query: Query) -> Page:
        """One page; HistoryUnavailableError when there is no answer in time."""
        until_ms = self._store.holds_until_ms(query) if self._store else None
        if self._store is None or until_ms is None:
            return await self._computed.page(query)
        held = await self._store.page(query._replace(to_ms=min(query.to_ms, until_ms)))
        if held.next is not None or query.to_ms <= until_ms:
            return held
        # What has come since the last snapshot that is stored: rows of a minute or two.
        left = query.limit - held.rows.count
        rest = await self._computed.page(query._replace(from_ms=until_ms, after=None, limit=max(left, 1)))
        if left == 0:
            return Page(held.rows, BEFORE_ALL._replace(ms=until_ms) if rest.rows.count else None)
        return Page(_joined(held.rows, rest.rows), rest.next)


def _joined(first: Rows, then: Rows) -> Rows:
    return Rows(
        first.forex_exchange_rates + then.forex_exchange_rates,
        first.stock_prices + then.stock_prices,
        first.stock_news_feed + then.stock_news_feed,
    )
