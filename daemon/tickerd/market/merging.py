"""Columns of several feeds interleaved, in the order of their time.

Order within a millisecond: feeds by their number, then rows. It knows nothing of where columns come from.
"""

import numpy as np
from numpy.typing import NDArray

from tickerd.batch import Columns, Interleaved

_NO_MILLISECONDS, _NO_INSTRUMENTS = np.zeros(0, np.uint8), np.zeros(0, np.int32)


def merged(
    columns: list[Columns],
    symbols: NDArray[np.object_],
    source: str,
    frame: int,
    begin_ms: int,
    first_seq: int,
) -> Interleaved:
    """Columns of feeds whose milliseconds count from `begin_ms`; seqs count on from `first_seq`."""
    if len(columns) == 1:
        (of_feed,) = columns
        order = np.arange(len(of_feed.instruments))
        instruments = of_feed.instruments
        feeds = np.full(len(order), of_feed.feed, dtype=np.uint8)
    else:
        milliseconds = np.concatenate([_NO_MILLISECONDS, *[each.milliseconds for each in columns]])
        order = np.argsort(milliseconds, kind="stable")
        numbers = np.array([each.feed for each in columns], dtype=np.uint8)
        feeds = np.repeat(numbers, [len(each.instruments) for each in columns])[order]
        instruments = np.concatenate([_NO_INSTRUMENTS, *[each.instruments for each in columns]])[order]
    return Interleaved(source, frame, begin_ms, first_seq, symbols, columns, order, instruments, feeds)
