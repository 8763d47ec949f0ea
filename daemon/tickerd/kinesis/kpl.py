"""The aggregated record of the Kinesis Producer Library: builds it, knows its size before, takes it apart.

The layout is the KPL's own (awslabs/amazon-kinesis-producer: aggregation-format.md, kinesis_record.cc):
magic, protobuf, MD5; tables before records, each key once in order of first appearance. One record alone
the KPL sends as it is: here that is the caller's affair, as are shards.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, count
from operator import getitem

import numpy as np
from numpy.typing import NDArray

from tickerd.kinesis.protobuf import read_field, read_varint, varint

MAGIC = b"\xf3\x89\x9a\xc2"
DIGEST_BYTES = 16  # MD5, as the format demands
OVERHEAD_BYTES = len(MAGIC) + DIGEST_BYTES

# Tags of fields: number * 8 + wire type (0 varint, 2 length and bytes).
PARTITION_KEY, HASH_KEY, RECORD = 0x0A, 0x12, 0x1A  # AggregatedRecord
KEY_INDEX, HASH_KEY_INDEX, DATA, USER_TAG = 0x08, 0x10, 0x1A, 0x22  # Record
USER_TAG_KEY = 0x0A  # Tag

# A varint grows by a byte at each of these; sizes and indexes are below 2**35.
VARINT_STEPS = np.array([2**7, 2**14, 2**21, 2**28], dtype=np.int64)

INDEXES_CACHED = 512  # 300 records of the default aggregate size have fewer keys
LENGTHS_CACHED = 256  # for each index; all together some 20 MB at most, in practice a tenth
KEYS_CACHED = 16384


class _Heads(dict[int, bytes]):
    """What stands before the data of a record whose key has one index, by the data's length."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self._start = bytes((KEY_INDEX, *varint(index), DATA))

    def __missing__(self, length: int) -> bytes:
        if len(self) >= LENGTHS_CACHED:
            self.clear()
        fields = self._start + varint(length)
        head = self[length] = bytes((RECORD, *varint(len(fields) + length), *fields))
        return head


class _TableEntries(dict[bytes, bytes]):
    """The field of the table that holds a partition key."""

    def __missing__(self, key: bytes) -> bytes:
        if len(self) >= KEYS_CACHED:
            self.clear()
        entry = self[key] = bytes((PARTITION_KEY, *varint(len(key)))) + key
        return entry


_TABLE_ENTRIES = _TableEntries()
_HEADS = [_Heads(index) for index in range(INDEXES_CACHED)]


def aggregate(keys: Sequence[int], data: Sequence[bytes], table: Sequence[bytes]) -> bytes:
    """One aggregated record of at least one record.

    `keys`: [records] the number of each record's partition key; `table`: [keys] the keys in UTF-8. Raises
    ValueError when `keys` and `data` differ in length or are empty: an empty aggregate would be read as data.
    """
    if not data or len(keys) != len(data):
        raise ValueError(f"an aggregate of {len(data)} records with {len(keys)} keys")
    # A key's first record takes the next index, which here is the table of heads for it.
    heads = defaultdict[int, _Heads](chain(_HEADS, map(_Heads, count(INDEXES_CACHED))).__next__)
    heads_of_records = list(map(heads.__getitem__, keys))
    used = len(heads)
    pieces = [b""] * (used + 2 * len(data))
    pieces[:used] = map(_TABLE_ENTRIES.__getitem__, map(table.__getitem__, heads))
    pieces[used::2] = map(getitem, heads_of_records, map(len, data))
    pieces[used + 1 :: 2] = data
    body = b"".join(pieces)
    return b"".join((MAGIC, body, hashlib.md5(body, usedforsecurity=False).digest()))


def aggregate_bytes(
    keys: NDArray[np.int32], sizes: NDArray[np.int32], key_bytes: NDArray[np.int32]
) -> NDArray[np.int64]:
    """[records] the exact size of the aggregate of the first record, of the first two, of the first three, ….

    `keys`: [records] numbers of partition keys; `sizes`: [records] bytes of data; `key_bytes`: [keys] bytes
    of each key in UTF-8. The entry's own partition key is not counted.
    """
    return _running_bytes(keys, sizes, _record_bytes(sizes), _table_entry_bytes(key_bytes))


def growth_bytes(
    keys: NDArray[np.int32],
    sizes: NDArray[np.int32],
    key_bytes: NDArray[np.int32],
    used: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """[records] by how much, at most, each record makes the open aggregate of its shard larger.

    The running form of `aggregate_bytes`, for records of any number of shards at once: a key has one shard,
    so one `used` ([keys], whether it is in its shard's open aggregate before these records) serves them all.
    OVERHEAD_BYTES and the sum of a shard's growth are never below the aggregate's size: equal where there are
    at most 128 keys, with up to 16,384 above it by a byte (rarely two) for each index below 128.
    """
    _, new = _first_uses(keys, len(key_bytes))
    new &= ~used[keys]
    last = None if len(key_bytes) <= VARINT_STEPS[0] else np.full(1, len(key_bytes) - 1)
    return _record_bytes(sizes, last) + np.where(new, _table_entry_bytes(key_bytes)[keys], 0)


def cut(
    keys: NDArray[np.int32],
    sizes: NDArray[np.int32],
    key_bytes: NDArray[np.int32],
    entry_bytes_max: int,
    start: int = 0,
) -> list[int]:
    """Where aggregates end among the records of one shard from `start` on: rising numbers of records.

    Arguments as in `aggregate_bytes`. An aggregate and the partition key of its entry, which is its first
    record's, have `entry_bytes_max` bytes at most and leave no room for the next record. The last, unfilled
    one is left out. A record too large for an aggregate is an end of its own: it may yet go as it is.
    """
    ends: list[int] = []
    record_bytes = _record_bytes(sizes)
    table_entry_bytes = _table_entry_bytes(key_bytes)
    total = np.cumsum(record_bytes)
    while start < len(keys):
        # No aggregate from here on reaches beyond the window: its tables are not counted yet.
        sent = int(total[start - 1]) if start else 0
        stop = int(np.searchsorted(total, sent + entry_bytes_max - OVERHEAD_BYTES, side="right"))
        window = slice(start, stop)  # empty where a record alone is too large
        size = _running_bytes(keys[window], sizes[window], record_bytes[window], table_entry_bytes)
        room = entry_bytes_max - int(key_bytes[keys[start]])
        fitting = int(np.searchsorted(size, room, side="right"))
        if start + fitting == len(keys):
            break
        start += max(fitting, 1)
        ends.append(start)
    return ends


def _running_bytes(
    keys: NDArray[np.int32],
    sizes: NDArray[np.int32],
    record_bytes: NDArray[np.int64],
    table_entry_bytes: NDArray[np.int64],
) -> NDArray[np.int64]:
    """`aggregate_bytes`, given the bytes of records by themselves (index below 128) and of table entries."""
    first, new = _first_uses(keys, len(table_entry_bytes))
    if np.count_nonzero(new) > VARINT_STEPS[0]:
        indexes = (np.cumsum(new) - 1)[first[keys]]
        record_bytes = _record_bytes(sizes, indexes)
    return OVERHEAD_BYTES + np.cumsum(record_bytes + np.where(new, table_entry_bytes[keys], 0))


def _first_uses(keys: NDArray[np.int32], key_count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """[keys] the first record of each key that occurs; [records] whether the record is its key's first."""
    positions = np.arange(len(keys))
    first = np.empty(key_count, dtype=np.int64)
    first[keys[::-1]] = positions[::-1]  # of repeated assignments NumPy keeps the last
    return first, first[keys] == positions


def _record_bytes(sizes: NDArray[np.int32], indexes: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """[records] bytes of each record in an aggregate; without `indexes` they are below 128: a byte each."""
    index_bytes = 1 if indexes is None else _varint_bytes(indexes)
    fields = 2 + index_bytes + _varint_bytes(sizes) + sizes  # two tags
    return 1 + _varint_bytes(fields) + fields


def _table_entry_bytes(key_bytes: NDArray[np.int32]) -> NDArray[np.int64]:
    return 1 + _varint_bytes(key_bytes) + key_bytes


def _varint_bytes(values: NDArray[np.int32] | NDArray[np.int64]) -> NDArray[np.int64]:
    return 1 + np.searchsorted(VARINT_STEPS, values, side="right")


def deaggregate(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """(partition key, explicit hash key or b"", data) of each record, in order.

    Raises ValueError for what is no aggregate (magic, MD5) and for one that is malformed: cut short, a
    required field missing, an index outside its table, a varint above 64 bits, a group, a key that is not
    UTF-8. Fields that the format does not know are skipped.
    """
    body = data[len(MAGIC) : -DIGEST_BYTES]
    if not data.startswith(MAGIC) or not body:
        raise ValueError("not an aggregated record: no magic number, or nothing after it")
    if hashlib.md5(body, usedforsecurity=False).digest() != data[-DIGEST_BYTES:]:
        raise ValueError("damaged aggregated record: its MD5 sum is another")
    try:
        return _take_apart(body)
    except IndexError:
        raise ValueError("malformed aggregated record: cut short, or an index outside its table") from None
    except UnicodeDecodeError:
        raise ValueError("malformed aggregated record: a key that is not UTF-8") from None
    except ValueError as error:
        raise ValueError(f"malformed aggregated record: {error}") from None


def _take_apart(body: bytes) -> list[tuple[bytes, bytes, bytes]]:  # noqa: C901, PLR0912  see its comment
    """The records of an AggregatedRecord message."""
    keys: list[bytes] = []
    hash_keys: list[bytes] = []
    records: list[tuple[bytes, bytes, bytes]] = []
    unusual: list[tuple[int, int, int]] = []  # their keys are looked up last: tables may follow records
    position, end = 0, len(body)
    while position < end:
        # A record as `aggregate` writes it is read in line: calls for it would take three times as long.
        # Whatever looks different in any way goes the general way.
        if body[position] == RECORD:
            size, start = body[position + 1], position + 2
            if size > 0x7F:
                size, start = size + (body[start] << 7) - 128, start + 1
                if body[start - 1] > 0x7F:
                    size, start = read_varint(body, position + 1)
            stop = start + size
            if body[start] == KEY_INDEX:
                index, at = body[start + 1], start + 2
                if index > 0x7F:
                    index, at = read_varint(body, start + 1)
                if body[at] == DATA:
                    length, begin = body[at + 1], at + 2
                    if length > 0x7F:
                        length, begin = length + (body[begin] << 7) - 128, begin + 1
                        if body[begin - 1] > 0x7F:
                            length, begin = read_varint(body, at + 1)
                    if begin + length == stop <= end and index < len(keys):
                        records.append((keys[index], b"", body[begin:stop]))
                        position = stop
                        continue
        tag, _, content, position = read_field(body, position)
        if tag == PARTITION_KEY:
            content.decode()
            keys.append(content)
        elif tag == HASH_KEY:
            content.decode()
            hash_keys.append(content)
        elif tag == RECORD:
            key, hash_key, content = _record(content)
            unusual.append((len(records), key, hash_key))
            records.append((b"", b"", content))
    for number, key, hash_key in unusual:
        records[number] = (keys[key], hash_keys[hash_key] if hash_key >= 0 else b"", records[number][2])
    return records


def _record(message: bytes) -> tuple[int, int, bytes]:
    """Index of the partition key, of the explicit hash key or -1, and data of a Record message."""
    key = hash_key = -1
    data: bytes | None = None
    position = 0
    while position < len(message):
        tag, number, content, position = read_field(message, position)
        if tag == KEY_INDEX:
            key = number
        elif tag == HASH_KEY_INDEX:
            hash_key = number
        elif tag == DATA:
            data = content
        elif tag == USER_TAG:
            _check_user_tag(content)
    if key < 0 or data is None:
        raise ValueError("a record without its key's index or without data")
    return key, hash_key, data


def _check_user_tag(message: bytes) -> None:
    position, found = 0, False
    while position < len(message):
        tag, _, _, position = read_field(message, position)
        found |= tag == USER_TAG_KEY
    if not found:
        raise ValueError("a tag without its key")
