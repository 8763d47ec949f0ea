"""Aggregated records of the Kinesis Producer Library, taken apart by the rules of the Client Library.

The format: a magic number, a protobuf message AggregatedRecord, the MD5 sum of that message. The rule: when
one member's hash key lies outside the shard that the aggregate was read from, all of it is thrown away.
"""

import hashlib
from functools import lru_cache

MAGIC = b"\xf3\x89\x9a\xc2"
MD5_BYTES = 16
# Tags of protobuf: the field's number and its wire type in one byte.
PARTITION_KEY, EXPLICIT_HASH_KEY, RECORD = 0x0A, 0x12, 0x1A  # of AggregatedRecord
PARTITION_KEY_INDEX, EXPLICIT_HASH_KEY_INDEX, DATA = 0x08, 0x10, 0x1A  # of Record

Part = tuple[bytes, bytes, bytes]  # partition key, explicit hash key or empty, data


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


def deaggregate(data: bytes) -> list[Part]:
    """(partition key, explicit hash key or empty, data) of each member; ValueError when it is damaged."""
    message = data[len(MAGIC) : -MD5_BYTES]
    whole = data.startswith(MAGIC) and len(data) > len(MAGIC) + MD5_BYTES
    if not whole or hashlib.md5(message, usedforsecurity=False).digest() != data[-MD5_BYTES:]:
        raise ValueError("no aggregated record, or its sum does not match")
    keys: list[bytes] = []
    explicit_keys: list[bytes] = [b""]  # the place of records that have none
    records: list[tuple[int, int, bytes]] = []
    at, end = 0, len(message)
    while at < end:
        tag = message[at]
        if tag not in {PARTITION_KEY, EXPLICIT_HASH_KEY, RECORD}:
            at = _skip(message, at, end)
            continue
        at, stop = _stretch(message, at + 1, end)
        if tag == PARTITION_KEY:
            keys.append(message[at:stop])
        elif tag == EXPLICIT_HASH_KEY:
            explicit_keys.append(message[at:stop])
        else:
            records.append(_record(message, at, stop))
        at = stop
    try:
        return [(keys[key], explicit_keys[explicit], body) for key, explicit, body in records]
    except IndexError:
        raise ValueError("a member's key is not in the table of keys") from None


def _record(message: bytes, at: int, end: int) -> tuple[int, int, bytes]:
    """Number of the key, number of the explicit hash key counted from 1 (0: none), data."""
    key, explicit, data = -1, 0, None
    while at < end:
        tag = message[at]
        if tag == DATA:
            at, stop = _stretch(message, at + 1, end)
            data = message[at:stop]
            at = stop
        elif tag == PARTITION_KEY_INDEX:
            key, at = _varint(message, at + 1, end)
        elif tag == EXPLICIT_HASH_KEY_INDEX:
            number, at = _varint(message, at + 1, end)
            explicit = number + 1
        else:
            at = _skip(message, at, end)
    if key < 0 or data is None:
        raise ValueError("a member without its key or its data")
    return key, explicit, data


def _varint(message: bytes, at: int, end: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends."""
    number = shift = 0
    while at < end and shift < 64:
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
    raise ValueError("a number that does not end")


def _stretch(message: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the bytes begin whose length stands at `at`, and where they end."""
    length, at = _varint(message, at, end)
    if at + length > end:
        raise ValueError("a field longer than what there is")
    return at, at + length


def _skip(message: bytes, at: int, end: int) -> int:
    """Where the field ends that begins at `at`: one that this reader has no use for."""
    tag, at = _varint(message, at, end)
    match tag & 7:  # the wire type
        case 0:
            return _varint(message, at, end)[1]
        case 2:
            return _stretch(message, at, end)[1]
        case 1 if at + 8 <= end:
            return at + 8
        case 5 if at + 4 <= end:
            return at + 4
    raise ValueError("a field of no known kind")
