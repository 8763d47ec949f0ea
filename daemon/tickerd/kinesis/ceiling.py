"""What a stream can take: the rate at which its busiest shard reaches the published limits."""

import numpy as np
from numpy.typing import NDArray

from tickerd.kinesis.limits import SHARD_BYTES_PER_SECOND, SHARD_ENTRIES_PER_SECOND


def ceiling_records_per_second(
    shard_shares: NDArray[np.float64], record_bytes: float, *, aggregated: bool = False
) -> float:
    """The rate of the whole stream at which its busiest shard is full.

    `shard_shares`: [shards] share of all records that each shard gets, adding up to 1; `record_bytes`: mean
    size of a record with its key. Aggregated, the entries that a shard takes in a second are no limit.
    """
    per_shard = SHARD_BYTES_PER_SECOND / record_bytes
    if not aggregated:
        per_shard = min(SHARD_ENTRIES_PER_SECOND, per_shard)
    return per_shard / float(shard_shares.max())


def shares_by_shard(
    key_shares: NDArray[np.float64], key_shards: NDArray[np.int64], shards: int
) -> NDArray[np.float64]:
    """[shards] share of all records: the sum of the shares of the keys that hash into each."""
    return np.bincount(key_shards, key_shares, shards).astype(np.float64, copy=False)
