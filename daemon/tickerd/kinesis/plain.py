"""Records that go as an entry each: calls are filled in the order of the records, over all shards.

A record whose shard cannot take it now is parked and leaves its call; the others go on. Records that failed
come back into later calls.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tickerd.kinesis.calls import OversizeError, fitting, request_body
from tickerd.kinesis.limits import ENTRIES_PER_CALL_MAX
from tickerd.kinesis.outbox import Settled, retry_pause_s
from tickerd.kinesis.route import Route
from tickerd.kinesis.rows import Rows, joined
from tickerd.kinesis.settle import Outcome
from tickerd.kinesis.shards import Shard

PARKED_PAUSE_S = 0.025  # between two looks at the parked, so that they go in calls, not one by one
NEVER_S = float("inf")


@dataclass(slots=True)
class PlainCall:
    """A call of one entry a record."""

    route: Route
    rows: Rows
    tries: int
    body: bytes

    def __len__(self) -> int:
        return len(self.rows)

    must_land = False  # wherever the service has put it, a record is where a consumer finds it

    @property
    def records(self) -> int:
        """As many as entries."""
        return len(self.rows)

    def shards(self, entries: int) -> list[int]:
        """Where the first entries should land: positions in the map."""
        shards: list[int] = self.route.key_shards[self.rows.keys[:entries]].tolist()
        return shards

    def is_legal_in(self, entry: int, shard: Shard | None) -> bool:
        """Always."""
        return True


@dataclass(slots=True, order=True)
class Failed:
    """Records that go again when they are due."""

    due_s: float
    tries: int = field(compare=False)
    rows: Rows = field(compare=False)


class PlainOutbox:
    """`head` is what stands before the first entry's data in a request."""

    def __init__(self, head: bytes, route: Route, entry_bytes_max: int, linger_s: float) -> None:
        self.route = route
        self.waiting_bytes = 0
        self._head = head
        self._entry_bytes_max = entry_bytes_max
        self._linger_s = linger_s
        self._fresh: deque[Rows] = deque()
        self._fresh_records = 0
        self._since_s = NEVER_S  # when the first of the fresh records began to wait
        self._failed: list[Failed] = []
        self._parked: dict[int, deque[Rows]] = {}  # by shard
        self._look_s = NEVER_S  # when to look at the parked again
        self._left = False

    @property
    def ready(self) -> bool:
        """Whether a full call waits for nothing but its turn."""
        return self._fresh_records >= ENTRIES_PER_CALL_MAX

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not (self._fresh or self._failed or self._parked)

    def put(self, rows: Rows, now_s: float) -> None:
        """Take records addressed by the current route, in the order of their seq."""
        largest = int((rows.sizes + self.route.key_bytes[rows.keys]).max())
        if largest > self._entry_bytes_max:
            raise OversizeError(f"a record of {largest} bytes; the stream takes {self._entry_bytes_max}")
        self.waiting_bytes += int(rows.sizes.sum())
        self._append(rows, now_s)

    def take(self, now_s: float) -> PlainCall | None:
        """The next call that may go now: what failed, what was parked, and then what is new."""
        pieces, tries = self._due(now_s)
        if now_s >= self._look_s:
            pieces += self._unpark(ENTRIES_PER_CALL_MAX - _records(pieces), now_s)
        if self._fresh and (pieces or self.ready or now_s >= self._since_s + self._linger_s):
            pieces += self._take_fresh(pieces, now_s)
        if not pieces:
            return None
        rows = joined(pieces)
        room = fitting(self._entry_bytes(rows))
        if room < len(rows):  # entries of megabytes only: what is beyond the call's bytes is next
            self._prepend(rows.part(room, len(rows)))
            rows = rows.part(0, room)
        self.waiting_bytes -= int(rows.sizes.sum())
        return PlainCall(self.route, rows, tries, request_body(self._head, rows.data, rows.keys, self.route))

    def due_s(self, now_s: float) -> float | None:
        """When something has lingered, may be tried again, or may have room in its shard."""
        due = min(self._since_s + self._linger_s, self._look_s)
        if self._failed:
            due = min(due, self._failed[0].due_s)
        return None if due == NEVER_S else due

    def flush(self) -> None:
        """From now on nothing waits for company."""
        self._linger_s = 0.0

    def reroute(self, route: Route) -> None:
        """From now on use another route; what is parked asks its shard anew."""
        rows = self._take_all()
        self.route = route
        for piece in rows:
            self._append(self._readdressed(piece), 0.0)

    def leave(self) -> list[Rows]:
        """Hand over all that waits."""
        self._left = True
        self.waiting_bytes = 0
        return self._take_all()

    def settle(self, call: PlainCall, outcome: Outcome, misplaced: set[int], now_s: float) -> Settled:
        """Keep what has not arrived, to be tried again after a while. No entry is ever misplaced."""
        rows, missing = call.rows, outcome.unacknowledged
        self._learn(call, outcome, now_s)
        if missing == []:
            return Settled(rows, None)
        failed = rows if missing is None else rows.pick(missing)
        arrived = None
        if len(failed) < len(rows):
            kept = np.ones(len(rows), np.bool_)
            kept[missing] = False
            arrived = rows.without_data().pick(np.flatnonzero(kept))
        returned: tuple[Rows, ...] = ()
        if self._left:
            returned = (failed,)
        else:
            if call.route is not self.route:
                failed = self._readdressed(failed)
            self.waiting_bytes += int(failed.sizes.sum())
            tries = call.tries + 1
            self._failed.append(Failed(now_s + retry_pause_s(tries), tries, failed))
            self._failed.sort()
        return Settled(arrived, None, returned)

    def _learn(self, call: PlainCall, outcome: Outcome, now_s: float) -> None:
        pacer = call.route.pacer
        if pacer is None or outcome.unacknowledged is None:
            return
        shards = call.route.key_shards[call.rows.keys]
        sizes = call.rows.sizes + call.route.key_bytes[call.rows.keys]
        many = len(call.route.shard_map)
        sent = np.bincount(shards, minlength=many)
        numbers = np.asarray(outcome.throttled, np.intp)
        throttled = shards[numbers]
        pacer.answered(
            sent,
            np.bincount(throttled, minlength=many),
            np.bincount(throttled, sizes[numbers], many).astype(np.int64),
            now_s,
        )

    def _append(self, rows: Rows, now_s: float) -> None:
        if not self._fresh:
            self._since_s = now_s
        self._fresh.append(rows)
        self._fresh_records += len(rows)

    def _prepend(self, rows: Rows) -> None:
        if not self._fresh:
            self._since_s = 0.0
        self._fresh.appendleft(rows)
        self._fresh_records += len(rows)

    def _readdressed(self, rows: Rows) -> Rows:
        rows.keys = self.route.keys_of(rows.keys)
        return rows

    def _entry_bytes(self, rows: Rows) -> NDArray[np.int32]:
        return rows.sizes + self.route.key_bytes[rows.keys]

    def _due(self, now_s: float) -> tuple[list[Rows], int]:
        """What failed and is due, at most a call of it, and how often that was tried."""
        pieces: list[Rows] = []
        tries = room = 0
        while self._failed and self._failed[0].due_s <= now_s:
            room = ENTRIES_PER_CALL_MAX - _records(pieces)
            if not room:
                break
            failed = self._failed.pop(0)
            if len(failed.rows) > room:
                self._failed.insert(
                    0, Failed(failed.due_s, failed.tries, failed.rows.part(room, len(failed.rows)))
                )
                failed.rows = failed.rows.part(0, room)
            tries = max(tries, failed.tries)
            pieces += self._admitted(failed.rows, now_s)
        return pieces, tries

    def _take_fresh(self, pieces: list[Rows], now_s: float) -> list[Rows]:
        """New records that may go now, to fill a call that has these already; others are parked."""
        taken: list[Rows] = []
        room = ENTRIES_PER_CALL_MAX - _records(pieces)
        while room and self._fresh:
            rows = self._fresh.popleft()
            if len(rows) > room:
                self._fresh.appendleft(rows.part(room, len(rows)))
                rows = rows.part(0, room)
            self._fresh_records -= len(rows)
            admitted = self._admitted(rows, now_s)
            taken += admitted
            room -= _records(admitted)
        self._since_s = now_s if self._fresh else NEVER_S
        return taken

    def _admitted(self, rows: Rows, now_s: float) -> list[Rows]:
        """Those whose shards can take them now, none or one piece; the others are parked."""
        pacer = self.route.pacer
        if pacer is None:
            return [rows]
        many = len(self.route.shard_map)
        shards = self.route.key_shards[rows.keys]
        entries = np.bincount(shards, minlength=many)
        if self._parked:
            parked = list(self._parked)
            held = entries[parked]
            entries[parked] = 0  # they wait behind those that were parked before them
        sizes = np.bincount(shards, self._entry_bytes(rows), many).astype(np.int64)
        if self._parked:
            sizes[parked] = 0
        admits = pacer.admit(entries, sizes, now_s)
        if self._parked:
            admits[parked] = held == 0
        goes = admits[shards]
        if goes.all():
            return [rows]
        for shard in np.unique(shards[~goes]).tolist():
            self._parked.setdefault(shard, deque()).append(rows.pick(np.flatnonzero(shards == shard)))
        self._look_s = min(self._look_s, now_s + PARKED_PAUSE_S)
        return [rows.pick(np.flatnonzero(goes))] if goes.any() else []

    def _unpark(self, room: int, now_s: float) -> list[Rows]:
        """Parked records whose shards have room again."""
        taken: list[Rows] = []
        pacer = self.route.pacer
        assert pacer is not None
        for shard in list(self._parked):
            lane = self._parked[shard]
            while lane and room:
                rows = lane.popleft()
                sizes = self._entry_bytes(rows)[:room].tolist()
                goes = pacer.room(shard, sizes, now_s)
                if goes < len(rows):
                    lane.appendleft(rows.part(goes, len(rows)))
                if goes:
                    taken.append(rows.part(0, goes))
                    room -= goes
                if goes < len(sizes):
                    break
            if lane:
                self._parked[shard] = self._parked.pop(shard)  # the others come first next time
            else:
                del self._parked[shard]
        if not self._parked:
            self._look_s = NEVER_S
        elif room:
            self._look_s = now_s + PARKED_PAUSE_S
        return taken

    def _take_all(self) -> list[Rows]:
        rows = [failed.rows for failed in self._failed]
        rows += [piece for lane in self._parked.values() for piece in lane]
        rows += self._fresh
        self._failed.clear()
        self._parked.clear()
        self._fresh.clear()
        self._fresh_records = 0
        self._since_s = self._look_s = NEVER_S
        return rows


def _records(pieces: list[Rows]) -> int:
    return sum(map(len, pieces))
