"""Which keys records of a shard use, in the order of their first uses: so tables of aggregates have them."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tickerd.texts import I64

FEW = 128  # keys of a shard; looking for each of them among the records takes 70 ns
assert FEW <= 256, "a key's number in its shard is a byte"


class Used(NamedTuple):
    """Keys in the order of their first uses, and where among the records the last of these uses is."""

    keys: list[int]
    last_first_use: int


class Uses(Protocol):
    """The keys of records of one shard, one after the other."""

    def of(self, start: int, stop: int) -> Used:
        """Those of the records from start up to stop; `last_first_use` is `start` when there are none."""

    def indexes(self, start: int, stop: int, used: Sequence[int]) -> NDArray[np.integer[Any]]:
        """[records] where each record's key is in `used`, which has them all."""


class _FewKeys:
    """The key of each record as a byte: NumPy's calls, or a dict's of numbers, take three times as long."""

    def __init__(self, numbers: bytes, group: list[int], records: bytes) -> None:
        self._numbers = numbers  # [keys] the byte of each
        self._group = group  # the keys by their bytes
        self._records = records

    def of(self, start: int, stop: int) -> Used:
        find = self._records.find
        found = [
            (place, key)
            for number, key in enumerate(self._group)
            if (place := find(number, start, stop)) >= 0
        ]
        found.sort()
        return Used([key for _, key in found], found[-1][0] if found else start)

    def indexes(self, start: int, stop: int, used: Sequence[int]) -> NDArray[np.integer[Any]]:
        by_number = bytes.maketrans(bytes([self._numbers[key] for key in used]), _INDEXES[: len(used)])
        return np.frombuffer(self._records[start:stop].translate(by_number), np.uint8)


class _ManyKeys:
    def __init__(self, all_keys: int, records: I64) -> None:
        self._all_keys = all_keys
        self._records = records

    def of(self, start: int, stop: int) -> Used:
        records = self._records[start:stop].tolist()
        used = list(dict.fromkeys(records))
        return Used(used, start + records.index(used[-1]) if used else start)

    def indexes(self, start: int, stop: int, used: Sequence[int]) -> NDArray[np.integer[Any]]:
        indexes = np.empty(self._all_keys, np.int64)
        indexes[used] = np.arange(len(used))
        found: I64 = indexes[self._records[start:stop]]
        return found


class Groups:
    """Keys by shard. `shards`: [keys] the shard of each."""

    def __init__(self, shards: I64) -> None:
        self._shards = shards
        counts = np.bincount(shards)
        ends = counts.cumsum()
        by_shard = np.argsort(shards, kind="stable")
        self._groups = [group.tolist() for group in np.split(by_shard, ends[:-1])]
        numbers = np.empty(len(shards), np.int64)
        numbers[by_shard] = np.arange(len(shards)) - np.repeat(ends - counts, counts)
        self._numbers = numbers.astype(np.uint8)  # which say what they are where keys are few
        self._number_bytes = self._numbers.tobytes()

    def uses(self, records: I64) -> Uses:
        """Of records with these keys, [records], all of one shard."""
        group = self._groups[self._shards.item(records.item(0))] if len(records) else []
        if len(group) > FEW:
            return _ManyKeys(len(self._numbers), records)
        return _FewKeys(self._number_bytes, group, self._numbers.take(records).tobytes())


_INDEXES = bytes(range(FEW))
