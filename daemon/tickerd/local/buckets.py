"""The write limits of the shards: 1,000 entries and 1 MiB a second each, as token buckets of one second.

Owns the tokens; promises that no shard takes more than a second's worth at once, the burst for large
records aside. It does not know streams: shards are numbers, and the time is passed in.
"""

import numpy as np
from numpy.typing import NDArray

from tickerd.kinesis.limits import SHARD_BYTES_PER_SECOND, SHARD_ENTRIES_PER_SECOND


class ShardBuckets:
    """Tokens for shards 0 to n-1. A shard starts with full buckets."""

    def __init__(self) -> None:
        self._entries: NDArray[np.float64] = np.zeros(0)
        self._bytes: NDArray[np.float64] = np.zeros(0)
        self._filled_s = 0.0

    def grow(self, shards: int) -> None:
        """Add full buckets until there are `shards`."""
        more = shards - len(self._entries)
        self._entries = np.append(self._entries, np.full(more, float(SHARD_ENTRIES_PER_SECOND)))
        self._bytes = np.append(self._bytes, np.full(more, float(SHARD_BYTES_PER_SECOND)))

    def admit(self, now_s: float, shards: list[int], sizes: list[int]) -> list[int]:
        """Take tokens for entries of `sizes` bytes going to `shards`; return the positions of those refused.

        `now_s` is a monotonic time in seconds. An entry larger than a bucket is let in by a full one, which
        then owes the rest: the service bursts for large records and keeps to 1 MiB/s on average.
        """
        self._refill(now_s)
        count = len(self._entries)
        entries = np.bincount(shards, minlength=count)
        size = np.bincount(shards, weights=sizes, minlength=count)
        if (entries <= self._entries).all() and (size <= self._bytes).all():
            self._entries -= entries
            self._bytes -= size
            return []
        return self._admit_singly(shards, sizes)

    def _refill(self, now_s: float) -> None:
        passed_s = max(0.0, now_s - self._filled_s)
        self._filled_s = now_s
        self._entries += passed_s * SHARD_ENTRIES_PER_SECOND
        self._bytes += passed_s * SHARD_BYTES_PER_SECOND
        np.minimum(self._entries, SHARD_ENTRIES_PER_SECOND, out=self._entries)
        np.minimum(self._bytes, SHARD_BYTES_PER_SECOND, out=self._bytes)

    def _admit_singly(self, shards: list[int], sizes: list[int]) -> list[int]:
        entries, free = self._entries.tolist(), self._bytes.tolist()
        refused = []
        for position, (shard, size) in enumerate(zip(shards, sizes, strict=True)):
            if entries[shard] >= 1 and free[shard] >= min(size, SHARD_BYTES_PER_SECOND):
                entries[shard] -= 1
                free[shard] -= size
            else:
                refused.append(position)
        self._entries[:] = entries
        self._bytes[:] = free
        return refused
