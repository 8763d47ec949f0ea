"""How records are addressed under one shard map: their partition keys, and the shards these hash into.

Everything that depends on a key alone is made here once for a map, so that a record costs a gather. A newer
map makes a new route; calls keep the one that they were built with.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tickerd.kinesis.ceiling import ceiling_records_per_second, shares_by_shard
from tickerd.kinesis.formats import JSON, Format
from tickerd.kinesis.kpl import KeyTable
from tickerd.kinesis.limits import PARTITION_KEY_CHARACTERS_MAX
from tickerd.kinesis.pacing import Pacer
from tickerd.kinesis.rows import Integers
from tickerd.kinesis.shards import Shard, ShardMap, hash_key


class Route:
    """The keys of one shard map.

    `shares`: [instruments] each instrument's share of all records. With `partition_key` "instrument" the keys
    are the instruments; with "even" they are one for each shard, taken in turn. `pacer` says what the shards
    take; None: no limits are kept. `request` is the format of requests.
    """

    def __init__(
        self,
        shard_map: ShardMap,
        instruments: Sequence[str],
        shares: NDArray[np.float64],
        partition_key: Literal["instrument", "even"],
        pacer: Pacer | None,
        request: Format = JSON,
    ) -> None:
        self.shard_map = shard_map
        self.positions = {shard.shard_id: position for position, shard in enumerate(shard_map.shards)}
        self.even = partition_key == "even"
        self.keys = shard_map.even_keys() if self.even else list(instruments)
        self.shares = np.full(len(self.keys), 1 / len(self.keys)) if self.even else shares
        for key in self.keys:
            if not 1 <= len(key) <= PARTITION_KEY_CHARACTERS_MAX:
                raise ValueError(f"the partition key {key!r} has not 1 to 256 characters")
        self.framing = request.framing(self.keys)
        self.key_hashes = [hash_key(key) for key in self.keys]
        self.key_shards = np.array(list(map(shard_map.shard_of, self.key_hashes)), dtype=np.int64)
        self.key_table = KeyTable([key.encode() for key in self.keys], self.key_shards)
        self.key_bytes = self.key_table.key_bytes
        self.key_bytes_max = int(self.key_bytes.max())
        self.pacer = pacer
        self._turn = 0

    def keys_of(self, instruments: Integers) -> Integers:
        """[records] number of the partition key for each record's instrument.

        The keys of another map serve as well: an instrument's number is its key, and an even key may be any.
        """
        if not self.even:
            return instruments
        keys: Integers = (self._turn + np.arange(len(instruments))) % len(self.keys)
        self._turn = (self._turn + len(instruments)) % len(self.keys)
        return keys

    def holds(self, shard: Shard, keys: NDArray[np.int64]) -> bool:
        """Whether all these keys hash into the range of a shard, of whichever map."""
        return all(
            shard.hash_key_start <= self.key_hashes[key] <= shard.hash_key_end
            for key in np.unique(keys).tolist()
        )

    def ceiling_records_per_second(self, record_bytes: float, *, aggregated: bool) -> float:
        """The rate of all hosts together at which the busiest shard of this map is full."""
        by_shard = shares_by_shard(self.shares, self.key_shards, len(self.shard_map))
        return ceiling_records_per_second(by_shard, record_bytes, aggregated=aggregated)

    def hottest(self) -> tuple[str, float]:
        """The key with the largest share of the records, and that share."""
        hottest = int(self.shares.argmax())
        return self.keys[hottest], float(self.shares[hottest])
