"""The records of one GetRecords answer as columns: from here on nothing is done for a record by itself."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.reading.decode import Member
from tickerd.reading.seen import digests_of

Column = NDArray[np.int64]


class Numbering(dict[str, int]):
    """A number for each name, counted from 0 as they come."""

    def __missing__(self, name: str) -> int:
        self[name] = len(self)
        return self[name]

    def numbers(self, names: Sequence[str]) -> Column:
        """[names] the number of each."""
        return np.fromiter(map(self.__getitem__, names), np.int64, len(names))


class Page(NamedTuple):
    """[records] in the order of reading; times in ms since 1970."""

    source: Column
    instrument: Column
    seq: Column
    digest: Column
    time_ms: Column
    arrival_ms: Column

    def where(self, chosen: NDArray[np.bool_]) -> "Page":
        """Those of the records that are chosen."""
        return self if chosen.all() else Page(*(column[chosen] for column in self))

    def by_source(self) -> Iterator[tuple[int, "Page"]]:
        """The records of each source by themselves."""
        for number in np.unique(self.source).tolist():
            yield number, self.where(self.source == number)


def page_of(
    members: Sequence[Member],
    payloads: Sequence[bytes],
    arrival_ms: Column,
    sources: Numbering,
    instruments: Numbering,
) -> Page:
    """The columns of [records]; names get the numbers of `sources` and `instruments`."""
    seconds = np.array([member.time.timestamp() for member in members])
    return Page(
        sources.numbers([member.source for member in members]),
        instruments.numbers([member.currency_pair or member.stock_symbol for member in members]),
        np.array([member.seq for member in members], np.int64),
        digests_of(payloads),
        np.rint(seconds * 1000).astype(np.int64),
        arrival_ms,
    )
