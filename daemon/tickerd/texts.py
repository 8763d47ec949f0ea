"""Encoded records, [records] of them, in whatever form they are kept until they go into requests.

A form is whole records, pieces that many records share (`piece_texts.py`), or base64. All say the same bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import pybase64
from numpy.typing import NDArray

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
Objects = NDArray[np.object_]
Numbers = NDArray[np.intp]


class BySize(NamedTuple):
    """What stands before a record by its size alone: `kept`, of small ones, and `of` any."""

    kept: Objects
    of: Callable[[I64], Objects]


class Texts(Protocol):
    """Records in some form."""

    def __len__(self) -> int: ...

    def sizes(self) -> I32:
        """[records] bytes of each."""

    def part(self, start: int, stop: int) -> "Texts":
        """The records from start up to stop."""

    def pick(self, numbers: Numbers) -> "Texts":
        """The records with these numbers, in this order."""

    def records(self) -> list[bytes]:
        """The bytes of each record."""

    def base64(self) -> "Base64":
        """The same in base64."""

    def columns(self) -> list[list[bytes]]:
        """The same as columns of pieces: of each record those in all columns, joined, are its bytes."""

    def runs(
        self, order: Numbers, stops: Sequence[int], before: Objects | BySize | None, *, lines: bool
    ) -> Iterator[bytes]:
        """The records in an order, one after the other: from the first to each of the rising stops.

        `before`: what stands before each of them, [records] in that order, or by size.
        `lines`: each ends with a newline.
        """


class Base64(NamedTuple):
    """The form in which records stand in requests: of each, the base64 is the text and then its tail."""

    texts: list[bytes]
    tails: list[bytes]

    def __len__(self) -> int:
        return len(self.texts)

    def sizes(self) -> I32:
        """[records] bytes of each."""
        return WholeRecords(self.records()).sizes()

    def part(self, start: int, stop: int) -> "Base64":
        """The records from start up to stop."""
        return Base64(self.texts[start:stop], self.tails[start:stop])

    def pick(self, numbers: Numbers) -> "Base64":
        """The records with these numbers, in this order."""
        which = numbers.tolist()
        return Base64(list(map(self.texts.__getitem__, which)), list(map(self.tails.__getitem__, which)))

    def records(self) -> list[bytes]:
        """The bytes of each record."""
        return [
            pybase64.b64decode(text + tail, validate=True)
            for text, tail in zip(self.texts, self.tails, strict=True)
        ]

    def base64(self) -> "Base64":
        """These."""
        return self

    def columns(self) -> list[list[bytes]]:
        """The records as a column."""
        return [self.records()]

    def runs(
        self, order: Numbers, stops: Sequence[int], before: Objects | BySize | None, *, lines: bool
    ) -> Iterator[bytes]:
        """The records in an order, one after the other, up to each stop."""
        return WholeRecords(self.records()).runs(order, stops, before, lines=lines)


class WholeRecords(NamedTuple):
    """Records as they are."""

    whole: list[bytes]

    def __len__(self) -> int:
        return len(self.whole)

    def sizes(self) -> I32:
        """[records] bytes of each."""
        return np.fromiter(map(len, self.whole), np.int32, len(self.whole))

    def part(self, start: int, stop: int) -> "WholeRecords":
        """The records from start up to stop."""
        return WholeRecords(self.whole[start:stop])

    def pick(self, numbers: Numbers) -> "WholeRecords":
        """The records with these numbers, in this order."""
        return WholeRecords(list(map(self.whole.__getitem__, numbers.tolist())))

    def records(self) -> list[bytes]:
        """These."""
        return self.whole

    def base64(self) -> Base64:
        """The same in base64."""
        return Base64(list(map(pybase64.b64encode, self.whole)), [b""] * len(self.whole))

    def columns(self) -> list[list[bytes]]:
        """The records as a column."""
        return [self.whole]

    def runs(
        self, order: Numbers, stops: Sequence[int], before: Objects | BySize | None, *, lines: bool
    ) -> Iterator[bytes]:
        """The records in an order, one after the other, up to each stop."""
        records = self.pick(order)
        columns: list[Sequence[Any]] = [records.whole]
        if isinstance(before, BySize):
            before = before.of(records.sizes().astype(np.int64))
        if before is not None:
            columns.insert(0, before.tolist())
        if lines:
            columns.append([b"\n"] * len(order))
        pieces, many = interleaved(columns), len(columns)
        # A join of a few hundred records stays in the nearer cache: bytes.join keeps 80 bytes a piece.
        return (b"".join(pieces[start * many : stop * many]) for start, stop in pairwise([0, *stops]))


def interleaved(columns: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Of each record the pieces in all columns, then those of the next."""
    many = len(columns)
    pieces = [b""] * (many * len(columns[0]))
    for number, column in enumerate(columns):
        pieces[number::many] = column
    return pieces


def chunk_stops(sizes: I32, bytes_max: int, records_max: int) -> list[int]:
    """Where to cut [records] lines of these sizes into chunks: rising, the last is their number.

    A chunk has at most so many records, and bytes unless it is a single line.
    """
    ends = np.cumsum(sizes, dtype=np.int64)
    if int(sizes.max(initial=0)) * records_max <= bytes_max:
        return [*range(records_max, len(sizes), records_max), len(sizes)]
    stops: list[int] = []
    start, before = 0, 0
    while start < len(sizes):
        fit = int(np.searchsorted(ends, before + bytes_max, side="right"))
        start = min(max(fit, start + 1), start + records_max)
        before = int(ends[start - 1])
        stops.append(start)
    return stops
