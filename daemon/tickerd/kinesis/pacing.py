"""How fast each shard may be sent to: this worker's share of its published limits, times what it proves to take.

Owns the tokens of each shard; promises that t seconds hold at most t + BURST_S seconds of the share, one entry
larger than the burst aside. A refused entry keeps its tokens: nobody promises that the service does not count
it, and given back they would make a throttled sender faster. capacity.py learns; calls and clocks are not known.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from tickerd.kinesis.capacity import Capacity
from tickerd.kinesis.limits import SHARD_BYTES_PER_SECOND, SHARD_ENTRIES_PER_SECOND

BURST_S = 0.2  # of what a worker may send; the service's bucket is one second, for all producers together
CHUNK_S = 0.05  # what a wait is for, so that a busy shard is not sent to entry by entry
SLACK = np.array([[0.001], [1.0]])  # of an entry, of a byte: what rounding of times may lose

assert CHUNK_S < BURST_S < 1, "a chunk must fit a burst, and the bursts of some hosts the service's bucket"


class Pacer:
    """Keeps what is sent to each shard below this worker's share of its limits, and below what it takes.

    `shards` are the ShardIds in the order of the map, `share` is 1 / workers of the host. A shard that `before`,
    the pacer of the last map, knew goes on as it was there. A new one that `parents` (new ShardId -> old one)
    names takes what was learnt about its parent; any other starts at the full rate. All start with full tokens.
    """

    def __init__(
        self,
        shards: Sequence[str],
        share: float,
        now_s: float,
        before: "Pacer | None" = None,
        parents: Mapping[str, str] | None = None,
    ) -> None:
        self._shards = list(shards)
        self._limits = share * np.array([[SHARD_ENTRIES_PER_SECOND], [SHARD_BYTES_PER_SECOND]], np.float64)
        self._capacity = Capacity(len(shards), now_s)
        self._cost = np.zeros((2, len(shards)))  # entries and bytes; kept, because `admit` is hot
        self._booked = np.zeros((2, len(shards)))  # since the last judgement
        self._filled_s = now_s
        if before is None:
            self._pace()
            self._tokens = self._burst.copy()
        else:
            self._inherit(before, parents or {}, now_s)

    @property
    def factors(self) -> NDArray[np.float64]:
        """[shards] the part of this worker's share that each shard proves to take: above 0, at most 1."""
        return self._capacity.factors

    def admit(self, entries: NDArray[np.int64], sizes: NDArray[np.int64], now_s: float) -> NDArray[np.bool_]:
        """[shards] which shards take all that is wanted of them now; what is wanted of those is booked.

        `entries` and `sizes`: [shards] entries and bytes wanted. A shard of which nothing is wanted takes it.
        """
        self._refill(now_s)
        cost = self._cost
        cost[0] = entries
        cost[1] = sizes
        # An entry larger than the burst needs a full shard, which then owes the rest.
        need = np.where(entries <= 1, np.minimum(cost, self._burst), cost)
        enough = need <= np.maximum(self._tokens + SLACK, 0.0)
        fits: NDArray[np.bool_] = enough[0] & enough[1]
        cost *= fits
        self._tokens -= cost
        self._booked += cost
        return fits

    def room(self, shard: int, sizes: Sequence[int], now_s: float) -> int:
        """How many of the first of these entries (bytes of each) of one shard may go now; those are booked."""
        self._refill(now_s)
        entries_free, bytes_free = (self._tokens[:, shard] + SLACK[:, 0]).tolist()
        totals = list(accumulate(sizes[: max(0, int(entries_free))]))
        taken = bisect_right(totals, bytes_free)
        if not taken and totals and bytes_free >= self._burst[1, shard]:
            taken = 1  # larger than the burst
        if taken:
            cost = (taken, totals[taken - 1])
            self._tokens[:, shard] -= cost
            self._booked[:, shard] += cost
        return taken

    def wait_s(self, shard: int, size: int, now_s: float) -> float:
        """Seconds until an entry of `size` bytes may go to the shard, and with it a chunk worth a call."""
        self._refill(now_s)
        rates, burst = self._rates[:, shard], self._burst[:, shard]
        need = np.maximum(np.minimum((1, size), burst), rates * CHUNK_S)
        return max(0.0, float(((need - self._tokens[:, shard]) / rates).max()))

    def answered(
        self,
        sent: NDArray[np.int64],
        throttled: NDArray[np.int64],
        throttled_bytes: NDArray[np.int64],
        now_s: float,
    ) -> None:
        """Learn from one answered call: [shards] its entries, and those refused as over the shard's throughput.

        Calls without an answer are not told: an outage teaches nothing about shards.
        """
        self._capacity.count(sent, throttled)
        if self._capacity.due(now_s):
            self._capacity.judge((self._booked / self._limits).max(axis=0), now_s)
            self._booked[:] = 0
            self._refill(now_s)  # at the rates of before
            self._pace()

    def _pace(self) -> None:
        self._rates = self._limits * self.factors
        self._burst = self._rates * BURST_S
        np.maximum(self._burst[0], 1.0, out=self._burst[0])  # else no entry would ever go

    def _refill(self, now_s: float) -> None:
        passed_s = now_s - self._filled_s
        if passed_s > 0:
            self._filled_s = now_s
            self._tokens += self._rates * passed_s
            np.minimum(self._tokens, self._burst, out=self._tokens)

    def _inherit(self, before: "Pacer", parents: Mapping[str, str], now_s: float) -> None:
        before._refill(now_s)
        old = {shard: position for position, shard in enumerate(before._shards)}
        here = {shard: position for position, shard in enumerate(self._shards)}
        kept = [(at, old[shard]) for shard, at in here.items() if shard in old]
        born = [
            (at, old[parents[shard]])
            for shard, at in here.items()
            if shard not in old and parents.get(shard) in old
        ]
        self._capacity.inherit(before._capacity, kept, born)
        self._pace()
        self._tokens = self._burst.copy()
        for at, was in kept:
            self._tokens[:, at] = np.minimum(before._tokens[:, was], self._burst[:, at])
            self._booked[:, at] = before._booked[:, was]
