"""How many shards carry a rate: the published limits, the sizes of entries, and how evenly keys fall.

Everything is a mean per second. It knows nothing of hosts but how many workers fill aggregates, nor of money.
"""

from collections.abc import Sequence
from math import ceil
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.kinesis.limits import SHARD_BYTES_PER_SECOND, SHARD_ENTRIES_PER_SECOND
from tickerd.kinesis.shards import hash_key

SHARDS_TRIED_MAX = 5000
ROUNDING = 1e-9
Mode = Literal["none", "kpl", "lines"]


class Traffic(NamedTuple):
    """What goes to the stream. `workers` are those of all hosts: each fills aggregates of its own."""

    records_per_second: float
    record_bytes: float  # with the key; what aggregating adds to and takes off it is a few bytes
    mode: Mode
    workers: int
    linger_s: float
    aggregate_bytes_max: int

    @property
    def bytes_per_second(self) -> float:
        """Of all records."""
        return self.records_per_second * self.record_bytes

    def entry_bytes(self, share: float) -> float:
        """The mean size of the entries of a shard that gets this share of all records.

        An aggregate is closed when it is full, or when it has lingered: a worker fills one for each shard.
        """
        if self.mode == "none":
            return self.record_bytes
        filled = share * self.bytes_per_second * self.linger_s / self.workers
        return max(self.record_bytes, min(filled, self.aggregate_bytes_max))

    def is_carried(self, share: float, free: float) -> bool:
        """Whether a shard that gets this share keeps so much of its limits free."""
        size = share * self.bytes_per_second
        entries = size / self.entry_bytes(share)
        taken = (1 - free) * (1 + ROUNDING)
        return size <= SHARD_BYTES_PER_SECOND * taken and entries <= SHARD_ENTRIES_PER_SECOND * taken


def even_shards(traffic: Traffic, free: float) -> int:
    """The fewest shards that carry the traffic when each gets as much as any other."""
    a_shard = SHARD_BYTES_PER_SECOND * (1 - free)
    smallest_entry = traffic.record_bytes if traffic.mode == "none" else traffic.aggregate_bytes_max
    entries = traffic.bytes_per_second / max(smallest_entry, traffic.record_bytes)
    shards = max(
        _up(traffic.bytes_per_second / a_shard), _up(entries / (SHARD_ENTRIES_PER_SECOND * (1 - free)))
    )
    if traffic.is_carried(1 / shards, free):
        return shards
    # So many workers linger that a shard gets more entries than it takes: then as many as there are records.
    return _up(traffic.records_per_second / (SHARD_ENTRIES_PER_SECOND * (1 - free)))


def keyed_shards(
    traffic: Traffic, free: float, instruments: Sequence[str], shares: NDArray[np.float64]
) -> int | None:
    """The fewest equal shards that carry it when each instrument stays in the shard of its hash.

    None when one instrument is more than a shard takes, or hardly less. `shares`: [instruments], of 1.
    """
    if not traffic.is_carried(float(shares.max()), free):
        return None
    # 32 bits of the hash: where a shard begins is then wrong by less than a billionth of all keys.
    hashes = np.array([hash_key(name) >> 96 for name in instruments], np.uint64)
    fewest = even_shards(traffic, free)
    for shards in range(fewest, fewest + SHARDS_TRIED_MAX):
        at = (hashes * np.uint64(shards)) >> np.uint64(32)
        if traffic.is_carried(float(np.bincount(at.astype(np.int64), shares).max()), free):
            return shards
    return None


def _up(number: float) -> int:
    """The next whole number, and 1 at least."""
    return max(1, ceil(number * (1 - ROUNDING)))
