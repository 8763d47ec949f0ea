"""What can be asked of the market's past, and what is answered: one set of types for whoever answers.

Rows are the market at whole multiples of `database.snapshot_every_s`, and each story once, at its first
millisecond. They come by time, then feed, then name, so that a page can begin after any row. Computed from
the market itself or read from the database (store/), the rows are the same.
"""

from typing import Literal, NamedTuple, Protocol

import msgspec

FeedName = Literal["forex", "stock", "news"]


class ForexRow(msgspec.Struct, gc=False, frozen=True):
    """An exchange rate: a record's fields without type, source and seq."""

    currency_pair: str
    rate: float
    bid: float
    ask: float
    time: str


class StockRow(msgspec.Struct, gc=False, frozen=True):
    """A stock's price; `size` is a function of the market and the time alone."""

    stock_symbol: str
    price: float
    size: int
    bid: float
    ask: float
    time: str


class NewsRow(msgspec.Struct, gc=False, frozen=True):
    """A story as it was first told, at the millisecond from which on it moves prices."""

    stock_symbol: str
    news_item: str
    category: str
    sentiment: float
    story_id: int
    time: str


class Rows(msgspec.Struct, frozen=True):
    """Rows of the three feeds, as `/logs` shows them."""

    forex_exchange_rates: list[ForexRow] = []
    stock_prices: list[StockRow] = []
    stock_news_feed: list[NewsRow] = []

    @property
    def count(self) -> int:
        """Rows of all feeds together."""
        return len(self.forex_exchange_rates) + len(self.stock_prices) + len(self.stock_news_feed)


class Cursor(NamedTuple):
    """A row's place in the order of all rows."""

    ms: int  # since 1970
    feed: int  # its number in `records.FEEDS`
    name: str  # of the pair or the stock; of a story its subject, a space, and its id in 16 digits


class Query(NamedTuple):
    """Rows of [from_ms, to_ms), milliseconds since 1970; `feed` or `instrument` None: of all."""

    feed: FeedName | None
    instrument: str | None  # for news: its subject, a stock's symbol or a currency's code
    from_ms: int
    to_ms: int
    limit: int  # rows of all feeds together
    after: Cursor | None = None  # only rows that come after this one


class Page(NamedTuple):
    """At most `limit` rows, and where the next page begins; None: there are no more."""

    rows: Rows
    next: Cursor | None


class History(Protocol):
    """Whoever answers."""

    async def page(self, query: Query) -> Page:
        """One page; HistoryUnavailableError when there is no answer now."""


class HistoryUnavailableError(Exception):
    """No answer now: the database is down or busy. The message is one line without passwords."""

    def __init__(self, message: str, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
