"""Packs encoded records into PutRecords calls, each as full as the service's limits allow.

`Packer.add` takes a batch and returns the calls that became full; `Packer.flush` returns what is left. The
limits are kept here, where a call is built, and are never learnt from an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pybase64
from numpy.typing import NDArray

from tickerd.kinesis.limits import CALL_BYTES_MAX, ENTRIES_PER_CALL_MAX
from tickerd.kinesis.route import Route
from tickerd.records import FEEDS


class OversizeError(ValueError):
    """A record is larger than the stream takes; records are small, so this is an error of ours."""


@dataclass(slots=True)
class Call:
    """One PutRecords request and what its acknowledgement settles. All columns are [entries] long."""

    route: Route
    data: list[bytes]
    keys: NDArray[np.int32]  # numbers of the route's partition keys
    feeds: NDArray[np.uint8]
    frames: NDArray[np.int64]
    entry_bytes: NDArray[np.int32]  # data and key
    body: bytes = b""

    def __len__(self) -> int:
        return len(self.data)

    @property
    def size_bytes(self) -> int:
        """Data and keys of all entries, as the service counts them."""
        return int(self.entry_bytes.sum())

    def part(self, start: int, stop: int) -> "Call":
        """The entries from start up to stop."""
        return Call(
            self.route,
            self.data[start:stop],
            self.keys[start:stop],
            self.feeds[start:stop],
            self.frames[start:stop],
            self.entry_bytes[start:stop],
        )

    def pick(self, entries: Sequence[int]) -> "Call":
        """The entries with these numbers, in this order: what a retry sends."""
        return Call(
            self.route,
            [self.data[entry] for entry in entries],
            self.keys[entries],
            self.feeds[entries],
            self.frames[entries],
            self.entry_bytes[entries],
        )

    def followed_by(self, other: "Call") -> "Call":
        """The entries of this one, then those of the other."""
        return Call(
            self.route,
            self.data + other.data,
            np.concatenate((self.keys, other.keys)),
            np.concatenate((self.feeds, other.feeds)),
            np.concatenate((self.frames, other.frames)),
            np.concatenate((self.entry_bytes, other.entry_bytes)),
        )

    def records_by_feed(self) -> tuple[list[int], list[float]]:
        """How many records of each feed the call has, and their bytes (with keys)."""
        records: list[int] = np.bincount(self.feeds, minlength=len(FEEDS)).tolist()
        sizes: list[float] = np.bincount(self.feeds, self.entry_bytes, minlength=len(FEEDS)).tolist()
        return records, sizes

    def records_by_frame(self) -> list[tuple[int, int]]:
        """(frame, records) of each frame in the call; most calls lie within one frame."""
        if self.frames[0] == self.frames[-1]:
            return [(int(self.frames[0]), len(self.data))]
        frames, counts = np.unique(self.frames, return_counts=True)
        return list(zip(frames.tolist(), counts.tolist(), strict=True))


class Packer:
    """Fills calls in the order of the records, for one stream.

    `address` opens the request with the field that names the stream: `{"StreamName":"…"`.
    `entry_bytes_max` is the stream's MaxRecordSizeInKiB in bytes.
    """

    def __init__(self, address: bytes, route: Route, entry_bytes_max: int) -> None:
        self._head = address + b',"Records":[{"Data":"'
        self._entry_bytes_max = entry_bytes_max
        self.route = route
        self._pending: Call | None = None

    @property
    def pending(self) -> int:
        """Records that wait for their call to become full."""
        return len(self._pending) if self._pending else 0

    def add(
        self, data: list[bytes], keys: NDArray[np.int32], feeds: NDArray[np.uint8], frame: int
    ) -> list[Call]:
        """Take the records of one frame's part, in order, and return the calls that became full."""
        if not data:
            return []
        entry_bytes = np.fromiter(map(len, data), np.int32, len(data)) + self.route.key_bytes[keys]
        if (largest := int(entry_bytes.max())) > self._entry_bytes_max:
            raise OversizeError(f"a record of {largest} bytes; the stream takes {self._entry_bytes_max}")
        frames = np.full(len(data), frame, np.int64)
        entries = Call(self.route, data, keys, feeds, frames, entry_bytes)
        if self._pending:
            entries = self._pending.followed_by(entries)
        calls = []
        start = 0
        for stop in full_calls(entries.entry_bytes):
            calls.append(self.build(entries.part(start, stop)))
            start = stop
        self._pending = entries.part(start, len(entries)) if start < len(entries) else None
        return calls

    def flush(self) -> list[Call]:
        """The call that is not full, if there is one."""
        pending, self._pending = self._pending, None
        return [self.build(pending)] if pending else []

    def reroute(self, route: Route) -> list[Call]:
        """From now on use another route; what waits for its call goes by the old one and is returned."""
        calls = self.flush()
        self.route = route
        return calls

    def build(self, call: Call) -> Call:
        """Write the call's body: once, for all its tries."""
        keys = call.keys.tolist()
        pieces: list[bytes] = [b""] * (2 * len(call))
        pieces[0::2] = map(pybase64.b64encode, call.data)
        pieces[1::2] = map(call.route.joints.__getitem__, keys)
        pieces[-1] = call.route.tails[keys[-1]]
        call.body = self._head + b"".join(pieces)
        return call


def full_calls(entry_bytes: NDArray[np.int32]) -> list[int]:
    """Where full calls end among entries of these sizes: [calls] rising numbers of entries.

    A call is full when the next entry would exceed 500 entries or 10 MiB. The last, unfilled one is left out.
    """
    ends: list[int] = []
    total = np.cumsum(entry_bytes, dtype=np.int64)
    start, sent_bytes = 0, 0
    while start < len(entry_bytes):
        by_bytes = int(np.searchsorted(total, sent_bytes + CALL_BYTES_MAX, side="right"))
        stop = min(start + ENTRIES_PER_CALL_MAX, by_bytes)
        if stop == len(entry_bytes) and stop - start < ENTRIES_PER_CALL_MAX:
            break
        ends.append(stop)
        start, sent_bytes = stop, int(total[stop - 1])
    return ends
