"""A simulated fleet: hosts that carry so much make records, shards that take so much accept them.

Time goes in frames of a sixteenth of a second. Instruments are drawn from the real shares and routed by their
real hashes; shards are buckets of 1,000 entries and 1 MiB. It knows nothing of how `tickerd plan` comes to
its numbers.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from batches import SHARES, UNIVERSE
from tickerd.kinesis.ceiling import shares_by_shard
from tickerd.kinesis.limits import HASH_KEY_END, SHARD_BYTES_PER_SECOND, SHARD_ENTRIES_PER_SECOND
from tickerd.kinesis.shards import Shard, ShardMap
from tickerd.schedule import FRAMES_PER_SECOND

F64 = NDArray[np.float64]


class Simulated(NamedTuple):
    """A fleet and its stream. Rates are in records/s; `host_rate` is what one host can make and send."""

    rate: float
    hosts: int
    host_rate: float
    workers: int  # of all hosts
    shards: int
    partition_key: str
    mode: str
    record_bytes: float
    linger_s: float = 0.25
    aggregate_bytes: int = 51_200


class Behind(NamedTuple):
    """Seconds of records that wait at the end: at the hosts, and at the shard that is furthest behind."""

    hosts_s: float
    shards_s: float

    @property
    def carried(self) -> bool:
        """Whether what waits is no more than what is always under way.

        Hosts send within a frame or two; at shards chance piles up a little now and then.
        """
        return self.hosts_s < 0.1 and self.shards_s < 1.0


def simulate(fleet: Simulated, seconds: int = 60, seed: int = 1) -> Behind:
    """What waits after so many seconds from a start with nothing waiting."""
    random = np.random.default_rng(seed)
    shard_shares = shares_of(fleet)
    due_each = fleet.rate / fleet.hosts / FRAMES_PER_SECOND
    at_hosts = np.zeros(fleet.hosts)
    shards = Shards(fleet, shard_shares)
    for _ in range(seconds * FRAMES_PER_SECOND):
        at_hosts += due_each
        sent = np.minimum(at_hosts, fleet.host_rate / FRAMES_PER_SECOND)
        at_hosts -= sent
        records = float(sent.sum())
        if fleet.partition_key == "instrument":
            shards.offer(random.multinomial(round(records), shard_shares).astype(np.float64))
        else:  # keys are taken in turn
            shards.offer(records * shard_shares)
    wait_s = shards.waiting / np.maximum(shard_shares * fleet.rate, 1.0)
    return Behind(float(at_hosts.max()) / (fleet.rate / fleet.hosts), float(wait_s.max()))


def shares_of(fleet: Simulated) -> F64:
    """[shards] share of all records that each gets."""
    if fleet.partition_key == "even":
        return np.full(fleet.shards, 1 / fleet.shards)
    bounds = [HASH_KEY_END * shard // fleet.shards for shard in range(fleet.shards + 1)]
    shard_map = ShardMap(Shard(str(n), bounds[n], bounds[n + 1] - 1) for n in range(fleet.shards))
    return shares_by_shard(SHARES, shard_map.shards_of(UNIVERSE.instruments), fleet.shards)


class Shards:
    """Records that wait for their shards (`waiting`), and what these take each frame."""

    def __init__(self, fleet: Simulated, shares: F64) -> None:
        self.waiting: F64 = np.zeros(len(shares))
        self._fleet = fleet
        self._shares = shares
        self._entries = np.full(len(shares), float(SHARD_ENTRIES_PER_SECOND))
        self._bytes = np.full(len(shares), float(SHARD_BYTES_PER_SECOND))

    def offer(self, records: F64) -> None:
        """One frame's records of each shard: as many of all that wait go as entries and bytes allow."""
        self.waiting += records
        self._entries += SHARD_ENTRIES_PER_SECOND / FRAMES_PER_SECOND
        self._bytes += SHARD_BYTES_PER_SECOND / FRAMES_PER_SECOND
        np.minimum(self._entries, SHARD_ENTRIES_PER_SECOND, out=self._entries)
        np.minimum(self._bytes, SHARD_BYTES_PER_SECOND, out=self._bytes)
        in_entry = self._records_in_entry()
        sent = np.minimum(
            self.waiting, np.minimum(self._entries * in_entry, self._bytes / self._fleet.record_bytes)
        )
        self.waiting -= sent
        self._entries -= sent / in_entry
        self._bytes -= sent * self._fleet.record_bytes

    def _records_in_entry(self) -> F64:
        """How many records an entry of each shard holds: a worker closes it when full, or after lingering."""
        fleet = self._fleet
        if fleet.mode == "none":
            return np.ones(len(self._shares))
        lingered = self._shares * fleet.rate * fleet.linger_s / fleet.workers
        full = max(1.0, fleet.aggregate_bytes // fleet.record_bytes)
        clipped: F64 = np.clip(lingered, 1.0, full)
        return clipped
