"""Records as JSON, joined from pieces that repeat: byte for byte what msgspec makes of their Structs.

Most rows say a quote or a headline that rows before them said: at 400,000 records/s one of 30 is new. Each is
written once, by msgspec; a row costs looking its pieces up and joining them. What the Structs are stays in
`records.py`; nothing here knows how a number or a string is written, but for whole numbers.
"""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickerd.batch import STRUCTS, Batch, Columns, timestamps
from tickerd.records import FEEDS, Forex, News, Stock

FEED_BITS = 2
FEED_MASK = (1 << FEED_BITS) - 1
FOREX, STOCK, NEWS = (FEEDS.index(feed) for feed in ("forex", "stock", "news"))

# Where quotes are kept, by a hash: most in the first table, those whose place another has in the next.
TABLES_BITS = (16, 12, 12, 12)
_TABLES = np.cumsum([0] + [1 << bits for bits in TABLES_BITS]).tolist()
QUOTES_KEPT = _TABLES[-1]
NEWS_KEPT = 1 << 12
SIZES_KEPT = 1 << 14
BLOCK = 1000  # of seqs, whose last three digits are a table that stays in the nearest cache
_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], dtype=np.uint64
)

I64 = NDArray[np.int64]

_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines

# A record ends with its time, source and seq.
assert all(struct.__struct_fields__[-3:] == ("time", "source", "seq") for struct in STRUCTS)
_END = b',"time":"","source":"","seq":0}'
_EMPTY = _encode(Forex("", 0.0, 0.0, 0.0, "", "", 0))
_SIZE = b'"size":0,'
_LAST_DIGITS = [b"%03d}" % number for number in range(BLOCK)]
_FIRST_NUMBERS = [b"%d}" % number for number in range(BLOCK)]
assert _EMPTY.endswith(_END), "a record's end, when it says nothing"


class NoRoomError(Exception):
    """A batch says so much that is new that it is not worth the pieces."""


class _Quotes(NamedTuple):
    """What rows of forex and stock say, but for size, time, source and seq: [rows] each."""

    who: I64  # instrument and feed
    price: I64  # the bits of the float, as those of the others
    bid: I64
    ask: I64

    def rows(self, rows: I64) -> "_Quotes":
        return _Quotes(*[column[rows] for column in self])


class Pieces:
    """The encoder, with what it keeps: some 15 MB at most."""

    def __init__(self) -> None:
        # A record is a start, a size and a middle (of stocks only), an end up to the thousands of seq, the rest.
        self._starts = np.full(QUOTES_KEPT + NEWS_KEPT, b"", dtype=object)
        self._middles = np.full(QUOTES_KEPT + NEWS_KEPT, b"", dtype=object)
        self._kept = _Quotes(*[np.full(QUOTES_KEPT, -1, dtype=np.int64) for _ in _Quotes._fields])
        self._claims = np.zeros(QUOTES_KEPT, dtype=np.int64)
        self._written = np.zeros(QUOTES_KEPT, dtype=np.bool_)
        self._news: dict[tuple[object, ...], int] = {}
        self._sizes = np.array([b""], dtype=object)

    def encode(self, batch: Batch) -> list[bytes]:
        """The [records] of a part of a frame as JSON, in the order of their seq; NoRoomError."""
        places = np.concatenate(
            [
                self._quote_places([each for each in batch.columns if each.feed != NEWS], batch.symbols),
                *[self._news_places(each, batch.symbols) for each in batch.columns if each.feed == NEWS],
            ]
        )[batch.order]
        starts: list[bytes] = self._starts.take(places).tolist()
        middles: list[bytes] = self._middles.take(places).tolist()
        ends, digits = _ends(batch)
        return list(map(b"".join, zip(starts, self._size_pieces(batch), middles, ends, digits, strict=True)))

    def _quote_places(self, columns: Sequence[Columns], symbols: NDArray[np.object_]) -> I64:
        """[rows of all columns] where in the tables each row's quote is, once it is written."""
        quotes = _quotes_of(columns)
        places = _slots(quotes, 0)
        missing = np.flatnonzero(~self._are_at(places, quotes))
        for table in range(1, len(TABLES_BITS) + 1):
            if not len(missing):
                return places
            wanted = places[missing]
            self._claims[wanted] = missing  # of several rows that want a place the last one gets it
            rows = missing[self._claims[wanted] == missing]
            at = places[rows]
            self._write(at, quotes.rows(rows), symbols)
            # Rows that want one of these places, or had it, may have lost it to others.
            self._written[at] = True
            again = np.flatnonzero(self._written.take(places))
            self._written[at] = False
            lost = again[~self._are_at(places[again], quotes.rows(again))]
            if len(lost) and table < len(TABLES_BITS):
                places[lost] = _slots(quotes.rows(lost), table)
                lost = lost[~self._are_at(places[lost], quotes.rows(lost))]
            missing = lost
        if len(missing):
            raise NoRoomError
        return places

    def _are_at(self, places: I64, quotes: _Quotes) -> NDArray[np.bool_]:
        same = np.ones(len(places), dtype=np.bool_)
        for kept, column in zip(self._kept, quotes, strict=True):
            same &= kept.take(places) == column
        return same

    def _write(self, places: I64, quotes: _Quotes, symbols: NDArray[np.object_]) -> None:
        """Have msgspec write quotes, and keep them at these places."""
        for kept, column in zip(self._kept, quotes, strict=True):
            kept[places] = column
        for feed in (FOREX, STOCK):
            rows = np.flatnonzero(quotes.who & FEED_MASK == feed)
            of_feed = quotes.rows(rows)
            names = symbols.take(of_feed.who >> FEED_BITS).tolist()
            price, bid, ask = (column.view(np.float64).tolist() for column in of_feed[1:])
            nothing = repeat(""), repeat(""), repeat(0)
            records: Iterable[Forex | Stock]
            if feed == FOREX:
                records = map(Forex, names, price, bid, ask, *nothing)
            else:
                records = map(Stock, names, price, repeat(0), bid, ask, *nothing)
            texts = [line[: -len(_END)] for line in _encode_lines(list(records)).split(b"\n")[:-1]]
            if feed == STOCK:
                cuts = [text.index(_SIZE) + len(_SIZE) - 2 for text in texts]
                self._middles[places[rows]] = _objects(
                    [text[cut + 1 :] for text, cut in zip(texts, cuts, strict=True)]
                )
                texts = [text[:cut] for text, cut in zip(texts, cuts, strict=True)]
            else:
                self._middles[places[rows]] = b""
            self._starts[places[rows]] = _objects(texts)

    def _news_places(self, columns: Columns, symbols: NDArray[np.object_]) -> I64:
        said = list(
            zip(symbols.take(columns.instruments).tolist(), *[c.tolist() for c in columns.values], strict=True)
        )
        places = list(map(self._news.get, said))
        if None in places:
            new = set(said).difference(self._news)
            if len(new) + len(self._news) > NEWS_KEPT:
                self._news.clear()
                new = set(said)
            if len(new) > NEWS_KEPT:
                raise NoRoomError
            for each in new:
                place = self._news[each] = QUOTES_KEPT + len(self._news)
                self._starts[place] = _encode(News(*each, "", "", 0))[: -len(_END)]  # type: ignore[arg-type]
            places = list(map(self._news.get, said))
        return np.array(places, dtype=np.int64)

    def _size_pieces(self, batch: Batch) -> Iterable[bytes]:
        """[records] sizes, and nothing where a record has none."""
        stocks = [each for each in batch.columns if each.feed == STOCK]
        if not stocks:
            return repeat(b"", len(batch))
        places = np.zeros(len(batch), dtype=np.int64)
        before = sum(len(each.instruments) for each in batch.columns if each.feed < STOCK)
        sizes = stocks[0].values[1]
        table, places[before : before + len(sizes)] = self._size_table(sizes.astype(np.int64))
        pieces: list[bytes] = table.take(places[batch.order]).tolist()
        return pieces

    def _size_table(self, sizes: I64) -> tuple[NDArray[np.object_], I64]:
        """A table of texts, of which the first is empty, and where in it the sizes stand."""
        largest = int(sizes.max())
        if largest >= SIZES_KEPT:
            some, inverse = np.unique(sizes, return_inverse=True)
            return _objects([b"", *[b"%d" % size for size in some.tolist()]]), inverse + 1
        if largest + 2 > len(self._sizes):
            self._sizes = _objects([b"", *[b"%d" % size for size in range(largest + 1)]])
        return self._sizes, sizes + 1


def _quotes_of(columns: Sequence[Columns]) -> _Quotes:
    """The rows of feeds one after the other."""
    if not columns:
        return _Quotes(*[np.zeros(0, dtype=np.int64) for _ in _Quotes._fields])
    of_feeds = [
        (
            (each.instruments.astype(np.int64) << FEED_BITS) | each.feed,
            *[each.values[number].view(np.int64) for number in (0, -2, -1)],
        )
        for each in columns
    ]
    return _Quotes(*[np.concatenate(column) for column in zip(*of_feeds, strict=True)])


def _slots(quotes: _Quotes, table: int) -> I64:
    """[rows] the place in a table that a quote's hash names."""
    hashes = np.zeros(len(quotes.who), dtype=np.uint64)
    for factor, column in zip(np.roll(_FACTORS, table), quotes, strict=True):
        hashes += column.view(np.uint64) * factor
    hashes >>= np.uint64(64 - TABLES_BITS[table])
    places = hashes.view(np.int64)
    places += _TABLES[table]
    return places


def _ends(batch: Batch) -> tuple[list[bytes], list[bytes]]:
    """[records] ,"time":…,"source":…,"seq": with the seq's thousands, and the rest of the record.

    Records come by millisecond and by seq, so both are stretches: 250 of a kind, not each for itself.
    """
    milliseconds = np.bincount(np.concatenate([each.milliseconds for each in batch.columns]))
    times = timestamps(batch.begin_ms, np.arange(len(milliseconds), dtype=np.uint8))
    ends: list[bytes] = []
    digits: list[bytes] = []
    seq = batch.first_seq
    for time, records in zip(times, milliseconds.tolist(), strict=True):
        text = _encode(Forex("", 0.0, 0.0, 0.0, time, batch.source, 0))[len(_EMPTY) - len(_END) : -2]
        left = records
        while left:
            block, start = divmod(seq, BLOCK)
            count = min(left, BLOCK - start)
            ends += [text + b"%d" % block if block else text] * count
            digits += (_LAST_DIGITS if block else _FIRST_NUMBERS)[start : start + count]
            seq += count
            left -= count
    return ends, digits


def _objects(texts: Sequence[bytes]) -> NDArray[np.object_]:
    objects = np.empty(len(texts), dtype=object)
    objects[:] = texts
    return objects
