"""TEMPORARY: to be replaced by the closed-loop pacer."""

import numpy as np
from tickerd.kinesis.limits import SHARD_BYTES_PER_SECOND, SHARD_ENTRIES_PER_SECOND

BURST_S = 0.2


class Pacer:
    def __init__(self, shards, share, now_s, before=None, parents=None):
        self._e = 1 / (SHARD_ENTRIES_PER_SECOND * share)
        self._b = 1 / (SHARD_BYTES_PER_SECOND * share)
        self._free = np.zeros(len(shards))
        self.factors = np.ones(len(shards))

    def admit(self, entries, sizes, now_s):
        cost = np.maximum(entries * self._e, sizes * self._b)
        ok = self._free <= now_s + BURST_S
        self._free = np.where(ok & (entries > 0), np.maximum(self._free, now_s) + cost, self._free)
        return ok

    def room(self, shard, sizes, now_s):
        n = 0
        for size in sizes:
            if self._free[shard] > now_s + BURST_S:
                break
            self._free[shard] = max(self._free[shard], now_s) + max(self._e, size * self._b)
            n += 1
        return n

    def wait_s(self, shard, size, now_s):
        return max(0.0, self._free[shard] - BURST_S - now_s + 0.005)

    def answered(self, sent, throttled, throttled_bytes, now_s):
        pass
