"""Records that go as an entry each: calls are filled in the order of the records, over all shards.

A record whose shard cannot take it now is parked and leaves its call; the others go on. Records that failed
come back into later calls.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from tickerd.kinesis.calls import OversizeError, fitting
from tickerd.kinesis.limits import CALL_BYTES_MAX, ENTRIES_PER_CALL_MAX
from tickerd.kinesis.outbox import NEVER_S, Settled, retry_pause_s, tell_pacer
from tickerd.kinesis.parked import Parked
from tickerd.kinesis.route import Route
from tickerd.kinesis.rows import Rows, joined
from tickerd.kinesis.settle import Outcome
from tickerd.kinesis.shards import Shard
from tickerd.texts import Texts


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
    """`opening` is how the body of a request begins."""

    def __init__(self, opening: bytes, route: Route, entry_bytes_max: int, linger_s: float) -> None:
        self.route = route
        self.waiting_bytes = 0
        self._opening = opening
        self._entry_bytes_max = entry_bytes_max
        self._linger_s = linger_s
        self._largest_bytes = 0  # of a record so far
        self._fresh: deque[Rows] = deque()
        self._fresh_start = 0  # of the first of these pieces: what lies before is taken
        self._fresh_records = 0
        self._since_s = NEVER_S  # when the first of the fresh records began to wait
        self._failed: list[Failed] = []  # those due first come first
        self._parked = Parked(route)

    @property
    def ready(self) -> bool:
        """Whether a full call waits for nothing but its turn."""
        return self._fresh_records >= ENTRIES_PER_CALL_MAX

    @property
    def empty(self) -> bool:
        """Whether nothing waits; no record is empty."""
        return not self.waiting_bytes

    def put(self, rows: Rows, now_s: float) -> None:
        """Take records addressed by the current route, in the order of their seq."""
        largest = int(rows.entry_bytes(self.route.key_bytes).max())
        if largest > self._entry_bytes_max:
            raise OversizeError(largest, self._entry_bytes_max)
        self._largest_bytes = max(self._largest_bytes, int(rows.sizes.max()))
        self.waiting_bytes += int(rows.sizes.sum())
        # In JSON they are encoded now: else their pieces had to be gathered before the next part is encoded.
        self._append(rows.with_texts(self.route.framing.gathered([_texts(rows)])), now_s)

    def take(self, now_s: float) -> PlainCall | None:
        """The next call that may go now: what failed, what was parked, and then what is new."""
        pieces, tries = self._due(now_s)
        pieces += self._parked.unpark(ENTRIES_PER_CALL_MAX - _records(pieces), now_s)
        room = ENTRIES_PER_CALL_MAX - _records(pieces)
        if room and (pieces or self.ready or now_s >= self._since_s + self._linger_s):
            pieces += self._take_fresh(room, now_s)
        if not pieces:
            return None
        texts = self.route.framing.gathered([_texts(piece) for piece in pieces])
        rows = joined(pieces).with_texts(texts)
        fit = len(rows)
        if fit * (self._largest_bytes + self.route.key_bytes_max) > CALL_BYTES_MAX:
            fit = fitting(rows.entry_bytes(self.route.key_bytes))
        if fit < len(rows):  # entries of many KiB only: what is beyond the call's bytes is next
            self._prepend(rows.part(fit, len(rows)))
            rows = rows.part(0, fit)
            texts = texts.part(0, fit)
        self.waiting_bytes -= int(rows.sizes.sum())
        body = self.route.framing.body(self._opening, texts, rows.keys)
        return PlainCall(self.route, rows, tries, body)

    def due_s(self, now_s: float) -> float | None:
        """When something has lingered, may be tried again, or may have room in its shard."""
        due = min(self._since_s + self._linger_s, self._parked.look_s)
        if self._failed:
            due = min(due, self._failed[0].due_s)
        return None if due == NEVER_S else due

    def flush(self) -> None:
        """From now on nothing waits for company."""
        self._linger_s = 0.0

    def reroute(self, route: Route) -> None:
        """From now on use another route; what is parked asks its shard anew."""
        waiting = self._emptied()
        self.route, self._parked = route, Parked(route)
        for rows in waiting:
            self._append(rows.with_keys(route.keys_of(rows.keys)), 0.0)

    def leave(self) -> list[Rows]:
        """Hand over all that waits."""
        self.waiting_bytes = 0
        return self._emptied()

    def settle(self, call: PlainCall, outcome: Outcome, misplaced: set[int], now_s: float) -> Settled:
        """Keep what has not arrived, to be tried again after a while. No entry is ever misplaced."""
        rows, missing = call.rows, outcome.unacknowledged
        if call.route.pacer is not None:
            tell_pacer(call.route, rows.keys, rows.entry_bytes(call.route.key_bytes), outcome, now_s)
        if missing == []:
            return Settled(rows, None)
        numbers = np.arange(len(rows))
        arrived = numbers[:0] if missing is None else np.delete(numbers, missing)
        failed = rows.pick(numbers if missing is None else missing)
        if call.route is not self.route:
            failed = failed.with_keys(self.route.keys_of(failed.keys))
        self.waiting_bytes += int(failed.sizes.sum())
        tries = call.tries + 1
        self._failed.append(Failed(now_s + retry_pause_s(tries), tries, failed))
        self._failed.sort()
        return Settled(rows.with_texts(None).pick(arrived) if len(arrived) else None, None)

    def _append(self, rows: Rows, now_s: float) -> None:
        if not self._fresh:
            self._since_s = now_s
        self._fresh.append(rows)
        self._fresh_records += len(rows)

    def _prepend(self, rows: Rows) -> None:
        self._cut_first()
        self._since_s = 0.0
        self._fresh.appendleft(rows)
        self._fresh_records += len(rows)

    def _due(self, now_s: float) -> tuple[list[Rows], int]:
        """What failed and is due, at most a call of it, and how often that was tried."""
        pieces: list[Rows] = []
        tries = 0
        while self._failed and self._failed[0].due_s <= now_s:
            room = ENTRIES_PER_CALL_MAX - _records(pieces)
            if not room:
                break
            failed = self._failed[0]
            first, rest = failed.rows.part(0, room), failed.rows.part(room, len(failed.rows))
            if len(rest):
                failed.rows = rest
            else:
                self._failed.pop(0)
            tries = max(tries, failed.tries)
            if (admitted := self._parked.admit(first, now_s, again=True)) is not None:
                pieces.append(admitted)
        return pieces, tries

    def _take_fresh(self, room: int, now_s: float) -> list[Rows]:
        """New records that may go now, to fill a call with so much room; others are parked."""
        taken: list[Rows] = []
        while room and self._fresh:
            # The rest of a piece is not copied for every call: that was 3 % of a saturated worker.
            start, first = self._fresh_start, self._fresh[0]
            rows = first.part(start, start + room)
            self._fresh_start += len(rows)
            self._fresh_records -= len(rows)
            if self._fresh_start == len(first):
                self._fresh.popleft()
                self._fresh_start = 0
            if (admitted := self._parked.admit(rows, now_s)) is not None:
                taken.append(admitted)
                room -= len(admitted)
        self._since_s = now_s if self._fresh else NEVER_S
        return taken

    def _cut_first(self) -> None:
        """Let go of what is taken of the first piece."""
        if self._fresh_start:
            self._fresh[0] = self._fresh[0].part(self._fresh_start, len(self._fresh[0]))
            self._fresh_start = 0

    def _emptied(self) -> list[Rows]:
        """All that waits, which it does no more."""
        self._cut_first()
        waiting = [*(failed.rows for failed in self._failed), *self._parked.empty(), *self._fresh]
        self._failed.clear()
        self._fresh.clear()
        self._fresh_records = 0
        self._since_s = NEVER_S
        return waiting


def _texts(rows: Rows) -> Texts:
    assert rows.texts is not None, "records that go have texts"
    return rows.texts


def _records(pieces: list[Rows]) -> int:
    return sum(map(len, pieces))
