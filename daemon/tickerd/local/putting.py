"""PutRecords: the hot path. Routes, checks, charges and keeps the entries of one call.

Promises that nothing is stored when the call is refused. It costs a few list comprehensions a call and waits
for nothing. The reply, with one member for each entry in order, is written by wire.py.
"""

from collections.abc import Callable
from random import Random

from tickerd.kinesis.limits import CALL_BYTES_MAX
from tickerd.local.errors import ACCOUNT_ID, ServiceError, invalid_argument, invalid_request
from tickerd.local.faults import Faults
from tickerd.local.requests import Entry
from tickerd.local.store import ShardLog, Store
from tickerd.local.stream import Placement, Stream

THROTTLED = "ProvisionedThroughputExceededException"
FAILED = "InternalFailure"
FAILED_SHARE = 0.1  # of the entries that fail on demand


class Outcome:
    """What became of a call: `first` is its first entry's number, `refused` maps positions to codes."""

    __slots__ = ("entries", "first", "refused", "shards", "sizes", "stream")

    def __init__(
        self, stream: Stream, entries: list[Entry], first: int, shards: list[int], sizes: list[int]
    ) -> None:
        self.stream = stream
        self.entries = entries
        self.first = first
        self.shards = shards
        self.sizes = sizes
        self.refused: dict[int, str] = {}

    @property
    def stored_bytes(self) -> int:
        """Data and keys of the entries that were acknowledged."""
        return sum(self.sizes) - sum(self.sizes[position] for position in self.refused)


def place(stream: Stream, entries: list[Entry], auto: bool) -> tuple[list[int], list[int]]:
    """Return the shard index and the size (data and key, bytes) of every entry, or raise ServiceError.

    `auto` ignores keys and deals the entries out over the open shards, as RecordDistributionStrategy AUTO.
    """
    placement = stream.placement
    if auto:
        indexes = placement.indexes
        shards = [indexes[(stream.next_number + i) % len(indexes)] for i in range(len(entries))]
        sizes = [len(entry.data) + len((entry.partition_key or "").encode()) for entry in entries]
    else:
        shards = [
            placement[entry.partition_key]
            if entry.explicit_hash_key is None
            else _explicit(placement, entry.partition_key, entry.explicit_hash_key)
            for entry in entries
        ]
        sizes = [len(entry.data) + len(entry.partition_key.encode()) for entry in entries]  # type: ignore[union-attr]
    _check_sizes(sizes, stream.record_kib_max * 1024)
    return shards, sizes


def _explicit(placement: Placement, key: str | None, hash_key: str) -> int:
    if key is None:  # required beside a hash key too, though it decides nothing
        raise invalid_request("PartitionKey must not be null.")
    return placement.at(int(hash_key))


def _check_sizes(sizes: list[int], record_bytes_max: int) -> None:
    if max(sizes) > record_bytes_max:
        position = next(i for i, size in enumerate(sizes) if size > record_bytes_max)
        raise invalid_request(
            f"Value at 'records.{position + 1}.member.data' failed to satisfy constraint: data and partition "
            f"key must have length less than or equal to {record_bytes_max}"
        )
    if sum(sizes) > CALL_BYTES_MAX:
        raise invalid_argument(f"Records size {sum(sizes)} exceeds the 10 MiB limit of a call.")


def put(
    stream: Stream, entries: list[Entry], faults: Faults, random: Random, clock_s: Callable[[], float] | None
) -> Outcome:
    """Number the entries and decide which are refused. `clock_s` None: no limits of the shards are kept."""
    shards, sizes = place(stream, entries, faults.auto or stream.distribution == "AUTO")
    outcome = Outcome(stream, entries, stream.next_number, shards, sizes)
    stream.next_number += len(entries)
    if clock_s is not None:
        outcome.refused = dict.fromkeys(stream.buckets.admit(clock_s(), shards, sizes), THROTTLED)
    if faults.throttled:
        for position in range(len(entries)):
            if random.random() < faults.throttled:
                outcome.refused[position] = FAILED if random.random() < FAILED_SHARE else THROTTLED
    return outcome


def keep(stream: Stream, outcome: Outcome, store: Store, now_ms: int) -> None:
    """Hold the acknowledged entries of a call for reading."""
    by_log: dict[ShardLog, list[int]] = {}
    for position, index in enumerate(outcome.shards):
        if position not in outcome.refused:
            by_log.setdefault(stream.shards[index].log, []).append(position)
    if by_log:
        store.keep(stream.name, outcome.first, now_ms, outcome.entries, by_log)


def refusal_message(stream: Stream, index: int, code: str) -> str:
    """Return what the service says of a refused entry: of a throttled one account, stream and shard."""
    if code == FAILED:
        return "Internal service failure."
    shard_id = stream.shards[index].id
    return f"Rate exceeded for shard {shard_id} in stream {stream.name} under account {ACCOUNT_ID}."


def refuse_single(stream: Stream, outcome: Outcome) -> ServiceError:
    """Return the error that PutRecord answers when its only entry was refused."""
    code = outcome.refused[0]
    return ServiceError(
        code, refusal_message(stream, outcome.shards[0], code), 500 if code == FAILED else 400
    )
