"""Records as JSON, joined from pieces that repeat: byte for byte what msgspec makes of their Structs.

Most rows say a quote or a headline that rows before them said: at 400,000 records/s one of 40 is new. Each is
put together once, from symbols and numbers that msgspec wrote once; a row costs looking its pieces up and
joining them. What a record is stays in `records.py`.
"""

from collections.abc import Iterator, Sequence
from struct import pack, unpack
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickerd.batch import Columns, Interleaved, timestamps
from tickerd.piece_texts import BLOCK, DIGITS_BYTES, I64, PieceColumns, PieceTexts, lengths, objects
from tickerd.records import FEEDS, Forex, News, Stock
from tickerd.texts import I32, Objects

FOREX, STOCK, NEWS = (FEEDS.index(feed) for feed in ("forex", "stock", "news"))
FEED_BITS = 2
QUOTES_BITS = 16  # with 15 a third more is new, or lost to others
QUOTES_KEPT = 1 << QUOTES_BITS
NUMBERS_KEPT = 1 << 16
NEWS_KEPT = 1 << 12
SIZES_KEPT = 1 << 14

_encode = msgspec.json.Encoder().encode
_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], dtype=np.uint64
)
_END = b',"time":"","source":"","seq":0}'
_FOREX_END = b'0.0,"bid":0.0,"ask":0.0' + _END
_STOCK_END = b'0.0,"size":0,"bid":0.0,"ask":0.0' + _END
_NOTHING = _encode(Forex("", 0.0, 0.0, 0.0, "", "", 0))
assert _NOTHING.endswith(_FOREX_END), "forex records end so"
assert _encode(Stock("", 0.0, 0, 0.0, 0.0, "", "", 0)).endswith(_STOCK_END), "stock records end so"
assert _encode(News("", "", "", 0.0, 0, "", "", 0)).endswith(_END), "news records end so"


class _Numbers(dict[int, bytes]):
    """The texts of numbers by the bits of the float: 0.0 is not -0.0."""

    def __missing__(self, bits: int) -> bytes:
        if len(self) >= NUMBERS_KEPT:
            self.clear()
        text = self[bits] = _encode(*unpack("d", pack("q", bits)))
        return text


class _Quotes(NamedTuple):
    """What rows of forex and stock say, but for size, time, source and seq: [rows] each."""

    who: I64  # instrument << FEED_BITS | feed
    price: I64  # the bits of the float, as those of the others
    bid: I64
    ask: I64

    def rows(self, rows: I64) -> "_Quotes":
        """Some of them."""
        return _Quotes(*[column[rows] for column in self])


class Pieces:
    """The encoder of batches that have these `symbols`, with what it keeps: some 20 MB at most."""

    def __init__(self, symbols: Objects) -> None:
        self.symbols = symbols
        self._symbol_texts = (  # what records of forex and of stock about each instrument begin with
            [_encode(Forex(each, 0.0, 0.0, 0.0, "", "", 0))[: -len(_FOREX_END)] for each in symbols],
            [_encode(Stock(each, 0.0, 0, 0.0, 0.0, "", "", 0))[: -len(_STOCK_END)] for each in symbols],
        )
        # A record is joined from: start, size (of a stock), middle (of a stock), end, last digits of seq.
        # The places of starts and middles are those of quotes, by hash, then those of news, as they come.
        self._starts = objects([b""] * (QUOTES_KEPT + NEWS_KEPT))
        self._middles = objects([b""] * (QUOTES_KEPT + NEWS_KEPT))
        self._kept = _Quotes(*[np.full(QUOTES_KEPT, -1, dtype=np.int64) for _ in _Quotes._fields])
        self._claims = np.zeros(QUOTES_KEPT, dtype=np.int64)
        self._bytes = np.zeros(QUOTES_KEPT + NEWS_KEPT, dtype=np.int32)  # of start and middle
        self._written = np.zeros(QUOTES_KEPT, dtype=np.bool_)
        self._numbers = _Numbers()
        self._news: dict[tuple[Any, ...], int] = {}
        self._sizes = objects([b""])
        self._size_bytes = lengths(self._sizes)

    def encode(self, rows: Interleaved) -> "PieceTexts":
        """The records of a part of a frame as JSON, in the order of their seq, which is SEQ_MIN at least."""
        # News is the last of the feeds: quotes first, then news is the order of all columns.
        quoted = [columns for columns in rows.columns if columns.feed != NEWS]
        told = [columns for columns in rows.columns if columns.feed == NEWS]
        quotes = _quotes_of(quoted)
        quote_places, lost = self._quote_places(quotes)
        places = np.concatenate([quote_places, *map(self._news_places, told)])[rows.order]
        starts, middles = self._starts.take(places), self._middles.take(places)
        sizes = self._bytes.take(places)
        if len(lost):  # to others that have the same hash: some 1 %
            records = np.empty(len(rows), dtype=np.int64)
            records[rows.order] = np.arange(len(rows))
            for record, texts in zip(records[lost].tolist(), self._texts(quotes.rows(lost)), strict=True):
                starts[record], middles[record] = texts
                sizes[record] = sum(map(len, texts))
        traded, traded_bytes = self._size_pieces(rows)
        ends, whose = _ends(rows)
        sizes += traded_bytes
        sizes += lengths(ends).take(whose)
        sizes += DIGITS_BYTES
        columns = PieceColumns((starts, traded, middles), ends, whose, rows.first_seq, sizes)
        return PieceTexts(columns, 0, len(rows))

    def _quote_places(self, quotes: _Quotes) -> tuple[I64, I64]:
        """[rows] where each row's quote is, once it is written; and the rows whose place another has."""
        places = _places_of(quotes)
        missing = np.flatnonzero(~self._are_at(places, quotes))
        if not len(missing):
            return places, missing
        # Of several rows that want a place the last one gets it; mostly they say the same.
        wanted = places[missing]
        self._claims[wanted] = missing
        new = missing[self._claims[wanted] == missing]
        at, written = places[new], quotes.rows(new)
        for kept, column in zip(self._kept, written, strict=True):
            kept[at] = column
        starts, middles = zip(*self._texts(written), strict=True)
        self._starts[at] = starts
        self._middles[at] = middles
        self._bytes[at] = list(map(len, map(b"".join, zip(starts, middles, strict=True))))
        # Those that wanted one of these places, or had it before.
        self._written[at] = True
        again = np.flatnonzero(self._written.take(places))
        self._written[at] = False
        return places, again[~self._are_at(places[again], quotes.rows(again))]

    def _are_at(self, places: I64, quotes: _Quotes) -> NDArray[np.bool_]:
        same = np.ones(len(places), dtype=np.bool_)
        for kept, column in zip(self._kept, quotes, strict=True):
            same &= kept.take(places) == column
        return same

    def _texts(self, quotes: _Quotes) -> Iterator[tuple[bytes, bytes]]:
        """Start and middle of each quote."""
        numbers = [map(self._numbers.__getitem__, column.tolist()) for column in quotes[1:]]
        for who, price, bid, ask in zip(quotes.who.tolist(), *numbers, strict=True):
            feed, instrument = who & ((1 << FEED_BITS) - 1), who >> FEED_BITS
            start = self._symbol_texts[feed][instrument]
            if feed == FOREX:
                yield b'%b%b,"bid":%b,"ask":%b' % (start, price, bid, ask), b""
            else:
                yield b'%b%b,"size":' % (start, price), b',"bid":%b,"ask":%b' % (bid, ask)

    def _news_places(self, columns: Columns) -> list[int]:
        """[rows] where all that a row of news says before its time is, once it is written."""
        bits = [each.view(np.int64) if each.dtype == np.float64 else each for each in columns.values]
        said = list(zip(columns.instruments.tolist(), *[each.tolist() for each in bits], strict=True))
        if not (new := set(said).difference(self._news)):
            return list(map(self._news.__getitem__, said))
        if len(self._news) + len(new) > NEWS_KEPT:
            self._news.clear()
            new = set(said)
            if missing := max(0, QUOTES_KEPT + len(new) - len(self._starts)):  # a part says more than usual
                self._starts = np.concatenate([self._starts, objects([b""] * missing)])
                self._middles = np.concatenate([self._middles, objects([b""] * missing)])
                self._bytes = np.concatenate([self._bytes, np.zeros(missing, dtype=np.int32)])
        rows_of = dict(zip(said, range(len(said)), strict=True))
        for each in new:
            place = self._news[each] = QUOTES_KEPT + len(self._news)
            row = slice(rows_of[each], rows_of[each] + 1)
            values = [column[row].tolist()[0] for column in columns.values]
            record = News(*[self.symbols[each[0]], *values, "", "", 0])
            self._starts[place] = start = _encode(record)[: -len(_END)]
            self._bytes[place] = len(start)
        return list(map(self._news.__getitem__, said))

    def _size_pieces(self, rows: Interleaved) -> tuple[Objects, I32]:
        """[records] the size of each stock, and nothing for others; and how many bytes that is."""
        sizes = [
            columns.values[1] + 1 if columns.feed == STOCK else np.zeros(len(columns.instruments), np.int64)
            for columns in rows.columns
        ]
        places = np.concatenate(sizes)[rows.order]
        table, largest = self._sizes, int(places.max())
        if largest >= SIZES_KEPT:
            some, places = np.unique(places, return_inverse=True)
            table = objects([b"%d" % (place - 1) if place else b"" for place in some.tolist()])
            return table.take(places), lengths(table).take(places)
        if largest >= len(table):
            table = self._sizes = objects([b"", *[b"%d" % size for size in range(largest)]])
            self._size_bytes = lengths(table)
        return table.take(places), self._size_bytes.take(places)


def _quotes_of(columns: Sequence[Columns]) -> _Quotes:
    """The rows of these feeds one after the other."""
    if not columns:
        return _Quotes(*[np.zeros(0, dtype=np.int64)] * len(_Quotes._fields))
    of_feeds = [
        (
            (each.instruments.astype(np.int64) << FEED_BITS) | each.feed,
            *[each.values[number].view(np.int64) for number in (0, -2, -1)],
        )
        for each in columns
    ]
    return _Quotes(*[np.concatenate(column) for column in zip(*of_feeds, strict=True)])


def _places_of(quotes: _Quotes) -> I64:
    """[rows] the place that a quote's hash names."""
    hashes = quotes.who.view(np.uint64) * _FACTORS[0]
    for factor, column in zip(_FACTORS[1:], quotes[1:], strict=True):
        hashes += column.view(np.uint64) * factor
    hashes >>= np.uint64(64 - QUOTES_BITS)
    places: I64 = hashes.view(np.int64)
    return places


def _ends(rows: Interleaved) -> tuple[list[bytes], I64]:
    ""","time":…,"source":…,"seq": with all of the seq but its last digits; and [records] whose is which.

    Records come by millisecond and by seq, so both are stretches of some 250, not made each for itself.
    """
    counts = np.bincount(np.concatenate([each.milliseconds for each in rows.columns])).tolist()
    times = timestamps(rows.begin_ms, np.arange(len(counts), dtype=np.uint8))
    ends: list[bytes] = []
    counted: list[int] = []
    seq = rows.first_seq
    for time, records in zip(times, counts, strict=True):
        text = _encode(Forex("", 0.0, 0.0, 0.0, time, rows.source, 0))[len(_NOTHING) - len(_END) : -2]
        stop = seq + records
        while seq < stop:
            block, start = divmod(seq, BLOCK)
            count = min(stop - seq, BLOCK - start)
            ends.append(text + b"%d" % block)
            counted.append(count)
            seq += count
    return ends, np.repeat(np.arange(len(ends)), counted)
