"""Encoded records on their way into entries: their bytes, and what addressing and accounting need of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tickerd.records import FEEDS


@dataclass(slots=True)
class Rows:
    """Records in the order of their seq. All columns are [records] long.

    `data` is empty where only the accounting is left: the members of an aggregate that has been built.
    """

    data: list[bytes]
    keys: NDArray[np.int32]  # numbers of the route's partition keys
    feeds: NDArray[np.uint8]  # numbers of the feeds, as in records.FEEDS
    frames: NDArray[np.int64]
    sizes: NDArray[np.int32]  # bytes of the record, without its key

    @classmethod
    def of_frame(
        cls, data: list[bytes], keys: NDArray[np.int32], feeds: NDArray[np.uint8], frame: int
    ) -> "Rows":
        """The encoded records of one frame's part."""
        sizes = np.fromiter(map(len, data), np.int32, len(data))
        return cls(data, keys, feeds, np.full(len(data), frame, np.int64), sizes)

    def __len__(self) -> int:
        return len(self.keys)

    def part(self, start: int, stop: int) -> "Rows":
        """The records from start up to stop."""
        return Rows(
            self.data[start:stop],
            self.keys[start:stop],
            self.feeds[start:stop],
            self.frames[start:stop],
            self.sizes[start:stop],
        )

    def own_part(self, start: int, stop: int) -> "Rows":
        """The same, in columns of its own: a part that waits long must not keep the whole alive."""
        part = self.part(start, stop)
        return Rows(part.data, part.keys.copy(), part.feeds.copy(), part.frames.copy(), part.sizes.copy())

    def pick(self, numbers: Sequence[int] | NDArray[np.intp]) -> "Rows":
        """The records with these numbers, in this order."""
        numbers = np.asarray(numbers, dtype=np.intp)
        return Rows(
            list(map(self.data.__getitem__, numbers.tolist())) if self.data else [],
            self.keys[numbers],
            self.feeds[numbers],
            self.frames[numbers],
            self.sizes[numbers],
        )

    def without_data(self) -> "Rows":
        """What accounting needs of them."""
        return Rows([], self.keys, self.feeds, self.frames, self.sizes)

    def entry_bytes(self, key_bytes: NDArray[np.int32]) -> NDArray[np.int32]:
        """[records] bytes of each with its key, for keys of these lengths."""
        return self.sizes + key_bytes[self.keys]

    def records_by_feed(self, key_bytes: NDArray[np.int32]) -> tuple[list[int], list[int]]:
        """How many records of each feed there are, and their bytes with keys, whose lengths are given."""
        records: list[int] = np.bincount(self.feeds, minlength=len(FEEDS)).tolist()
        sizes = np.bincount(self.feeds, self.entry_bytes(key_bytes), minlength=len(FEEDS))
        return records, [int(size) for size in sizes.tolist()]

    def records_by_frame(self) -> list[tuple[int, int]]:
        """(frame, records) of each frame among them; mostly there is one."""
        if (self.frames == self.frames[0]).all():
            return [(int(self.frames[0]), len(self))]
        frames, counts = np.unique(self.frames, return_counts=True)
        return list(zip(frames.tolist(), counts.tolist(), strict=True))


def joined(pieces: Sequence[Rows]) -> Rows:
    """The records of all pieces, in their order; there must be one piece at least."""
    if len(pieces) == 1:
        return pieces[0]
    return Rows(
        [data for piece in pieces for data in piece.data],
        np.concatenate([piece.keys for piece in pieces]),
        np.concatenate([piece.feeds for piece in pieces]),
        np.concatenate([piece.frames for piece in pieces]),
        np.concatenate([piece.sizes for piece in pieces]),
    )
