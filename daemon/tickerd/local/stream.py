"""A stream: its shards with their hash ranges and lineage, and which shard a key belongs to.

Promises that the open shards always cover every hash key exactly once. A reshard takes effect at once: the
stream stays ACTIVE, because a caller that was answered finds the children open and has nothing to wait for.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from hashlib import md5
from itertools import pairwise

from tickerd.kinesis.limits import HASH_KEY_END
from tickerd.local.buckets import ShardBuckets
from tickerd.local.errors import ACCOUNT_ID, invalid_argument, invalid_request
from tickerd.local.store import ShardLog

REGION = "us-east-1"
FIRST_NUMBER = 10**14  # a number has 15 digits for ever, so that sequence numbers sort as text too
KEYS_REMEMBERED_MAX = 100_000


@dataclass(slots=True, eq=False)
class Shard:
    """A shard, open while `closed_number` is None. Numbers are the stream's own; hash keys inclusive."""

    index: int
    start: int
    end: int
    opened_ms: int
    opened_number: int
    parents: tuple["Shard", ...] = ()
    children: list["Shard"] = field(default_factory=list)
    closed_ms: int | None = None
    closed_number: int | None = None
    log: ShardLog = field(default_factory=ShardLog)

    @property
    def id(self) -> str:
        """The ShardId."""
        return f"shardId-{self.index:012d}"

    def sequence_number(self, number: int) -> str:
        """Return the 56 digits for one of the stream's numbers in this shard."""
        return f"{self.sequence_prefix}{number}"

    @property
    def sequence_prefix(self) -> str:
        """All digits of a sequence number but the last 15. A younger shard has a higher one."""
        return f"49{self.opened_ms:013d}{self.index:06d}{0:020d}"


class Placement(dict[str | None, int]):
    """Remembers the shard index of the partition keys seen under one set of open shards."""

    def __init__(self, open_shards: list[Shard]) -> None:
        super().__init__()
        self._starts = [shard.start for shard in open_shards]
        self.indexes = [shard.index for shard in open_shards]

    def __missing__(self, key: str | None) -> int:
        if key is None:
            raise invalid_request("PartitionKey must not be null.")
        if len(self) >= KEYS_REMEMBERED_MAX:
            self.clear()
        digest = md5(key.encode(), usedforsecurity=False).digest()
        index = self[key] = self.at(int.from_bytes(digest))
        return index

    def at(self, hash_key: int) -> int:
        """Return the index of the shard whose range holds `hash_key`."""
        if hash_key >= HASH_KEY_END:
            raise invalid_argument(f"ExplicitHashKey {hash_key} is not in the range 0 to 2^128-1.")
        return self.indexes[bisect_right(self._starts, hash_key) - 1]


class Stream:
    """One stream; `now_ms` is always milliseconds since the epoch."""

    status = "ACTIVE"  # always: see the module's docstring

    def __init__(self, name: str, mode: str, shards: int, now_ms: int) -> None:
        self.name = name
        self.arn = f"arn:aws:kinesis:{REGION}:{ACCOUNT_ID}:stream/{name}"
        self.mode = mode
        self.created_ms = now_ms
        self.record_kib_max = 1024
        self.distribution = "USER_PARTITION_KEY"
        self.next_number = FIRST_NUMBER
        self.shards: list[Shard] = []
        self.buckets = ShardBuckets()
        for start, end in pairwise(uniform_bounds(shards)):
            self._open(start, end, (), now_ms)
        self._remap()

    @property
    def open_shards(self) -> list[Shard]:
        """The open shards in order of their hash ranges."""
        return sorted((s for s in self.shards if s.closed_number is None), key=lambda s: s.start)

    def split(self, shard: Shard, at: int, now_ms: int) -> None:
        """Close `shard` and open its two children, the second of which starts at hash key `at`."""
        self._split(shard, at, now_ms)
        self._remap()

    def merge(self, low: Shard, high: Shard, now_ms: int) -> None:
        """Close two adjacent shards and open the child of both."""
        self._merge(low, high, now_ms)
        self._remap()

    def scale(self, target: int, now_ms: int) -> None:
        """Split at every wanted boundary, then merge what lies between two, as the service does.

        Lineage stays true: a child has one or two parents, and short-lived shards appear on the way.
        """
        bounds = uniform_bounds(target)
        for bound in bounds[1:-1]:
            shard = self.shards[Placement(self.open_shards).at(bound)]
            if shard.start != bound:
                self._split(shard, bound, now_ms)
        for start, end in pairwise(bounds):
            within = [s for s in self.open_shards if start <= s.start < end]
            merged = within[0]
            for shard in within[1:]:
                merged = self._merge(merged, shard, now_ms)
        self._remap()

    def _split(self, shard: Shard, at: int, now_ms: int) -> None:
        self._close(shard, now_ms)
        self._open(shard.start, at, (shard,), now_ms)
        self._open(at, shard.end + 1, (shard,), now_ms)

    def _merge(self, low: Shard, high: Shard, now_ms: int) -> Shard:
        self._close(low, now_ms)
        self._close(high, now_ms)
        return self._open(low.start, high.end + 1, (low, high), now_ms)

    def _open(self, start: int, end: int, parents: tuple[Shard, ...], now_ms: int) -> Shard:
        opened_ms = max([now_ms, *(parent.opened_ms + 1 for parent in parents)])
        shard = Shard(len(self.shards), start, end - 1, opened_ms, self._take_number(), parents)
        for parent in parents:
            parent.children.append(shard)
        self.shards.append(shard)
        return shard

    def _close(self, shard: Shard, now_ms: int) -> None:
        shard.closed_ms = now_ms
        shard.closed_number = self._take_number()

    def _take_number(self) -> int:
        self.next_number += 1
        return self.next_number - 1

    def _remap(self) -> None:
        self.buckets.grow(len(self.shards))
        self.placement = Placement(self.open_shards)
        self.written: dict[str, list[str]] = {}  # by format, how replies of PutRecords name each shard


def uniform_bounds(shards: int) -> list[int]:
    """Return the shards + 1 hash keys at which `shards` equal ranges begin, 0 and 2^128 included."""
    width = HASH_KEY_END // shards
    return [*(i * width for i in range(shards)), HASH_KEY_END]
