"""Records as JSON, joined from pieces that repeat: byte for byte what msgspec makes of their Structs.

Most rows say a quote or a headline that rows before them said: at 400,000 records/s one of 40 is new. Each is
put together once, from symbols and numbers that msgspec wrote once, and stands in a table; a row costs to
find the numbers of its pieces, and to join them where it goes. What a record is stays in `records.py`.
"""

import weakref
from collections.abc import Iterator
from struct import pack, unpack
from typing import Any

import msgspec
import numpy as np

from tickerd.batch import Columns, Interleaved, timestamps
from tickerd.piece_quotes import FEED_BITS, QUOTES_KEPT, KnownQuotes, Quotes
from tickerd.piece_texts import (
    BLOCK,
    COMMON_KEPT,
    DIGITS,
    DIGITS_BYTES,
    DIGITS_KEPT,
    END,
    HEAD,
    HEADS,
    LAST_DIGITS,
    MIDDLE,
    PIECES,
    SIZE,
    START,
    PieceColumns,
    PieceTexts,
    objects,
)
from tickerd.records import FEEDS, Forex, News, Stock
from tickerd.texts import I64, Objects, Texts, WholeRecords

FOREX, STOCK, NEWS = (FEEDS.index(feed) for feed in ("forex", "stock", "news"))
NUMBERS_KEPT = 1 << 16
NEWS_KEPT = 1 << 12
SIZES_KEPT = 1 << 14
LOST_KEPT = OTHERS_KEPT = 1 << 14  # of a part, which has no more records than that

# Where what begins in the table of texts, after what is common to all. Only stocks have a size and a middle.
# Quotes have starts by hash; every start has its middle as far on.
SIZES = COMMON_KEPT  # first nothing, then 0, 1, 2, ...
STARTS = SIZES + 1 + SIZES_KEPT
NEWS_STARTS = STARTS + QUOTES_KEPT  # as they come
LOST = NEWS_STARTS + NEWS_KEPT  # quotes of this part whose places others have
MIDDLES = LOST + LOST_KEPT
OTHERS = MIDDLES + MIDDLES - STARTS  # what this part alone needs: ends, and large sizes
TABLE = OTHERS + OTHERS_KEPT

_encode = msgspec.json.Encoder().encode
_END = b',"time":"","source":"","seq":0}'
_FOREX_END = b'0.0,"bid":0.0,"ask":0.0' + _END
_STOCK_END = b'0.0,"size":0,"bid":0.0,"ask":0.0' + _END
_NOTHING = _encode(Forex("", 0.0, 0.0, 0.0, "", "", 0))
assert _NOTHING.endswith(_FOREX_END), "forex records end so"
assert _encode(Stock("", 0.0, 0, 0.0, 0.0, "", "", 0)).endswith(_STOCK_END), "stock records end so"
assert _encode(News("", "", "", 0.0, 0, "", "", 0)).endswith(_END), "news records end so"


class _FullError(Exception):
    """A part says more than there is room for in the table."""


class _Numbers(dict[int, bytes]):
    """The texts of numbers by the bits of the float: 0.0 is not -0.0."""

    def __missing__(self, bits: int) -> bytes:
        if len(self) >= NUMBERS_KEPT:
            self.clear()
        text = self[bits] = _encode(*unpack("d", pack("q", bits)))
        return text


class Pieces:
    """The encoder of batches that have these `symbols`, with what it keeps: some 20 MB at most."""

    def __init__(self, symbols: Objects) -> None:
        self.symbols = symbols
        self._symbol_texts = (  # what records of forex and of stock about each instrument begin with
            [_encode(Forex(each, 0.0, 0.0, 0.0, "", "", 0))[: -len(_FOREX_END)] for each in symbols],
            [_encode(Stock(each, 0.0, 0, 0.0, 0.0, "", "", 0))[: -len(_STOCK_END)] for each in symbols],
        )
        self._table = objects([*LAST_DIGITS, *[b""] * (TABLE - DIGITS_KEPT)])
        self._bytes = np.zeros(TABLE, dtype=np.int32)  # of each text; of a start: with its middle
        self._known = KnownQuotes()
        self._numbers = _Numbers()
        self._news: dict[tuple[Any, ...], int] = {}
        self._largest_size = 0  # of which the text is written, plus one
        self._others = 0  # texts of this part alone
        self._given: weakref.ref[PieceColumns] | None = None

    def encode(self, rows: Interleaved) -> Texts:
        """The records of a part of a frame as JSON, in the order of their seq, which is SEQ_MIN at least."""
        if self._given is not None and (given := self._given()) is not None:
            given.own()
        self._given = None
        try:
            columns = self._columns(rows)
        except _FullError:  # as hardly any part makes it
            return WholeRecords(list(map(_encode, rows.records)))
        self._given = weakref.ref(columns)
        return PieceTexts(columns, 0, len(rows))

    def _columns(self, rows: Interleaved) -> PieceColumns:
        # News is the last of the feeds: quotes first, then news is the order of all columns.
        quoted = [columns for columns in rows.columns if columns.feed != NEWS]
        told = [columns for columns in rows.columns if columns.feed == NEWS]
        self._others = 0
        starts = np.concatenate([self._quotes(Quotes.of(quoted)), *map(self._stories, told)])
        # Of the width of a pointer they would not stay in the nearer cache: a twentieth more, with the joins.
        pieces = np.empty((len(rows), PIECES), dtype=np.int32)
        pieces[:, START] = starts.take(rows.order)
        pieces[:, SIZE] = self._sizes(rows)
        np.add(pieces[:, START], MIDDLES - STARTS, out=pieces[:, MIDDLE])
        ends, whose = _ends(rows)
        first_end = self._put([end[: len(end) - less] for end in ends for less in range(3)])
        np.multiply(whose, 3, out=pieces[:, END])
        pieces[:, END] += first_end
        seqs = np.arange(rows.first_seq, rows.first_seq + len(rows))
        np.remainder(seqs, BLOCK, out=pieces[:, DIGITS])
        sizes = self._bytes.take(pieces[:, START])
        sizes += self._bytes.take(pieces[:, SIZE])
        sizes += self._bytes.take(pieces[:, END])
        sizes += DIGITS_BYTES
        np.add(sizes, HEADS, out=pieces[:, HEAD])
        return PieceColumns(self._table, pieces, slice(first_end, OTHERS + self._others), seqs, sizes)

    def _quotes(self, quotes: Quotes) -> I64:
        """[rows] the number of the start of each row's quote."""
        places, new, lost = self._known.find(quotes)
        places += STARTS
        if len(new):
            self._write(places[new], quotes.rows(new))
        if len(lost):
            if len(lost) > LOST_KEPT:
                raise _FullError
            places[lost] = own = np.arange(LOST, LOST + len(lost))
            self._write(own, quotes.rows(lost))
        return places

    def _write(self, at: I64, quotes: Quotes) -> None:
        """Make the starts with these numbers, and the middles, those of quotes."""
        texts = list(self._texts(quotes))
        self._table[at], self._table[at + (MIDDLES - STARTS)] = zip(*texts, strict=True)
        self._bytes[at] = list(map(len, map(b"".join, texts)))

    def _texts(self, quotes: Quotes) -> Iterator[tuple[bytes, bytes]]:
        """Start and middle of each quote."""
        numbers = [map(self._numbers.__getitem__, column.tolist()) for column in quotes[1:]]
        for who, price, bid, ask in zip(quotes.who.tolist(), *numbers, strict=True):
            feed, instrument = who & ((1 << FEED_BITS) - 1), who >> FEED_BITS
            start = self._symbol_texts[feed][instrument]
            if feed == FOREX:
                yield b'%b%b,"bid":%b,"ask":%b' % (start, price, bid, ask), b""
            else:
                yield b'%b%b,"size":' % (start, price), b',"bid":%b,"ask":%b' % (bid, ask)

    def _stories(self, columns: Columns) -> list[int]:
        """[rows] the number of all that a row of news says before its time."""
        bits = [each.view(np.int64) if each.dtype == np.float64 else each for each in columns.values]
        said = list(zip(columns.instruments.tolist(), *[each.tolist() for each in bits], strict=True))
        try:
            return list(map(self._news.__getitem__, said))
        except KeyError:
            self._write_stories(said, columns)
            return list(map(self._news.__getitem__, said))

    def _write_stories(self, said: list[tuple[Any, ...]], columns: Columns) -> None:
        """Put what is new into the table; when that is full, all that is said here, and nothing else."""
        new = set(said).difference(self._news)
        if len(self._news) + len(new) > NEWS_KEPT:
            self._news.clear()
            new = set(said)
            if len(new) > NEWS_KEPT:
                raise _FullError
        rows_of = dict(zip(said, range(len(said)), strict=True))
        for each in new:
            number = self._news[each] = NEWS_STARTS + len(self._news)
            row = slice(rows_of[each], rows_of[each] + 1)
            values = [column[row].tolist()[0] for column in columns.values]
            record = News(*[self.symbols[each[0]], *values, "", "", 0])
            self._table[number] = start = _encode(record)[: -len(_END)]
            self._bytes[number] = len(start)

    def _sizes(self, rows: Interleaved) -> I64:
        """[records] the number of each stock's size, and of nothing for others."""
        of_feeds = [
            columns.values[1] + 1 if columns.feed == STOCK else np.zeros(len(columns.instruments), np.int64)
            for columns in rows.columns
        ]
        sizes: I64 = np.concatenate(of_feeds)[rows.order]
        largest = int(sizes.max())
        if largest > SIZES_KEPT:
            large = sizes > SIZES_KEPT
            some, which = np.unique(sizes[large], return_inverse=True)
            sizes[large] = self._put([b"%d" % (size - 1) for size in some.tolist()]) - SIZES + which
            largest = SIZES_KEPT
        if largest > self._largest_size:
            texts = [b"%d" % (size - 1) for size in range(self._largest_size + 1, largest + 1)]
            written = slice(SIZES + self._largest_size + 1, SIZES + largest + 1)
            self._table[written], self._bytes[written] = texts, list(map(len, texts))
            self._largest_size = largest
        sizes += SIZES
        return sizes

    def _put(self, texts: list[bytes]) -> int:
        """Write what this part alone needs; the number of the first of these texts."""
        first = OTHERS + self._others
        self._others += len(texts)
        if self._others > OTHERS_KEPT:
            raise _FullError
        self._table[first : first + len(texts)] = texts
        self._bytes[first : first + len(texts)] = list(map(len, texts))
        return first


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
