"""Records that are joined from pieces where they go: a run of records, base64, or the body of a request.

Of each record the pieces are: start, size and middle, which say what is in it; the end, with time and source;
and the last digits of its seq, of which there are tables.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from io import BytesIO
from itertools import pairwise

import numpy as np
import pybase64

from tickerd.texts import I32, I64, Base64, BySize, Numbers, Objects, WholeRecords

BLOCK = 1000  # of seqs, whose last three digits are a table that stays in the nearest cache
RECORDS_AT_ONCE = 1000
"""Their pieces stay in the nearer cache from being looked up to being joined; those of 16,000 do not."""
DIGITS_BYTES = 4  # of those, with the brace
DIGITS_KEPT = 2 * BLOCK  # the first texts of a table: the last digits of records, and those of lines
HEADS, HEADS_KEPT = DIGITS_KEPT, 4096  # then what stands before records in aggregates, by their sizes
COMMON_KEPT = DIGITS_KEPT + HEADS_KEPT
PIECES = 6  # of a record
HEAD, START, SIZE, MIDDLE, END, DIGITS = range(PIECES)
QUOTED = slice(START, MIDDLE + 1)  # those that say what is in it
TAILS = 100 * BLOCK  # of three sizes: 7 MB
SEQ_MIN = TAILS
"""Of records that have six digits at least, so that base64 can be cut before three, four or five of them."""


class PieceColumns:
    """[records] the pieces of each record, as numbers into a table of texts.

    `pieces`: [records, 6] the numbers of head (what stands before it in an aggregate, by its size), start,
    size, middle, end, and the last digits of its seq. `ends` are in it the ends: of each whole, less a byte,
    and less two.
    """

    def __init__(self, table: Objects, pieces: I32, ends: slice, seqs: I64, sizes: I32) -> None:
        self.table = table
        self.pieces = pieces
        self.seqs = seqs
        self.sizes = sizes  # [records] bytes of each
        self._ends = ends

    def own(self) -> None:
        """Have a table of its own from now on: texts of the shared one are about to become others."""
        ends, shared = self.table[self._ends], self.table
        quoted = self.pieces[:, QUOTED]
        first_end = COMMON_KEPT + quoted.size
        self.table = np.empty(first_end + len(ends), dtype=object)
        self.table[:COMMON_KEPT] = shared[:COMMON_KEPT]
        shared.take(quoted.ravel(), out=self.table[COMMON_KEPT:first_end], mode="clip")  # else it is buffered
        self.table[first_end:] = ends
        quoted[:] = np.arange(COMMON_KEPT, first_end).reshape(quoted.shape)
        self.pieces[:, END] += first_end - self._ends.start
        self._ends = slice(first_end, len(self.table))

    def has_large(self, heads: BySize) -> bool:
        """Whether there are records of which no head is kept."""
        return int(self.sizes.max(initial=0)) >= min(HEADS_KEPT, len(heads.kept))

    def write_heads(self, heads: BySize) -> None:
        """Have the table say what stands before records; of all parts it is the same."""
        if self.table[HEADS] is not heads.kept[0]:
            kept = heads.kept[:HEADS_KEPT]
            self.table[HEADS : HEADS + len(kept)] = kept


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
        texts = self._texts(numbers, START, lines=False)
        return WholeRecords(list(map(b"".join, texts.tolist())))

    def records(self) -> list[bytes]:
        """The bytes of each record."""
        return self.pick(np.arange(len(self))).whole

    def base64(self) -> Base64:
        """The same in base64, encoded many together."""
        columns, sizes = self._columns, self.sizes()
        # Cut off are the last three, four or five digits and a brace, so that what is before them has a
        # multiple of three bytes. There is a table of them.
        digits_more = (sizes - DIGITS_BYTES) % 3
        tails = _tails().take(digits_more * TAILS + columns.seqs[self._rows] % TAILS).tolist()
        before = ((sizes - DIGITS_BYTES - digits_more) // 3 * 4).tolist()
        pieces = columns.pieces[self._rows, START : END + 1].copy()
        pieces[:, -1] += digits_more
        texts: list[bytes] = []
        for start in range(0, len(pieces), RECORDS_AT_ONCE):
            some = slice(start, start + RECORDS_AT_ONCE)
            whole = b"".join(columns.table.take(pieces[some].ravel()).tolist())
            encoded = BytesIO(pybase64.b64encode(whole))
            # BytesIO cuts a text off in 50 ns; slicing takes 92, splitting at a mark 180.
            texts += map(encoded.read, before[some])
        return Base64(texts, tails)

    def columns(self) -> list[list[bytes]]:
        """The pieces, of rows that follow each other."""
        columns = self._columns
        gathered: list[list[bytes]] = columns.table.take(columns.pieces[self._rows, START:].T).tolist()
        return gathered

    def runs(
        self, order: Numbers, stops: Sequence[int], before: Objects | BySize | None, *, lines: bool
    ) -> Iterator[bytes]:
        """The records in an order, one after the other, up to each stop."""
        columns = self._columns
        if isinstance(before, BySize) and columns.has_large(before):
            yield from WholeRecords(self.records()).runs(order, stops, before, lines=lines)
            return
        first = START
        if isinstance(before, BySize):
            columns.write_heads(before)
            first = HEAD
        start, ends = 0, list[int]()
        for number, stop in enumerate(stops, 1):
            ends.append(stop - start)
            if stop - start < RECORDS_AT_ONCE and number < len(stops):
                continue
            texts = self._texts(order[start:stop], first, lines=lines)
            if isinstance(before, np.ndarray):
                texts = np.concatenate([before[start:stop, np.newaxis], texts], axis=1)
            for begin, end in pairwise([0, *ends]):
                yield b"".join(texts[begin:end].ravel().tolist())
            start, ends = stop, []

    def _texts(self, numbers: Numbers, first: int, *, lines: bool) -> Objects:
        """[numbers, pieces] the pieces of these records, from the first one on."""
        some = self._columns.pieces.take(self._rows.start + numbers, axis=0)
        if lines:
            some[:, DIGITS] += BLOCK
        texts: Objects = self._columns.table.take(some[:, first:])
        return texts


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


def objects(texts: Sequence[bytes]) -> Objects:
    """An array of these, and not of their characters."""
    objects = np.empty(len(texts), dtype=object)
    objects[:] = texts
    return objects


LAST_DIGITS = [b"%03d}" % number for number in range(BLOCK)]
LAST_DIGITS += [digits + b"\n" for digits in LAST_DIGITS]
assert len(LAST_DIGITS) == DIGITS_KEPT, "a table begins with them"
