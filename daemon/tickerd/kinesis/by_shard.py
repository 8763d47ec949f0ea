"""What each shard took and refused, as this worker sees it: for the page's heat strip, not for the pacing.

One gather and two counts a call. However many shards there are, they share `BUCKETS` numbers: neighbours in
the order of the hash keys are counted together beyond that.
"""

from collections.abc import Sequence

import numpy as np

from tickerd.kinesis.calls import Call
from tickerd.kinesis.rows import Rows
from tickerd.kinesis.shards import ShardMap
from tickerd.observe.counters import Report, ShardCounts
from tickerd.texts import I64

BUCKETS = 256
RECORDS, DATA_BYTES, THROTTLED = range(3)  # rows of the counts


class ByShard:
    """Counts for the newest shard map that was used; another map begins anew."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._map: ShardMap | None = None

    def arrived(self, call: Call, rows: Rows, sizes: I64, entries: Sequence[int] | None) -> None:
        """Count records by the shards that their keys belong to.

        `sizes`: [records] their bytes with keys. `entries`: how many records each entry of theirs held, which
        all belong to one shard; None: one each.
        """
        self._follow(call)
        keys, many = rows.keys, self._counts.shape[1]
        records: I64 | None = None
        if entries is not None:
            records = np.array(entries)
            starts = records.cumsum() - records
            keys, sizes = keys[starts], np.add.reduceat(sizes, starts)
        buckets = self._key_buckets[keys]
        self._counts[RECORDS] += np.bincount(buckets, records, many)
        self._counts[DATA_BYTES] += np.bincount(buckets, sizes, many)
        self._tell()

    def throttled(self, call: Call, entries: list[int]) -> None:
        """Count entries that their shards had no room for."""
        self._follow(call)
        shards = np.array(call.shards(len(call)), np.intp)[entries]
        np.add.at(self._counts[THROTTLED], self._shard_buckets[shards], 1)
        self._tell()

    def _follow(self, call: Call) -> None:
        if call.route.shard_map is self._map:
            return
        self._map = call.route.shard_map
        shards = len(self._map)
        many = min(shards, BUCKETS)
        self._shard_buckets = np.arange(shards) * many // shards
        self._key_buckets = self._shard_buckets[call.route.key_shards]
        self._counts = np.zeros((3, many))

    def _tell(self) -> None:
        assert self._map is not None
        self._report.shards = ShardCounts(len(self._map), self._counts.tobytes())
