"""The aggregated record of the Kinesis Producer Library: builds it, and knows its size before.

The layout is the KPL's own (awslabs/amazon-kinesis-producer: aggregation-format.md, kinesis_record.cc):
magic, protobuf, MD5; tables before records, each key once in order of first appearance. One record alone
the KPL sends as it is: here that is the caller's affair, as are shards.
"""

import hashlib
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.kinesis.key_uses import Groups
from tickerd.protobuf import varint
from tickerd.texts import I64, BySize

MAGIC = b"\xf3\x89\x9a\xc2"
DIGEST_BYTES = 16  # MD5, as the format demands
OVERHEAD_BYTES = len(MAGIC) + DIGEST_BYTES

# Tags of fields: number * 8 + wire type (0 varint, 2 length and bytes).
PARTITION_KEY, HASH_KEY, RECORD = 0x0A, 0x12, 0x1A  # AggregatedRecord
KEY_INDEX, HASH_KEY_INDEX, DATA, USER_TAG = 0x08, 0x10, 0x1A, 0x22  # Record
USER_TAG_KEY = 0x0A  # Tag

# A varint grows by a byte at each of these; sizes and indexes are below 2**35.
VARINT_STEPS = np.array([2**7, 2**14, 2**21, 2**28], dtype=np.int64)

# The longest records, with their heads, of which the length takes a byte, two, three.
LENGTH_STEPS = np.array([2**7 + 1, 2**14 + 2, 2**21 + 3], dtype=np.int64)

INDEXES_OF_A_BYTE = 128
LARGER_INDEX_BYTES = 5  # more than that of a byte, at most, with the length that may grow by one
SIZES_KEPT = 4096  # bytes of data; what is larger is rare


class KeyTable:
    """Partition keys in UTF-8, and what an aggregate needs of each. `shards`: [keys] the shard of each."""

    def __init__(self, keys: Sequence[bytes], shards: I64) -> None:
        self.groups = Groups(shards)
        self.key_bytes = np.array(list(map(len, keys)), dtype=np.int64)
        self.fields = [bytes((PARTITION_KEY, *varint(len(key)))) + key for key in keys]
        """[keys] the field of the aggregate's table that holds it."""
        self.field_bytes = np.array(list(map(len, self.fields)), dtype=np.int64)
        self.all_field_bytes = int(self.field_bytes.sum())

    def __len__(self) -> int:
        return len(self.fields)


def _head(index: int, size: int) -> bytes:
    """What stands before the data of a record whose key has this index."""
    fields = bytes((KEY_INDEX, *varint(index), DATA, *varint(size)))
    return bytes((RECORD, *varint(len(fields) + size), *fields))


def heads(sizes: I64) -> NDArray[np.object_]:
    """[records] what stands before data of these sizes, with 0 for the index of the key.

    An index below 128 is one byte, so that `aggregate` need only set it.
    """
    if len(sizes) and sizes.max() < SIZES_KEPT:
        kept: NDArray[np.object_] = _HEADS.take(sizes)
        return kept
    found = np.empty(len(sizes), dtype=object)
    found[:] = [_head(0, size) for size in sizes.tolist()]
    return found


class Cut(NamedTuple):
    """An aggregate among records: where it ends, and its keys in the order of their first records."""

    stop: int
    used: list[int]


class Members:
    """Records of one shard that become aggregates, one after the other.

    `keys`: [records] the number of each record's partition key in the table, which says that all are of one
    shard: indexes would be wrong otherwise. `sizes`: [records] bytes of its data, and `written` with the head
    that `heads` gives.
    """

    def __init__(self, keys: I64, sizes: I64, written: I64, table: KeyTable) -> None:
        self.ends = written.cumsum()
        """[records] where each ends among all that is written."""
        self._keys, self._sizes, self._written, self._table = keys, sizes, written, table
        self._uses = table.groups.uses(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def cut(self, entry_bytes_max: int, *, whole: bool) -> list[Cut]:
        """The aggregates of them.

        An aggregate and the partition key of its entry, which is its first record's, have `entry_bytes_max`
        bytes at most and leave no room for the next record. The last, unfilled one is left out unless they
        are cut `whole`. A record too large for an aggregate is one of its own: it may yet go as it is.
        """
        cuts: list[Cut] = []
        ends, table, records = self.ends, self._table, len(self)
        most = int(ends[-1]) + table.all_field_bytes if records else 0
        start = begin = 0
        while start < records:
            # No aggregate from here on reaches beyond the window: its tables are not counted yet.
            room = entry_bytes_max - table.key_bytes.item(self._keys.item(start))
            last = begin + room - OVERHEAD_BYTES
            if not whole and most + (records - start) * LARGER_INDEX_BYTES <= last:
                break  # whichever keys they have
            window_stop = int(ends.searchsorted(last, side="right"))
            used, last_first_use = self._uses.of(start, window_stop)
            # As if every key of the window were used. Mostly those that fit use them all: then it is exact.
            tables = sum([len(table.fields[key]) for key in used])
            fitting = int(ends.searchsorted(last - tables, side="right")) - start
            if fitting < 1 or len(used) > INDEXES_OF_A_BYTE or last_first_use >= start + fitting:
                some = slice(start, window_stop)
                size = aggregate_bytes(self._keys[some], self._sizes[some], table)
                # None, where the first alone is too large.
                fitting = int(size.searchsorted(room, side="right"))
                used, _ = self._uses.of(start, start + max(1, fitting))
            if start + fitting == records and not whole:
                break
            start += max(1, fitting)
            begin = ends.item(start - 1)
            cuts.append(Cut(start, used))
        return cuts

    def aggregate(
        self, start: int, stop: int, used: Sequence[int], written: Sequence[bytes | memoryview]
    ) -> bytearray:
        """The aggregated record of those from start up to stop, which are `written` one after the other.

        `used`: their keys in the order of their first records, which take the indexes from 0 on. Raises
        ValueError when there are none, as an empty aggregate would be read as data, and when keys and what is
        written do not belong together.
        """
        lengths = self._written[start:stop]
        begins = self.ends[start:stop] - lengths
        keys = len(self._keys[start:stop])
        if not keys or keys != len(begins) or sum(map(len, written)) != self.ends[stop - 1] - begins[0]:
            raise ValueError(f"an aggregate of {len(begins)} records with {keys} keys")
        indexes = self._uses.indexes(start, stop, used)
        tables = b"".join([self._table.fields[key] for key in used])
        if len(used) > INDEXES_OF_A_BYTE:
            written = _with_heads(indexes, self._sizes[start:stop], lengths, b"".join(written))
        # One copy of all, in which the indexes are set and the digest, instead of one for each of these.
        data = bytearray().join((MAGIC, tables, *written, bytes(DIGEST_BYTES)))
        if len(used) <= INDEXES_OF_A_BYTE:
            # Before an index are two tags and the length of what follows.
            places = begins + LENGTH_STEPS.searchsorted(lengths)
            places += len(MAGIC) + len(tables) + 3 - begins[0]
            np.frombuffer(data, np.uint8)[places] = indexes
        content = memoryview(data)
        digest = hashlib.md5(content[len(MAGIC) : -DIGEST_BYTES], usedforsecurity=False)
        content[-DIGEST_BYTES:] = digest.digest()
        return data


def _with_heads(indexes: NDArray[np.integer[Any]], sizes: I64, lengths: I64, written: bytes) -> list[bytes]:
    """Records with the heads that they have with these indexes, instead of those that are `written`."""
    ends = lengths.cumsum()
    places = zip((ends - sizes).tolist(), ends.tolist(), strict=True)
    data = [written[begin:end] for begin, end in places]
    return list(chain.from_iterable(zip(map(_head, indexes.tolist(), sizes.tolist()), data, strict=True)))


def aggregate_bytes(keys: I64, sizes: I64, table: KeyTable) -> I64:
    """[records] the exact size of the aggregate of the first record, of the first two, of the first three, ….

    `keys`: [records] numbers of partition keys in the table; `sizes`: [records] bytes of data. The entry's
    own partition key is not counted.
    """
    first = np.empty(len(table), dtype=np.int64)
    positions = np.arange(len(keys))
    first[keys[::-1]] = positions[::-1]  # of repeated assignments NumPy keeps the last
    first_uses = first[keys]
    new = first_uses == positions
    indexes = new.cumsum() - 1
    several = len(indexes) and indexes[-1] >= INDEXES_OF_A_BYTE
    grows = record_bytes(sizes, indexes[first_uses] if several else None)
    grows[new] += table.field_bytes[keys[new]]
    return OVERHEAD_BYTES + grows.cumsum()


def record_bytes(sizes: I64, indexes: I64 | None = None) -> I64:
    """[records] bytes of each with its head; `indexes`: [records] of keys, None: all are below 128."""
    if indexes is None and len(sizes) and sizes.max() < SIZES_KEPT:
        kept: I64 = _RECORD_BYTES.take(sizes)
        return kept
    index_bytes = 1 if indexes is None else _varint_bytes(indexes)
    fields = 2 + index_bytes + _varint_bytes(sizes) + sizes  # two tags
    return 1 + _varint_bytes(fields) + fields


def _varint_bytes(values: I64) -> I64:
    return 1 + VARINT_STEPS.searchsorted(values, side="right")


_HEADS = np.array([_head(0, size) for size in range(SIZES_KEPT)], dtype=object)
_RECORD_BYTES = np.array([len(head) + size for size, head in enumerate(_HEADS)])
HEADS = BySize(_HEADS, heads)
