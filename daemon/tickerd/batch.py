"""What the market hands over: columns of each feed's rows, and how they interleave. Structs are made of them.

All that a record says follows from them, so whoever needs the records, or only their bytes, makes them here
or in `pieces.py`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.records import Forex, News, Record, Stock
from tickerd.schedule import MILLI

STRUCTS: tuple[type[Forex], type[Stock], type[News]] = (Forex, Stock, News)
"""The records of the feeds, as in records.FEEDS."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FRACTIONS = [f".{millisecond:03d}Z" for millisecond in range(MILLI)]

I64 = NDArray[np.int64]


class Columns(NamedTuple):
    """Rows of a feed; all columns are [rows] long."""

    feed: int  # as in records.FEEDS
    instruments: NDArray[np.int32]  # row in the universe's instruments
    milliseconds: NDArray[np.uint8] | I64  # from the batch's first on; they never go back
    values: tuple[NDArray[np.float64] | I64 | NDArray[np.object_], ...]
    """The record's fields between symbol and time, in the record's order."""


@dataclass(slots=True)
class Batch:
    """The records of one part of a frame, in the order of their seq. All columns are [records] long."""

    frame: int
    first_seq: int
    records: list[Record]
    instruments: NDArray[np.int32]  # row in the universe's instruments, which are the partition keys
    feeds: NDArray[np.uint8]  # number of the feed, as in records.FEEDS


@dataclass(slots=True)
class Interleaved:
    """The same before records are made of it (or of several frames): columns, and how they interleave."""

    source: str
    frame: int
    begin_ms: int  # from which milliseconds count
    first_seq: int
    symbols: NDArray[np.object_]  # [instruments] their names
    columns: list[Columns]  # of the feeds that have rows, by number
    order: I64  # [records] rows in the order of seq, counted through all columns
    instruments: NDArray[np.int32]  # [records]
    feeds: NDArray[np.uint8]  # [records]

    def __len__(self) -> int:
        return len(self.order)

    @property
    def records(self) -> list[Record]:
        """The records as Structs."""
        seqs = np.empty(len(self), dtype=np.int64)
        seqs[self.order] = np.arange(self.first_seq, self.first_seq + len(self))
        unordered: list[Record] = []
        for columns in self.columns:
            count = len(columns.instruments)
            unordered += map(
                STRUCTS[columns.feed],
                self.symbols.take(columns.instruments).tolist(),
                *[column.tolist() for column in columns.values],
                timestamps(self.begin_ms, columns.milliseconds),
                repeat(self.source),
                seqs[len(unordered) : len(unordered) + count].tolist(),
            )
        if len(self.columns) == 1:
            return unordered
        return list(map(unordered.__getitem__, self.order.tolist()))


def timestamps(begin_ms: int, milliseconds: NDArray[np.uint8] | I64) -> list[str]:
    """RFC 3339 strings of milliseconds after `begin_ms`; ValueError or OverflowError beyond year 9999."""
    second, begin = divmod(begin_ms, MILLI)
    if milliseconds.dtype != np.uint8:  # of several frames
        seconds, fractions = np.divmod(milliseconds.astype(np.int64) + begin, MILLI)
        return [
            _second(second + each) + _FRACTIONS[fraction]
            for each, fraction in zip(seconds.tolist(), fractions.tolist(), strict=True)
        ]
    # Of one frame, which ends with its second at the latest.
    prefix, most = _second(second), 64
    if len(milliseconds) < most:
        return [prefix + _FRACTIONS[begin + each] for each in milliseconds.tolist()]
    texts = np.array([prefix + fraction for fraction in _FRACTIONS[begin : begin + most]], dtype=object)
    times: list[str] = texts.take(milliseconds).tolist()
    return times


@lru_cache(maxsize=64)
def _second(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).isoformat()[:19]
