"""What has been put and is still held: whole calls in order of arrival, and each shard's way through them.

Promises bounded memory: the oldest calls over all streams go first, and what goes is counted. Reading never
changes anything. It does not know routing, and keeps entries as they were decoded.
"""

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator

import msgspec

from tickerd.local.requests import Entry

RETENTION_MS = 24 * 3_600_000  # RetentionPeriodHours 24, the service's default
# What CPython takes beside data and key: an Entry, a bytes and a str object, slots in lists and arrays.
ENTRY_OVERHEAD_BYTES = 200
CALL_OVERHEAD_BYTES = 300  # a Call, its two lists and its place in the queue
PART_OVERHEAD_BYTES = 350  # a Part, its array and its slot in a dict; half of it where a call has many parts


class Call(msgspec.Struct, eq=False):
    """The entries of one call that arrived at `arrival_ms`; entry i has the stream's number `first` + i."""

    stream: str
    first: int
    arrival_ms: int
    entries: list[Entry]
    logs: list["ShardLog"]
    stored: int
    held_bytes: int


class Part(msgspec.Struct, eq=False, gc=False):
    """The positions within a call that went to one shard, rising."""

    call: Call
    positions: "array[int]"

    @property
    def last(self) -> int:
        """The highest number in this part."""
        return self.call.first + int(self.positions[-1])

    @property
    def arrival_ms(self) -> int:
        """Milliseconds since the epoch."""
        return self.call.arrival_ms


class ShardLog:
    """One shard's held parts, oldest first: a dict by rising index, so that the oldest goes at once."""

    def __init__(self) -> None:
        self._parts: dict[int, Part] = {}
        self._begin = 0
        self._end = 0

    def append(self, part: Part) -> None:
        """Add the newest part."""
        self._parts[self._end] = part
        self._end += 1

    def drop_oldest(self) -> None:
        """Forget the oldest part."""
        del self._parts[self._begin]
        self._begin += 1

    def read(self, number: int) -> Iterator[tuple[int, int, Entry]]:
        """Yield (number, arrival_ms, entry) of every record from `number` on."""
        indexes = range(self._begin, self._end)
        for index in indexes[bisect_left(indexes, number, key=lambda i: self._parts[i].last) :]:
            call = self._parts[index].call
            for position in self._parts[index].positions:
                if call.first + position >= number:
                    yield call.first + position, call.arrival_ms, call.entries[position]

    def number_at(self, arrival_ms: int) -> int | None:
        """Return the number of the first record that arrived at `arrival_ms` or later, None without one."""
        indexes = range(self._begin, self._end)
        at = bisect_left(indexes, arrival_ms, key=lambda i: self._parts[i].arrival_ms)
        if at == len(indexes):
            return None
        part = self._parts[indexes[at]]
        return part.call.first + int(part.positions[0])


class Store:
    """All calls held in this process, up to `bytes_max` as measured in memory."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._calls: deque[Call] = deque()
        self.held_bytes = 0
        self.held_records = 0
        self.dropped_records = 0
        self.dropped_before_ms = 0  # arrival of the newest call that was dropped

    def keep(
        self, stream: str, first: int, now_ms: int, entries: list[Entry], by_log: dict["ShardLog", list[int]]
    ) -> None:
        """Hold a call. `by_log` gives the positions of the stored entries for each shard's log, rising."""
        size = CALL_OVERHEAD_BYTES + PART_OVERHEAD_BYTES * len(by_log)
        call = Call(stream, first, now_ms, entries, list(by_log), 0, 0)
        for log, positions in by_log.items():
            log.append(Part(call, array("H", positions)))
            call.stored += len(positions)
        for entry in entries:
            size += len(entry.data) + len(entry.partition_key or "") + ENTRY_OVERHEAD_BYTES
        call.held_bytes = size
        self._calls.append(call)
        self.held_bytes += size
        self.held_records += call.stored
        self._drop(now_ms)

    def forget(self, stream: str) -> None:
        """Let go of a deleted stream's calls, uncounted: its owner asked for it."""
        kept = [call for call in self._calls if call.stream != stream]
        self.held_bytes = sum(call.held_bytes for call in kept)
        self.held_records = sum(call.stored for call in kept)
        self._calls = deque(kept)

    def _drop(self, now_ms: int) -> None:
        # The newest call stays whatever its size, so that what was just acknowledged can be read.
        while len(self._calls) > 1 and (
            self.held_bytes > self._bytes_max or self._calls[0].arrival_ms < now_ms - RETENTION_MS
        ):
            call = self._calls.popleft()
            for log in call.logs:
                log.drop_oldest()
            self.held_bytes -= call.held_bytes
            self.held_records -= call.stored
            self.dropped_records += call.stored
            self.dropped_before_ms = call.arrival_ms
