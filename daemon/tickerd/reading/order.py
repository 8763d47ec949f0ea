"""Whether the records of an instrument are stored in the order of their seq: a number for each instrument."""

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.int64]


class Order:
    """The highest seq of each instrument so far, along a line of shards from parent to child."""

    def __init__(self, *parents: "Order") -> None:
        self._highest = np.empty(0, np.int64)
        for parent in parents:
            size = len(parent._highest)
            self._grow(size)
            self._highest[:size] = np.maximum(self._highest[:size], parent._highest)

    def _grow(self, size: int) -> None:
        if size > len(self._highest):
            more = np.full(size - len(self._highest), -1, np.int64)
            self._highest = np.concatenate((self._highest, more))

    def late(self, instrument: Column, seq: Column) -> int:
        """How many of [records], in the order of reading, lie below the highest of their instrument.

        Only first copies are to be given.
        """
        if not len(seq):
            return 0
        self._grow(int(instrument.max()) + 1)
        before = self._highest[instrument]
        if (np.diff(seq) > 0).all() and (seq > before).all():  # as it should be: nothing overtook
            self._highest[instrument] = seq  # of one instrument's seqs the last one stays
            return 0
        by_instrument = np.argsort(instrument, kind="stable")
        group = np.cumsum(np.diff(instrument[by_instrument], prepend=-1) != 0)
        ranks, rank = np.unique(np.concatenate((seq, before)), return_inverse=True)
        # Ranks stand for the seqs, so that shifting each instrument's by a number of its own cannot overflow.
        shift = group * len(ranks)
        own = rank[: len(seq)][by_instrument] + shift
        known = rank[len(seq) :][by_instrument] + shift
        highest = np.maximum.accumulate(np.maximum(own, known))
        np.maximum.at(self._highest, instrument, seq)
        return int(np.count_nonzero(own < highest))
