"""Quotes as numbers, and a table of those that were told lately: which is known already, and at which place.

A quote is known by the bits of its numbers, never by a hash alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.batch import Columns
from tickerd.texts import I64

FEED_BITS = 2
QUOTES_BITS = 16  # with 15 a third more is new, or lost to others
QUOTES_KEPT = 1 << QUOTES_BITS

_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], dtype=np.uint64
)


class Quotes(NamedTuple):
    """What rows of forex and stock say, but for size, time, source and seq: [rows] each."""

    who: I64  # instrument << FEED_BITS | feed
    price: I64  # the bits of the float, as those of the others
    bid: I64
    ask: I64

    @classmethod
    def of(cls, columns: Sequence[Columns]) -> "Quotes":
        """The rows of these feeds one after the other."""
        if not columns:
            return cls(*[np.zeros(0, dtype=np.int64)] * len(cls._fields))
        of_feeds = [
            (
                (each.instruments.astype(np.int64) << FEED_BITS) | each.feed,
                *[each.values[number].view(np.int64) for number in (0, -2, -1)],
            )
            for each in columns
        ]
        return cls(*[np.concatenate(column) for column in zip(*of_feeds, strict=True)])

    def rows(self, rows: I64) -> "Quotes":
        """Some of them."""
        return Quotes(*[column[rows] for column in self])


class Found(NamedTuple):
    """`places`: [rows] where each row's quote is. `new`, `lost`: rows that the table had not, and has not."""

    places: I64
    new: I64  # of several rows that say the same, one
    lost: I64  # to others that have the same hash: some 1 %


class KnownQuotes:
    """A table of QUOTES_KEPT places; a quote has the place that its hash names until another takes it."""

    def __init__(self) -> None:
        self._kept = Quotes(*[np.full(QUOTES_KEPT, -1, dtype=np.int64) for _ in Quotes._fields])
        self._claims = np.zeros(QUOTES_KEPT, dtype=np.int64)
        self._taken = np.zeros(QUOTES_KEPT, dtype=np.bool_)

    def find(self, quotes: Quotes) -> Found:
        """Where they are, the new ones among them from now on."""
        places = _places_of(quotes)
        missing = np.flatnonzero(~self._are_at(places, quotes))
        if not len(missing):
            return Found(places, missing, missing)
        # Of several rows that want a place the last one gets it; mostly they say the same.
        wanted = places[missing]
        self._claims[wanted] = missing
        new = missing[self._claims[wanted] == missing]
        at = places[new]
        for kept, column in zip(self._kept, quotes.rows(new), strict=True):
            kept[at] = column
        # Those that wanted one of these places, or had it before.
        self._taken[at] = True
        again = np.flatnonzero(self._taken.take(places))
        self._taken[at] = False
        return Found(places, new, again[~self._are_at(places[again], quotes.rows(again))])

    def _are_at(self, places: I64, quotes: Quotes) -> NDArray[np.bool_]:
        same = np.ones(len(places), dtype=np.bool_)
        for kept, column in zip(self._kept, quotes, strict=True):
            same &= kept.take(places) == column
        return same


def _places_of(quotes: Quotes) -> I64:
    """[rows] the place that a quote's hash names."""
    hashes = quotes.who.view(np.uint64) * _FACTORS[0]
    for factor, column in zip(_FACTORS[1:], quotes[1:], strict=True):
        hashes += column.view(np.uint64) * factor
    hashes >>= np.uint64(64 - QUOTES_BITS)
    places: I64 = hashes.view(np.int64)
    return places
