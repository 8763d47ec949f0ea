"""The log records that go on the wire: field names, their order and their types, and nothing else.

A record is encoded as it stands here: JSON objects (or MessagePack maps) with `type` first.
"""

import msgspec

RECORD_VERSION = 1
"""Raised when the same (source, seq) would be encoded to other bytes; a raise starts a new run."""

FEEDS = ("forex", "stock", "news")
"""The feeds in the order of their numbers everywhere: in columns, rates, counters and segments."""


# Records hold strings and numbers only, so the garbage collector never needs to look at them: gc=False.
class Forex(msgspec.Struct, gc=False, tag="forex", tag_field="type"):
    """An exchange rate: mid, bid and ask of one currency pair, on the pair's grid of decimals."""

    currency_pair: str
    rate: float
    bid: float
    ask: float
    time: str
    source: str
    seq: int


class Stock(msgspec.Struct, gc=False, tag="stock", tag_field="type"):
    """A trade of one stock: price and size (shares), with the quote it was made at."""

    stock_symbol: str
    price: float
    size: int
    bid: float
    ask: float
    time: str
    source: str
    seq: int


class News(msgspec.Struct, gc=False, tag="news", tag_field="type"):
    """A news item about a stock, or (category "macro") about a currency; sentiment from -1 to 1."""

    stock_symbol: str
    news_item: str
    category: str
    sentiment: float
    story_id: int
    time: str
    source: str
    seq: int


Record = Forex | Stock | News
