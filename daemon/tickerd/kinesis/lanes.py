"""Records that go many to an entry: one lane a shard, whose aggregates fill over frames.

With `in_order` a lane has at most one entry on its way, so the first copies of a key's records are stored in
order; when the map changes, the lanes that it touches become empty before those that follow them begin.
"""

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np

from tickerd.kinesis.aggregate import Aggregator, Entry, Written
from tickerd.kinesis.lane import Lane, LaneCall
from tickerd.kinesis.limits import CALL_BYTES_MAX, ENTRIES_PER_CALL_MAX
from tickerd.kinesis.outbox import NEVER_S, Settled, retry_pause_s, tell_pacer
from tickerd.kinesis.route import Route
from tickerd.kinesis.rows import Rows, joined
from tickerd.kinesis.settle import Outcome
from tickerd.texts import WholeRecords

CALL_BYTES = 700 * 1024  # of a call, once it has an entry: its body is not large, which the client knows
FRAMING_BYTES = 1024  # so many of an aggregate, at least, its format may need
SHARDS_SORTED_FAST = 2**16

assert CALL_BYTES <= CALL_BYTES_MAX, "a call is no larger than the service takes"


class LaneOutbox:
    """`opening` is how the body of a request begins."""

    def __init__(
        self, opening: bytes, route: Route, aggregator: Aggregator, linger_s: float, *, in_order: bool
    ) -> None:
        self.route = route
        self.waiting_bytes = 0
        self._opening = opening
        self._aggregator = aggregator
        self._linger_s = linger_s
        self._in_order = in_order
        self._lanes = [Lane(shard) for shard in range(len(route.shard_map))]
        self._leaving: list[
            Lane
        ] = []  # closed ones from which something waits or is on its way, oldest first
        self._queued: dict[Lane, None] = {}  # open ones with a queue, those served longest ago first
        self._queued_bytes = 0  # of all entries that wait
        self._open_since_s: dict[Lane, float] = {}  # those whose open records linger, the first one first

    @property
    def ready(self) -> bool:
        """Whether a full call waits for its turn or for its shards."""
        return self._queued_bytes >= CALL_BYTES

    @property
    def empty(self) -> bool:
        """Whether nothing waits; no record is empty."""
        return not self.waiting_bytes

    def put(self, rows: Rows, now_s: float) -> None:
        """Take records addressed by the current route, in the order of their seq."""
        self.waiting_bytes += int(rows.sizes.sum())
        for lane, written in self._by_lane(rows):
            lane.open_bytes += len(written.data)
            if lane.open_bytes >= self._aggregator.aggregate_bytes_max - FRAMING_BYTES:
                lane.open.append(written)
                self._close(lane, whole=False)
            else:
                lane.open.append(written.own())
            if lane.open and not lane.overdue:
                self._open_since_s.setdefault(lane, now_s)

    def take(self, now_s: float) -> LaneCall | None:
        """The next call of entries that may go now."""
        self._close_lingered(now_s)
        entries: list[Entry] = []
        lanes: list[Lane] = []
        size = 0
        for lane in list(self._queued):
            first = self._may_go(lane, ENTRIES_PER_CALL_MAX - len(entries), CALL_BYTES - size, now_s)
            if not first:
                continue
            self._take_first(lane, len(first))
            entries += first
            lanes += [lane] * len(first)
            size += sum(entry.size for entry in first)
            if size >= CALL_BYTES or len(entries) == ENTRIES_PER_CALL_MAX:
                break
        if not entries:
            return None
        keys = np.array([entry.key for entry in entries], np.int64)
        # Aggregates are not copied to bytes: either framing only reads them.
        data = WholeRecords(cast("list[bytes]", [entry.data for entry in entries]))
        body = self.route.framing.body(self._opening, data, keys)
        return LaneCall(self.route, entries, lanes, self._aggregator.must_land, body)

    def due_s(self, now_s: float) -> float | None:
        """When something has lingered, may be tried again, or may have room in its shard."""
        due = next(iter(self._open_since_s.values()), NEVER_S) + self._linger_s
        pacer = self.route.pacer
        for lane in self._queued:
            if not self._is_held(lane):
                wait_s = pacer.wait_s(lane.shard, lane.queue[0].size, now_s) if pacer else 0.0
                due = min(due, max(lane.not_before_s, now_s + wait_s))
        return None if due == NEVER_S else due

    def flush(self) -> None:
        """From now on nothing waits for company."""
        self._linger_s = 0.0

    def reroute(self, route: Route) -> None:
        """From now on use another route. Lanes of shards that remain stay as they are."""
        shards = self.route.shard_map.shards
        remaining: dict[str, Lane] = {}
        for lane in self._lanes:
            shard = shards[lane.shard]
            position = route.positions.get(shard.shard_id)
            # A stream that was made anew has the same names for other ranges.
            if position is not None and route.shard_map.shards[position] == shard and not route.even:
                remaining[shard.shard_id] = lane
                lane.shard = position
            else:
                lane.closed = True
                self._leaving.append(lane)
                self._open_since_s.pop(lane, None)
        self.route = route
        self._lanes = [
            remaining.get(shard.shard_id) or Lane(position, blocked=self._in_order)
            for position, shard in enumerate(route.shard_map.shards)
        ]
        self._queued = dict.fromkeys(lane for lane in self._lanes if lane.queue)
        self._follow_leaving()

    def leave(self) -> list[Rows]:
        """Hand over all that waits, in order."""
        rows = [piece for lane in [*self._leaving, *self._lanes] for piece in self._emptied(lane)]
        self._leaving.clear()
        self._queued.clear()
        self._open_since_s.clear()
        self.waiting_bytes = 0
        return rows

    def settle(self, call: LaneCall, outcome: Outcome, misplaced: set[int], now_s: float) -> Settled:
        """Keep what has not arrived: as it is for its lane, or as records for the lanes of a newer map."""
        keys = np.array([entry.key for entry in call.entries], np.int64)
        sizes = np.array([entry.size for entry in call.entries], np.int64)
        tell_pacer(call.route, keys, sizes, outcome, now_s)
        kept = misplaced.union(range(len(call)) if outcome.unacknowledged is None else outcome.unacknowledged)
        arrived: list[Rows] = []
        back: dict[Lane, list[Entry]] = {}
        for number, (entry, lane) in enumerate(zip(call.entries, call.lanes, strict=True)):
            lane.on_their_way -= 1
            if number in kept:
                back.setdefault(lane, []).append(entry)
            else:
                arrived.append(entry.rows)
                lane.tries, lane.not_before_s = 0, 0.0
        for lane, entries in back.items():
            lane.tries += 1
            lane.not_before_s = now_s + retry_pause_s(lane.tries)
            self._put_back(lane, entries)
        self._follow_leaving()
        return Settled(joined(arrived) if arrived else None, [len(rows) for rows in arrived])

    def _is_held(self, lane: Lane) -> bool:
        """Whether something of its past must be answered before anything else goes."""
        return lane.blocked or (self._in_order and lane.on_their_way > 0)

    def _may_go(self, lane: Lane, entries_max: int, room_bytes: int, now_s: float) -> list[Entry]:
        """The first entries of a lane that may go now, in a call that has so much room."""
        if lane.not_before_s > now_s or self._is_held(lane):
            return []
        first = lane.first(1 if self._in_order else entries_max, room_bytes, empty=room_bytes == CALL_BYTES)
        pacer = self.route.pacer
        if pacer is None or not first:
            return first
        return first[: pacer.room(lane.shard, [entry.size for entry in first], now_s)]

    def _take_first(self, lane: Lane, entries: int) -> None:
        """So many entries of a lane go now."""
        for _ in range(entries):
            entry = lane.queue.popleft()
            self._queued_bytes -= entry.size
            self.waiting_bytes -= entry.record_bytes
        lane.on_their_way += entries
        del self._queued[lane]
        if lane.queue:
            self._queued[lane] = None  # behind the others
        elif lane.overdue:
            self._close(lane, whole=True)

    def _by_lane(self, rows: Rows) -> Iterator[tuple[Lane, Written]]:
        """The records of each lane, in their order, as they stand in entries."""
        shards = self.route.key_shards[rows.keys]
        if len(self._lanes) <= SHARDS_SORTED_FAST:
            shards = shards.astype(np.uint16)  # which NumPy sorts by counting: 6 ns a record instead of 60
        order = np.argsort(shards, kind="stable")
        shards = shards[order]
        stops = [*(np.flatnonzero(np.diff(shards)) + 1).tolist(), len(rows)]
        written = self._aggregator.write(rows, order, stops)
        for stop, each in zip(stops, written, strict=True):
            yield self._lanes[shards[stop - 1]], each

    def _close_lingered(self, now_s: float) -> None:
        """Close the lanes whose open records have waited long enough, or mark those that have a queue.

        Each lane by itself: when all were closed together there were 5 % more entries at full speed.
        """
        due: list[Lane] = []
        for lane, since_s in self._open_since_s.items():
            if now_s < since_s + self._linger_s:
                break
            due.append(lane)
        for lane in due:
            if lane.queue:
                del self._open_since_s[lane]
                lane.overdue = True  # what cannot go yet may as well grow
            else:
                self._close(lane, whole=True)

    def _close(self, lane: Lane, *, whole: bool) -> None:
        """Make entries of a lane's open records: of all of them, or of those that fill entries."""
        if not lane.open:
            return
        entries, left = self._aggregator.entries(lane.open, self.route, whole=whole)
        if entries and len(left) <= len(lane.open[-1]):  # what is left, if anything, has just come
            lane.overdue = False
            self._open_since_s.pop(lane, None)
        lane.open = [left] if len(left) else []
        lane.open_bytes = len(left.data)
        lane.queue.extend(entries)
        self._queued_bytes += sum(entry.size for entry in entries)
        if lane.queue:
            self._queued.setdefault(lane)

    def _put_back(self, lane: Lane, entries: Sequence[Entry]) -> None:
        """Entries that have not arrived are the first of their lane again."""
        lane.put_back(entries)
        self._queued_bytes += sum(entry.size for entry in entries)
        self.waiting_bytes += sum(entry.record_bytes for entry in entries)
        if not lane.closed:
            self._queued.setdefault(lane)
        elif lane not in self._leaving:
            self._leaving.append(lane)

    def _follow_leaving(self) -> None:
        """Hand what waits in closed lanes to those that follow; in order: once nothing is on its way."""
        if not self._leaving or (self._in_order and any(lane.on_their_way for lane in self._leaving)):
            return
        pieces = [piece for lane in self._leaving for piece in self._emptied(lane)]
        self._leaving.clear()
        for lane in self._lanes:
            lane.blocked = False
        if pieces:
            texts = WholeRecords([text for piece in pieces for text in _texts(piece)])
            rows = joined(pieces)
            self._put_first(rows.with_keys(self.route.keys_of(rows.keys)).with_texts(texts))

    def _put_first(self, rows: Rows) -> None:
        """Make entries of records and put them before what waits in their lanes."""
        for lane, written in self._by_lane(rows):
            entries, _ = self._aggregator.entries([written], self.route, whole=True)
            lane.put_back(entries)
            self._queued_bytes += sum(entry.size for entry in entries)
            self._queued.setdefault(lane)

    def _emptied(self, lane: Lane) -> list[Rows]:
        """All that waits in a lane, in order."""
        rows = [
            *map(self._aggregator.records, lane.queue),
            *map(self._aggregator.unwritten, lane.open),
        ]
        self._queued_bytes -= sum(entry.size for entry in lane.queue)
        lane.queue.clear()
        lane.open, lane.open_bytes, lane.overdue = [], 0, False
        return rows


def _texts(rows: Rows) -> list[bytes]:
    assert rows.texts is not None, "what has been taken apart has texts"
    return rows.texts.records()
