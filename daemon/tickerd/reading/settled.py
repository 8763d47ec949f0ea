"""The ends of what is judged: the lowest and the highest seq far enough from both ends of what was read."""

import numpy as np
from numpy.typing import NDArray

WAITING_MORE_MAX = 65_536

Column = NDArray[np.int64]


class Settled:
    """The lowest and the highest seq whose time lies within bounds that only ever grow wider.

    Seqs outside the present bounds are kept, two for each millisecond, until the bounds have reached them.
    """

    def __init__(self) -> None:
        self.lowest: int | None = None
        self.highest: int | None = None
        self._waiting = np.empty((0, 2), np.int64)  # seq, time_ms
        self._new: list[NDArray[np.int64]] = []
        self._new_records = 0

    def add(self, seq: Column, time_ms: Column, low_ms: float, high_ms: float) -> None:
        """Take in [records]; the bounds are those of now."""
        self._new.append(np.column_stack((seq, time_ms)))
        self._new_records += len(seq)
        if self._new_records > len(self._waiting) + WAITING_MORE_MAX:
            self.widen(low_ms, high_ms)

    def widen(self, low_ms: float, high_ms: float) -> None:
        """Look again at all that waits."""
        rows = np.concatenate((self._waiting, *self._new))
        self._new, self._new_records = [], 0
        within = (rows[:, 1] >= low_ms) & (rows[:, 1] <= high_ms)
        inside = rows[within, 0]
        if len(inside):
            ends = [int(inside.min()), int(inside.max())]
            known = [end for end in (self.lowest, self.highest) if end is not None]
            self.lowest, self.highest = min(ends + known), max(ends + known)
        rows = rows[~within]
        rows = rows[np.lexsort((rows[:, 0], rows[:, 1]))]  # by time, then by seq
        turn = np.diff(rows[:, 1]) != 0
        self._waiting = rows[np.r_[True, turn] | np.r_[turn, True]] if len(rows) else rows
