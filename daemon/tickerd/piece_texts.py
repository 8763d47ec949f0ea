"""Records that are joined from pieces where they go: into a run of records, or at once into base64.

Of each record the pieces are: start, size and middle, which say what is in it; the end, with time and source;
and the last digits of its seq, of which there are tables.
"""

from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from io import BytesIO

import numpy as np
import pybase64
from numpy.typing import NDArray

from tickerd.texts import I32, Base64, Numbers, Objects, WholeRecords, interleaved, joined_runs

I64 = NDArray[np.int64]

BLOCK = 1000  # of seqs, whose last three digits are a table that stays in the nearest cache
RECORDS_AT_ONCE = 1000
"""Their pieces stay in the nearer cache from being looked up to being joined; those of 16,000 do not."""
DIGITS_BYTES = 4  # of those, with the brace
TAILS = 100 * BLOCK  # of three sizes: 7 MB
SEQ_MIN = TAILS
"""Of records that have six digits at least, so that base64 can be cut before three, four or five of them."""


class PieceColumns:
    """[records] the pieces of each record: start, size, middle, end, and the last digits of its seq."""

    def __init__(
        self, quoted: Sequence[Objects], ends: list[bytes], whose: I64, first_seq: int, sizes: I32
    ) -> None:
        self.quoted = quoted  # start, size and middle
        self.ends = ends  # of all but the seq's last digits
        self.whose = whose  # [records] which end it has
        self.seqs = np.arange(first_seq, first_seq + len(whose))
        self.sizes = sizes  # [records] bytes of each

    @cached_property
    def in_base64(self) -> tuple[Objects, Objects, I32]:
        """[records] what each ends with up to its tail, that tail in base64, and the bytes of all before it.

        A tail is the last three, four or five digits and a brace, so that what is before it has a multiple
        of three bytes. There is a table of them.
        """
        digits_more = (self.sizes - DIGITS_BYTES) % 3
        cut = objects([end[: len(end) - more] for end in self.ends for more in range(3)])
        tails = _tails().take(digits_more * TAILS + self.seqs % TAILS)
        before = (self.sizes - DIGITS_BYTES - digits_more) // 3 * 4
        return cut.take(self.whose * 3 + digits_more), tails, before


class PieceTexts:
    """Records that are joined from pieces, where they go."""

    def __init__(self, columns: PieceColumns, start: int, stop: int) -> None:
        self._columns = columns
        self._rows = slice(start, stop)

    def __len__(self) -> int:
        return int(self._rows.stop - self._rows.start)

    def sizes(self) -> I32:
        """[records] bytes of each."""
        return self._columns.sizes[self._rows]

    def part(self, start: int, stop: int) -> "PieceTexts":
        """The records from start up to stop."""
        first, last = (min(self._rows.start + number, self._rows.stop) for number in (start, stop))
        return PieceTexts(self._columns, first, last)

    def pick(self, numbers: Numbers) -> WholeRecords:
        """The records with these numbers, in this order."""
        columns = self._pieces(self._rows.start + numbers, _LAST_DIGITS)
        return WholeRecords(list(map(b"".join, zip(*columns, strict=True))))

    def records(self) -> list[bytes]:
        """The bytes of each record."""
        return self.pick(np.arange(len(self))).whole

    def base64(self) -> Base64:
        """The same in base64, encoded all together."""
        ends, tails, before = self._columns.in_base64
        columns = [column[self._rows].tolist() for column in (*self._columns.quoted, ends)]
        encoded = BytesIO(pybase64.b64encode(b"".join(interleaved(columns))))
        # BytesIO cuts a text off in 50 ns; slicing takes 92, splitting at a mark 180.
        return Base64(list(map(encoded.read, before[self._rows].tolist())), tails[self._rows].tolist())

    def columns(self) -> list[list[bytes]]:
        """The pieces, of rows that follow each other: slicing columns takes 45 ns a record, `_pieces` 70."""
        columns, rows = self._columns, self._rows
        ends = objects(columns.ends).take(columns.whose[rows])
        digits = _LAST_DIGITS.take(columns.seqs[rows] % BLOCK)
        return [*(column[rows].tolist() for column in columns.quoted), ends.tolist(), digits.tolist()]

    def runs(
        self, order: Numbers, stops: Sequence[int], before: Objects | None, *, lines: bool
    ) -> Iterator[bytes]:
        """The records in an order, one after the other, up to each stop."""
        digits = _LAST_DIGITS_OF_LINES if lines else _LAST_DIGITS
        start, waiting = 0, list[int]()
        for number, stop in enumerate(stops, 1):
            waiting.append(stop - start)
            if stop - start < RECORDS_AT_ONCE and number < len(stops):
                continue
            columns = self._pieces(self._rows.start + order[start:stop], digits)
            if before is not None:
                columns.insert(0, before[start:stop].tolist())
            yield from joined_runs(columns, waiting)
            start, waiting = stop, []

    def _pieces(self, rows: Numbers, digits: Objects) -> list[list[bytes]]:
        """The columns of these rows."""
        columns = self._columns
        taken = [
            *[column.take(rows) for column in columns.quoted],
            objects(columns.ends).take(columns.whose.take(rows)),
            digits.take(columns.seqs.take(rows) % BLOCK),
        ]
        return [column.tolist() for column in taken]


@cache
def _tails() -> Objects:
    """[3 * TAILS] the base64 of a seq's last three digits and a brace, of its last four, of its last five."""
    tails: list[bytes] = []
    for digits in (3, 4, 5):
        numbers = np.arange(10**digits)
        ends = np.zeros(
            (len(numbers), 6), np.uint8
        )  # what is missing of the last three bytes is nothing, "=" there
        for place in range(digits):
            ends[:, place] = ord("0") + numbers // 10 ** (digits - 1 - place) % 10
        ends[:, digits] = ord("}")
        encoded = np.frombuffer(pybase64.b64encode(ends.tobytes()), np.uint8).reshape(-1, 8).copy()
        encoded[:, 3 + digits :] = ord("=")
        tails += encoded.view("S8").ravel().tolist() * (TAILS // 10**digits)
    return objects(tails)


def lengths(texts: Sequence[bytes] | Objects) -> I32:
    """[texts] bytes of each."""
    return np.fromiter(map(len, texts), np.int32, len(texts))


def objects(texts: Sequence[bytes]) -> Objects:
    """An array of these, and not of their characters."""
    objects = np.empty(len(texts), dtype=object)
    objects[:] = texts
    return objects


_LAST_DIGITS = objects([b"%03d}" % number for number in range(BLOCK)])
_LAST_DIGITS_OF_LINES = objects([b"%03d}\n" % number for number in range(BLOCK)])
