"""What was read of a source, as columns, and what the columns say: copies, holes, order, delay.

About 36 bytes a record; the counting is NumPy's, over whole columns. This file knows no stream and no rules
about which records are judged.
"""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Seqs = NDArray[np.int64]


class Columns:
    """One source's records as read from one shard, in the order of reading.

    seq; content (a 64-bit hash of the whole bytes); instrument (a number per symbol); time_ms and arrival_ms
    (UTC since 1970).
    """

    __slots__ = ("arrival_ms", "content", "instrument", "seq", "time_ms")

    def __init__(self) -> None:
        self.seq = array("q")
        self.content = array("q")
        self.instrument = array("i")
        self.time_ms = array("q")
        self.arrival_ms = array("q")

    def append(self, seq: int, content: int, instrument: int, time_ms: int, arrival_ms: int) -> None:
        """Add one record."""
        self.seq.append(seq)
        self.content.append(content)
        self.instrument.append(instrument)
        self.time_ms.append(time_ms)
        self.arrival_ms.append(arrival_ms)

    def __len__(self) -> int:
        return len(self.seq)


def joined(parts: "Sequence[array[int]]") -> NDArray[np.int64]:
    """[records] one column of several shards, in the order given; a single part is not copied."""
    columns = [np.frombuffer(part, f"i{part.itemsize}") for part in parts]
    if len(columns) == 1:
        return columns[0]
    return np.concatenate(columns) if columns else np.empty(0, np.int64)


class Copies(NamedTuple):
    """Which seqs are there, and how often with the same and with other bytes than their first copy."""

    distinct: Seqs  # ascending
    first: NDArray[np.int64]  # [distinct] where, in the order of reading, the first copy of each stands
    duplicates: int  # later copies with the first one's bytes
    altered: int  # later copies with other bytes


def copies(seq: Seqs, content: NDArray[np.int64]) -> Copies:
    """Sort out the copies; `seq` and `content` are [records] in the order of reading."""
    order = np.argsort(seq, kind="stable")  # stable: among equals the one read first comes first
    ordered = seq[order]
    is_first = np.ones(len(seq), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    first = order[is_first]
    group = np.cumsum(is_first) - 1
    same = int(np.count_nonzero(content[order] == content[first][group]))
    return Copies(ordered[is_first], first, same - len(first), len(seq) - same)


def out_of_order(seen: Copies, instrument: NDArray[np.int64]) -> int:
    """First copies whose seq is below the highest that was read before them of the same instrument.

    `instrument` is [records] in the order of reading.
    """
    # Ranks stand for the seqs, so that shifting each instrument's by a number of its own cannot overflow.
    in_order_read = np.argsort(seen.first, kind="stable")
    symbol = instrument[seen.first][in_order_read]
    by_symbol = np.argsort(symbol, kind="stable")
    rank, symbol = in_order_read[by_symbol], symbol[by_symbol]
    group = np.cumsum(np.r_[0, symbol[1:] != symbol[:-1]]) if len(symbol) else symbol
    shifted = rank + group * len(rank)
    return int(np.count_nonzero(shifted < np.maximum.accumulate(shifted)))


class Holes(NamedTuple):
    """Seqs that should be there and are not: how many, and the first few ranges [start, stop)."""

    lost: int
    ranges: list[tuple[int, int]]
    ranges_total: int


def holes(distinct: Seqs, wanted: Sequence[tuple[int, int]], ranges_max: int = 5) -> Holes:
    """What of the `wanted` seqs (ranges as [start, stop), apart) is missing in `distinct` (ascending)."""
    lost, ranges, ranges_total = 0, list[tuple[int, int]](), 0
    for start, stop in wanted:
        there = distinct[np.searchsorted(distinct, start) : np.searchsorted(distinct, stop)]
        lost += stop - start - len(there)
        edges = np.concatenate(([start - 1], there, [stop]))
        before = np.flatnonzero(np.diff(edges) > 1)
        ranges_total += len(before)
        shown = before[: ranges_max - len(ranges)]
        ranges += [(int(edges[at]) + 1, int(edges[at + 1])) for at in shown]
    return Holes(lost, ranges, ranges_total)


def delays_s(
    seen: Copies, time_ms: NDArray[np.int64], arrival_ms: NDArray[np.int64]
) -> tuple[float | None, float | None]:
    """Median and 99th percentile of arrival minus record time, in seconds, over the first copies."""
    if not len(seen.first):
        return None, None
    delay_ms = arrival_ms[seen.first] - time_ms[seen.first]
    median, high = np.quantile(delay_ms, (0.5, 0.99))
    return round(float(median) / 1000, 3), round(float(high) / 1000, 3)
