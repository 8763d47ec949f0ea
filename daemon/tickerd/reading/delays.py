"""How long records took from their time to their arrival: counts by delay, however many records."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

DELAY_BITS = 12  # delays are kept to the millisecond below 4.096 s, and to 1 in 2,048 above


class Delays:
    """How many first copies took how long from record time to arrival."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, delay_ms: NDArray[np.int64]) -> None:
        """Count [records] delays; negative ones, of clocks that differ, too."""
        _, exponent = np.frexp(np.abs(delay_ms))
        coarse = np.maximum(exponent - DELAY_BITS, 0)
        delays, counts = np.unique(delay_ms >> coarse << coarse, return_counts=True)
        for delay, count in zip(delays.tolist(), counts.tolist(), strict=True):
            self._counts[delay] += count

    def quantile_s(self, share: float) -> float | None:
        """The delay in seconds that this share of the records did not exceed; None without records."""
        wanted = share * self._counts.total()
        for delay_ms, count in sorted(self._counts.items()):
            wanted -= count
            if wanted <= 0:
                return delay_ms / 1000
        return None
