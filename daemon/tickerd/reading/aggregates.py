"""Aggregated records of the Kinesis Producer Library, taken apart by the rules of the Client Library.

The rule: when one member's hash key lies outside the shard that the aggregate was read from, all of it is
thrown away. The format itself is `kinesis/kpl.py`.
"""

import hashlib
from functools import lru_cache

from tickerd.kinesis.deaggregate import deaggregate


def members(data: bytes, hash_key_start: int, hash_key_end: int) -> tuple[list[bytes], bool]:
    """The members' data, and whether all their hash keys lie in the shard's range (both ends included).

    ValueError for an aggregate that is damaged.
    """
    parts = deaggregate(data)
    keys = {(partition_key, explicit) for partition_key, explicit, _ in parts}
    within = all(hash_key_start <= _hash_key(*key) <= hash_key_end for key in keys)
    return [data for _, _, data in parts], within


@lru_cache(65_536)
def _hash_key(partition_key: bytes, explicit: bytes) -> int:
    if explicit:
        return int(explicit)
    return int.from_bytes(hashlib.md5(partition_key, usedforsecurity=False).digest())
