"""Where a partition key goes: the open shards of a stream and the hash keys that each owns.

A `ShardMap` is a snapshot; a newer one replaces it whole. It promises that every hash key has one shard.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.kinesis.limits import HASH_KEY_END

EVEN_KEY_TRIES = 1_000_000  # about a second of MD5 sums


class Shard(NamedTuple):
    """An open shard and its range of hash keys, both ends included."""

    shard_id: str
    hash_key_start: int
    hash_key_end: int


class ShardMapError(ValueError):
    """The ranges of the open shards do not cover all hash keys exactly once (a reshard is under way)."""


def hash_key(partition_key: str) -> int:
    """The MD5 sum of a partition key as a 128-bit big-endian integer, as the service routes by it."""
    return int.from_bytes(hashlib.md5(partition_key.encode(), usedforsecurity=False).digest())


class ShardMap:
    """The open shards of a stream in the order of their hash keys."""

    def __init__(self, shards: Iterable[Shard]) -> None:
        self.shards = sorted(shards, key=lambda shard: shard.hash_key_start)
        expected = 0
        for shard in self.shards:
            if shard.hash_key_start != expected:
                raise ShardMapError(f"no open shard, or two, own the hash key {expected}")
            expected = shard.hash_key_end + 1
        if expected != HASH_KEY_END:
            raise ShardMapError(f"no open shard owns the hash key {expected}")
        self._starts = [shard.hash_key_start for shard in self.shards]

    def __len__(self) -> int:
        return len(self.shards)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShardMap) and self.shards == other.shards

    __hash__ = None  # type: ignore[assignment]  # a map is compared, never a key

    def shard_of(self, key: int) -> int:
        """The position in `shards` of the shard that owns a hash key."""
        return bisect_right(self._starts, key) - 1

    def shards_of(self, partition_keys: Sequence[str]) -> NDArray[np.int64]:
        """[keys] positions in `shards`: done once for a map, so that a record costs one gather."""
        return np.array([self.shard_of(hash_key(key)) for key in partition_keys], dtype=np.int64)

    def even_keys(self) -> list[str]:
        """One partition key for each shard, in the shards' order.

        Keys are tried as "0", "1", … until every shard has one, so all hosts find the same ones. A shard so
        narrow that `EVEN_KEY_TRIES` find nothing (far below what a reshard makes) goes without.
        """
        found: dict[int, str] = {}
        for number in range(EVEN_KEY_TRIES):
            found.setdefault(self.shard_of(hash_key(str(number))), str(number))
            if len(found) == len(self.shards):
                break
        return [found[position] for position in sorted(found)]
