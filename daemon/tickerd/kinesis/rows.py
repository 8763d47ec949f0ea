"""Encoded records on their way into entries: their texts, and what addressing and accounting need of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tickerd.records import FEEDS
from tickerd.texts import Texts


@dataclass(slots=True)
class Rows:
    """Records in the order of their seq. All columns are [records] long.

    `texts` is None where only the accounting is left, or where something else holds the bytes.
    """

    texts: Texts | None
    keys: NDArray[np.int32]  # numbers of the route's partition keys
    feeds: NDArray[np.uint8]  # numbers of the feeds, as in records.FEEDS
    frames: NDArray[np.int64]
    sizes: NDArray[np.int32]  # bytes of the record, without its key

    @classmethod
    def of_frame(cls, texts: Texts, keys: NDArray[np.int32], feeds: NDArray[np.uint8], frame: int) -> "Rows":
        """The encoded records of one frame's part."""
        return cls(texts, keys, feeds, np.full(len(texts), frame, np.int64), texts.sizes())

    def __len__(self) -> int:
        return len(self.keys)

    def part(self, start: int, stop: int) -> "Rows":
        """The records from start up to stop."""
        return Rows(
            None if self.texts is None else self.texts.part(start, stop),
            self.keys[start:stop],
            self.feeds[start:stop],
            self.frames[start:stop],
            self.sizes[start:stop],
        )

    def pick(self, numbers: Sequence[int] | NDArray[np.intp]) -> "Rows":
        """The records with these numbers, in this order."""
        numbers = np.asarray(numbers, dtype=np.intp)
        return Rows(
            None if self.texts is None else self.texts.pick(numbers),
            self.keys[numbers],
            self.feeds[numbers],
            self.frames[numbers],
            self.sizes[numbers],
        )

    def own_columns(self) -> "Rows":
        """Without texts, in columns of its own."""
        return Rows(None, self.keys.copy(), self.feeds.copy(), self.frames.copy(), self.sizes.copy())

    def with_texts(self, texts: Texts | None) -> "Rows":
        """The same records in another form."""
        return Rows(texts, self.keys, self.feeds, self.frames, self.sizes)

    def entry_bytes(self, key_bytes: NDArray[np.int32]) -> NDArray[np.int32]:
        """[records] bytes of each with its key, for keys of these lengths."""
        return self.sizes + key_bytes[self.keys]

    def records_by_feed(self, key_bytes: NDArray[np.int32]) -> tuple[list[int], list[int]]:
        """How many records of each feed there are, and their bytes with keys, whose lengths are given."""
        records: list[int] = np.bincount(self.feeds, minlength=len(FEEDS)).tolist()
        sizes = np.bincount(self.feeds, self.entry_bytes(key_bytes), minlength=len(FEEDS))
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
    return Rows(
        None,
        np.concatenate([piece.keys for piece in pieces]),
        np.concatenate([piece.feeds for piece in pieces]),
        np.concatenate([piece.frames for piece in pieces]),
        np.concatenate([piece.sizes for piece in pieces]),
    )
