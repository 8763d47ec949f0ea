"""Columns of several feeds as records, in the order of their time.

Order within a millisecond: feeds by their number, then rows. It promises RFC 3339 times in UTC, and knows
nothing of where columns come from.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.market.activity import I64
from tickerd.market.feed import Columns, Feed
from tickerd.records import Record
from tickerd.schedule import MILLI

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_MILLISECONDS, _NO_INSTRUMENTS = np.zeros(0, np.uint8), np.zeros(0, np.int32)
_FRACTIONS = [f".{millisecond:03d}Z" for millisecond in range(MILLI)]


class Merged(NamedTuple):
    """Records in order, and of each one the instrument's row and the feed's number."""

    records: list[Record]
    instruments: NDArray[np.int32]
    feeds: NDArray[np.uint8]


def merged(
    feeds: Sequence[Feed],
    kinds: Sequence[int],
    columns: Sequence[Columns],
    source: str,
    begin_ms: int,
    first_seq: int,
) -> Merged:
    """Columns of feeds `kinds`, whose milliseconds count from `begin_ms`; seqs count on from `first_seq`."""
    if len(kinds) == 1:
        (of_feed,) = columns
        count = len(of_feed.instruments)
        times = timestamps(begin_ms, of_feed.milliseconds)
        records = feeds[kinds[0]].records(of_feed, source, times, np.arange(first_seq, first_seq + count))
        return Merged(records, of_feed.instruments, np.full(count, kinds[0], dtype=np.uint8))
    milliseconds = np.concatenate([_NO_MILLISECONDS, *[each.milliseconds for each in columns]])
    order = np.argsort(milliseconds, kind="stable")
    seqs = np.empty(len(order), dtype=np.int64)
    seqs[order] = np.arange(first_seq, first_seq + len(order))
    times = timestamps(begin_ms, milliseconds)
    unordered: list[Record] = []
    for kind, each in zip(kinds, columns, strict=True):
        rows = slice(len(unordered), len(unordered) + len(each.instruments))
        unordered += feeds[kind].records(each, source, times[rows], seqs[rows])
    marks = np.repeat(np.array(kinds, dtype=np.uint8), [len(each.instruments) for each in columns])
    instruments = np.concatenate([_NO_INSTRUMENTS, *[each.instruments for each in columns]])
    return Merged(list(map(unordered.__getitem__, order.tolist())), instruments[order], marks[order])


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
