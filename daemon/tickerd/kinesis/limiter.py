"""What shards can take: the ceiling of a stream under given keys, and keeping below it while sending."""

import numpy as np
from numpy.typing import NDArray

from tickerd.kinesis.limits import SHARD_BYTES_PER_SECOND, SHARD_ENTRIES_PER_SECOND


def ceiling_records_per_second(shard_shares: NDArray[np.float64], record_bytes: float) -> float:
    """The rate of the whole stream at which its busiest shard reaches the published limits.

    `shard_shares`: [shards] share of all records that each shard gets, adding up to 1; `record_bytes`: mean
    size of a record with its key.
    """
    per_shard = min(SHARD_ENTRIES_PER_SECOND, SHARD_BYTES_PER_SECOND / record_bytes)
    return per_shard / float(shard_shares.max())


def shares_by_shard(
    key_shares: NDArray[np.float64], key_shards: NDArray[np.int32], shards: int
) -> NDArray[np.float64]:
    """[shards] share of all records: the sum of the shares of the keys that hash into each."""
    return np.bincount(key_shards, key_shares, shards).astype(np.float64, copy=False)


class ShardLimiter:
    """Keeps what is sent to each shard below a share of its published limits (GCRA, one clock a shard).

    `share` is this worker's part of each shard, 1 / workers. `wait_s` is asked once for each call; it books
    the call at once, so calls are let through in the order in which they asked.
    """

    def __init__(self, shards: int, share: float) -> None:
        self._entry_s = 1 / (SHARD_ENTRIES_PER_SECOND * share)
        self._byte_s = 1 / (SHARD_BYTES_PER_SECOND * share)
        self._free_at_s = np.zeros(shards)

    def wait_s(self, entry_shards: NDArray[np.int32], entry_bytes: NDArray[np.int32], now_s: float) -> float:
        """Seconds until a call may be sent; `entry_shards` and `entry_bytes` are [entries]."""
        shards = len(self._free_at_s)
        cost_s = np.maximum(
            np.bincount(entry_shards, minlength=shards) * self._entry_s,
            np.bincount(entry_shards, weights=entry_bytes, minlength=shards) * self._byte_s,
        )
        touched = cost_s > 0
        start_s = max(now_s, float(self._free_at_s[touched].max()))
        self._free_at_s[touched] = start_s + cost_s[touched]
        return start_s - now_s
