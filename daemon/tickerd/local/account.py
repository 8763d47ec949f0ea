"""All streams of the endpoint, and the one place where entries are put into them.

Promises that a stream is found by name or ARN, and that the counters follow what was stored. Time and
randomness are passed in.
"""

import time
from collections.abc import Callable
from random import Random

from tickerd.local import putting
from tickerd.local.errors import ServiceError, invalid_argument, no_such_stream
from tickerd.local.faults import Faults
from tickerd.local.requests import Entry, OnStream
from tickerd.local.stats import Stats
from tickerd.local.store import RETENTION_MS, Store
from tickerd.local.stream import Stream

SHARDS_MAX = 10_000  # UpdateShardCount


def epoch_ms() -> int:
    """Return the milliseconds since the epoch, from a clock that counts in integers."""
    return time.time_ns() // 1_000_000


class Account:
    """All streams of the endpoint. `now_ms` is the time since the epoch, `clock_s` a monotonic one."""

    def __init__(
        self,
        retention_bytes: int,
        shard_limits: bool = True,
        discard: bool = False,
        now_ms: Callable[[], int] = epoch_ms,
        clock_s: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        self.faults = Faults()
        self.stats = Stats()
        self.store = Store(retention_bytes)
        self.streams: dict[str, Stream] = {}
        self.random = random or Random()
        self._discard = discard
        self.now_ms = now_ms
        self._bucket_clock_s = clock_s if shard_limits else None

    def create(self, name: str, shards: int, mode: str = "PROVISIONED") -> Stream:
        """Create a stream, ACTIVE at once."""
        if name in self.streams:
            raise ServiceError("ResourceInUseException", f"Stream {name} already exists.")
        if shards > SHARDS_MAX:
            raise ServiceError("LimitExceededException", f"{shards} shards; the limit is {SHARDS_MAX}.")
        stream = self.streams[name] = Stream(name, mode, shards, self.now_ms())
        return stream

    def stream(self, request: OnStream) -> Stream:
        """Return the stream that a request names, by ARN if it has one."""
        name = request.stream_name
        if request.stream_arn is not None:
            name = request.stream_arn.partition(":stream/")[2]
        if name is None:
            raise invalid_argument("Either StreamName or StreamARN must be given.")
        if name not in self.streams:
            raise no_such_stream(name)
        return self.streams[name]

    def is_auto(self, stream: Stream) -> bool:
        """Whether keys are ignored for placement on this stream now."""
        return self.faults.auto or stream.distribution == "AUTO"

    def put_entries(self, stream: Stream, entries: list[Entry], dry_run: bool) -> putting.Outcome:
        """Route, number and hold entries; the counters follow."""
        if dry_run:
            putting.place(stream, entries, self.is_auto(stream))
            raise ServiceError("DryRunOperationException", "The request would have succeeded; DryRun is set.")
        outcome = putting.put(stream, entries, self.faults, self.random, self._bucket_clock_s)
        if not self._discard:
            putting.keep(stream, outcome, self.store, self.now_ms())
        failed = sum(code == putting.FAILED for code in outcome.refused.values())
        self.stats.entries += len(entries)
        self.stats.records += len(entries) - len(outcome.refused)
        self.stats.bytes += outcome.stored_bytes
        self.stats.throttled += len(outcome.refused) - failed
        self.stats.failed += failed
        return outcome

    def horizon_ms(self) -> int:
        """How far back records reach: a day, or what memory holds."""
        return max(self.now_ms() - RETENTION_MS, self.store.dropped_before_ms)
