"""Encoded records on their way into entries: their texts, and what addressing and accounting need of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickerd.records import FEEDS
from tickerd.texts import I64, Texts

Integers = NDArray[np.integer[Any]]

KEY, FEED, FRAME, SIZE = range(4)  # the rows of `Rows.columns`


@dataclass(slots=True)
class Rows:
    """Records in the order of their seq.

    `texts` is None where only the accounting is left, or where something else holds the bytes. `columns`:
    [4, records] `keys`, `feeds`, `frames`, `sizes`. They are one array because a NumPy call takes a
    microsecond, and a run of records for one shard has some 250.
    """

    texts: Texts | None
    columns: I64

    @classmethod
    def of_frame(cls, texts: Texts, keys: Integers, feeds: NDArray[np.uint8], frame: int) -> "Rows":
        """The encoded records of one frame's part."""
        columns = np.empty((4, len(texts)), np.int64)
        columns[KEY], columns[FEED], columns[FRAME], columns[SIZE] = keys, feeds, frame, texts.sizes()
        return cls(texts, columns)

    def __len__(self) -> int:
        return int(self.columns.shape[1])

    @property
    def keys(self) -> I64:
        """[records] numbers of the route's partition keys."""
        keys: I64 = self.columns[KEY]
        return keys

    @property
    def feeds(self) -> I64:
        """[records] numbers of the feeds, as in records.FEEDS."""
        feeds: I64 = self.columns[FEED]
        return feeds

    @property
    def frames(self) -> I64:
        """[records] the frame of each."""
        frames: I64 = self.columns[FRAME]
        return frames

    @property
    def sizes(self) -> I64:
        """[records] bytes of the record, without its key."""
        sizes: I64 = self.columns[SIZE]
        return sizes

    def part(self, start: int, stop: int) -> "Rows":
        """The records from start up to stop."""
        texts = None if self.texts is None else self.texts.part(start, stop)
        return Rows(texts, self.columns[:, start:stop])

    def pick(self, numbers: Sequence[int] | NDArray[np.intp]) -> "Rows":
        """The records with these numbers, in this order."""
        numbers = np.asarray(numbers, dtype=np.intp)
        texts = None if self.texts is None else self.texts.pick(numbers)
        return Rows(texts, self.columns.take(numbers, axis=1))

    def with_texts(self, texts: Texts | None) -> "Rows":
        """The same records in another form."""
        return Rows(texts, self.columns)

    def with_keys(self, keys: Integers) -> "Rows":
        """The same records under other keys."""
        columns = self.columns.copy()
        columns[KEY] = keys
        return Rows(self.texts, columns)

    def entry_bytes(self, key_bytes: I64) -> I64:
        """[records] bytes of each with its key, for keys of these lengths."""
        return self.sizes + key_bytes[self.keys]

    def records_by_feed(self, entry_bytes: I64) -> tuple[list[int], list[int]]:
        """How many records of each feed there are, and their bytes, which are given for each record."""
        records: list[int] = np.bincount(self.feeds, minlength=len(FEEDS)).tolist()
        sizes = np.bincount(self.feeds, entry_bytes, minlength=len(FEEDS))
        return records, [int(size) for size in sizes.tolist()]

    def records_by_frame(self) -> list[tuple[int, int]]:
        """(frame, records) of each frame among them; mostly they are few stretches, or one."""
        starts = [0, *(np.flatnonzero(np.diff(self.frames)) + 1).tolist(), len(self)]
        counts: dict[int, int] = {}
        for start, stop in pairwise(starts):
            frame = int(self.frames[start])
            counts[frame] = counts.get(frame, 0) + stop - start
        return list(counts.items())


def joined(pieces: Sequence[Rows]) -> Rows:
    """The records of all pieces, in their order, without their texts; there must be one piece at least."""
    if len(pieces) == 1:
        return pieces[0].with_texts(None)
    return Rows(None, np.concatenate([piece.columns for piece in pieces], axis=1))
