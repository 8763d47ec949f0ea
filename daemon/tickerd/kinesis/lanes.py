"""Records that go many to an entry: one lane a shard, whose aggregates fill over frames.

With `in_order` a lane has at most one entry on its way, so the first copies of a key's records are stored in
order; when the map changes, the lanes that it touches become empty before those that follow them begin.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tickerd.kinesis.aggregate import Aggregation
from tickerd.kinesis.calls import request_body
from tickerd.kinesis.limits import CALL_BYTES_MAX, ENTRIES_PER_CALL_MAX
from tickerd.kinesis.outbox import Settled, retry_pause_s
from tickerd.kinesis.route import Route
from tickerd.kinesis.rows import Rows, joined
from tickerd.kinesis.settle import Outcome
from tickerd.kinesis.shards import Shard

CALL_BYTES = 1024 * 1024  # of a call, once it has an entry: larger ones hold up the event loop
NEVER_S = float("inf")

assert CALL_BYTES <= CALL_BYTES_MAX, "a call is no larger than the service takes"


@dataclass(slots=True)
class Entry:
    """An aggregate. `rows` are its records, without their data."""

    data: bytes
    rows: Rows
    size: int  # data and key

    @property
    def key(self) -> int:
        """The number of its partition key: the first record's."""
        return int(self.rows.keys[0])


@dataclass(slots=True, eq=False)
class Lane:
    """What waits for one shard: aggregates in `queue`, then records in `open` that do not fill one yet."""

    shard: int  # its position in the map
    queue: deque[Entry] = field(default_factory=deque)
    open: list[Rows] = field(default_factory=list)
    open_bytes: int = 0
    on_their_way: int = 0  # entries
    tries: int = 0
    not_before_s: float = 0.0
    back: list[Rows] = field(default_factory=list)  # of a lane that the map has left: what did not arrive


@dataclass(slots=True)
class LaneCall:
    """A call of aggregates, with the lane of each."""

    route: Route
    entries: list[Entry]
    lanes: list[Lane]
    must_land: bool
    body: bytes

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def records(self) -> int:
        """Of all its entries."""
        return sum(len(entry.rows) for entry in self.entries)

    def shards(self, entries: int) -> list[int]:
        """Where the first entries should land: positions in the map."""
        shards: list[int] = self.route.key_shards[[entry.key for entry in self.entries[:entries]]].tolist()
        return shards

    def is_legal_in(self, entry: int, shard: Shard | None) -> bool:
        """Whether a consumer takes the entry from that shard: an aggregate only where all its keys belong."""
        rows = self.entries[entry].rows
        return len(rows) == 1 or (shard is not None and self.route.holds(shard, rows.keys))


class LaneOutbox:
    """`head` is what stands before the first entry's data; `entry_bytes_max` bounds an entry with its key."""

    def __init__(
        self,
        head: bytes,
        route: Route,
        aggregation: Aggregation,
        entry_bytes_max: int,
        linger_s: float,
        *,
        in_order: bool,
    ) -> None:
        self.route = route
        self.waiting_bytes = 0
        self._head = head
        self._aggregation = aggregation
        self._entry_bytes_max = entry_bytes_max
        self._linger_s = linger_s
        self._in_order = in_order
        self._lanes = [Lane(shard) for shard in range(len(route.shard_map))]
        self._queued: dict[int, None] = {}  # shards with a queue, those served longest ago first
        self._queued_bytes = 0
        self._since_s = NEVER_S  # when the first of the open records began to wait
        self._leaving: list[
            Lane
        ] = []  # lanes of shards that are closed, until nothing of theirs is on its way
        self._blocked: set[int] = set()  # shards that wait for the leaving ones
        self._left = False

    @property
    def ready(self) -> bool:
        """Whether a full call waits for its turn or for its shards."""
        return self._queued_bytes >= CALL_BYTES

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not (self._queued or self._leaving or any(lane.open for lane in self._lanes))

    def put(self, rows: Rows, now_s: float) -> None:
        """Take records addressed by the current route, in the order of their seq."""
        self.waiting_bytes += int(rows.sizes.sum())
        self._since_s = min(self._since_s, now_s)
        for shard, piece in self._by_shard(rows):
            lane = self._lanes[shard]
            lane.open.append(piece)
            lane.open_bytes += int(piece.sizes.sum())
            if lane.open_bytes >= self._entry_bytes_max - 1024:  # the format's own bytes may fill it
                self._close(lane, whole=False)

    def take(self, now_s: float) -> LaneCall | None:
        """The next call of entries that may go now."""
        if now_s >= self._since_s + self._linger_s:
            self._since_s = NEVER_S
            for lane in self._lanes:
                self._close(lane, whole=True)
        entries: list[Entry] = []
        lanes: list[Lane] = []
        size = 0
        for shard in list(self._queued):
            lane = self._lanes[shard]
            for entry in self._may_go(lane, len(entries), size, now_s):
                lane.queue.popleft()
                lane.on_their_way += 1
                entries.append(entry)
                lanes.append(lane)
                size += entry.size
            if lanes and lanes[-1] is lane:
                del self._queued[shard]
                if lane.queue:
                    self._queued[shard] = None  # behind the others
            if size >= CALL_BYTES or len(entries) == ENTRIES_PER_CALL_MAX:
                break
        if not entries:
            return None
        self._queued_bytes -= size
        self.waiting_bytes -= sum(int(entry.rows.sizes.sum()) for entry in entries)
        keys = np.array([entry.key for entry in entries], np.int32)
        body = request_body(self._head, [entry.data for entry in entries], keys, self.route)
        return LaneCall(self.route, entries, lanes, self._aggregation.must_land, body)

    def due_s(self, now_s: float) -> float | None:
        """When something has lingered, may be tried again, or may have room in its shard."""
        due = self._since_s + self._linger_s
        pacer = self.route.pacer
        for shard in self._queued:
            lane = self._lanes[shard]
            if shard in self._blocked or (self._in_order and lane.on_their_way):
                continue
            wait_s = pacer.wait_s(shard, lane.queue[0].size, now_s) if pacer else 0.0
            due = min(due, max(lane.not_before_s, now_s + wait_s))
        return None if due == NEVER_S else due

    def flush(self) -> None:
        """From now on nothing waits for company."""
        self._linger_s = 0.0

    def reroute(self, route: Route) -> None:
        """From now on use another route. Lanes of shards that remain stay as they are."""
        before, old = self.route, self._lanes
        self.route = route
        remaining: dict[str, Lane] = {}
        for lane in old:
            shard_id = before.shard_map.shards[lane.shard].shard_id
            if shard_id in route.positions and not route.even:
                remaining[shard_id] = lane
            else:
                self._leaving.append(lane)
        held = {before.shard_map.shards[shard].shard_id for shard in self._blocked}
        self._lanes, self._blocked, self._queued = [], set(), {}
        for shard, each in enumerate(route.shard_map.shards):
            lane = remaining.get(each.shard_id) or Lane(shard)
            lane.shard = shard
            self._lanes.append(lane)
            if lane.queue:
                self._queued[shard] = None
            if self._in_order and (each.shard_id not in remaining or each.shard_id in held):
                self._blocked.add(shard)
        self._follow_leaving()

    def leave(self) -> list[Rows]:
        """Hand over all that waits."""
        self._left = True
        self._leaving += self._lanes
        rows = [piece for lane in self._leaving for piece in self._emptied(lane)]
        self._lanes, self._leaving, self._queued, self._blocked = [], [], {}, set()
        self.waiting_bytes = self._queued_bytes = 0
        self._since_s = NEVER_S
        return rows

    def settle(self, call: LaneCall, outcome: Outcome, misplaced: set[int], now_s: float) -> Settled:
        """Keep what has not arrived: as it is for its lane, or as records for the lanes of a newer map."""
        missing = set(range(len(call)) if outcome.unacknowledged is None else outcome.unacknowledged)
        self._learn(call, outcome, now_s)
        arrived: list[Rows] = []
        back: list[tuple[Lane, Rows]] = []
        for number in reversed(range(len(call))):  # the last first, as they go before what waits
            entry, lane = call.entries[number], call.lanes[number]
            lane.on_their_way -= 1
            if number not in missing and number not in misplaced:
                arrived.append(entry.rows)
                lane.tries, lane.not_before_s = 0, 0.0
                continue
            if self._left or number in misplaced or not self._is_current(lane):
                back.append((lane, self._restored(entry)))
                continue
            lane.tries += number in missing
            lane.not_before_s = now_s + retry_pause_s(max(1, lane.tries))
            self._queue_first(lane, entry)
        back.reverse()
        if self._left:
            return _settled(arrived, [rows for _, rows in back])
        self._take_back(back)
        self._follow_leaving()
        return _settled(arrived, [])

    def _learn(self, call: LaneCall, outcome: Outcome, now_s: float) -> None:
        pacer = call.route.pacer
        if pacer is None or outcome.unacknowledged is None:
            return
        many = len(call.route.shard_map)
        shards = call.route.key_shards[[entry.key for entry in call.entries]]
        throttled = shards[np.asarray(outcome.throttled, np.intp)]
        sizes = [call.entries[number].size for number in outcome.throttled]
        pacer.answered(
            np.bincount(shards, minlength=many),
            np.bincount(throttled, minlength=many),
            np.bincount(throttled, sizes, many).astype(np.int64),
            now_s,
        )

    def _may_go(self, lane: Lane, entries: int, size: int, now_s: float) -> list[Entry]:
        """The first entries of a lane that may go now, in a call that has so many entries and bytes."""
        if lane.shard in self._blocked or lane.not_before_s > now_s:
            return []
        if self._in_order and lane.on_their_way:
            return []
        first: list[Entry] = []
        for entry in lane.queue:
            if entries + len(first) == ENTRIES_PER_CALL_MAX or (self._in_order and first):
                break
            size += entry.size
            if size > CALL_BYTES and (entries or first):
                break
            first.append(entry)
        pacer = self.route.pacer
        if pacer is None or not first:
            return first
        return first[: pacer.room(lane.shard, [entry.size for entry in first], now_s)]

    def _by_shard(self, rows: Rows) -> list[tuple[int, Rows]]:
        """The records of each shard, in their order."""
        shards = self.route.key_shards[rows.keys]
        order = np.argsort(shards, kind="stable")
        rows, shards = rows.pick(order), shards[order]
        starts = [0, *(np.flatnonzero(np.diff(shards)) + 1).tolist(), len(rows)]
        at = shards[starts[:-1]].tolist()
        return [
            (shard, rows.part(start, stop))
            for shard, start, stop in zip(at, starts[:-1], starts[1:], strict=True)
        ]

    def _close(self, lane: Lane, *, whole: bool) -> None:
        """Make entries of a lane's open records: of all of them, or of those that fill entries."""
        if not lane.open:
            return
        rows = joined(lane.open)
        start = 0
        for stop in self._ends(rows, whole=whole):
            entry = self._entry(rows.part(start, stop))
            lane.queue.append(entry)
            self._queued_bytes += entry.size
            start = stop
        left = rows.part(start, len(rows))
        lane.open = [left] if len(left) else []
        lane.open_bytes = int(left.sizes.sum())
        if lane.queue:
            self._queued.setdefault(lane.shard)

    def _ends(self, rows: Rows, *, whole: bool) -> list[int]:
        ends = self._aggregation.cut(rows, self.route, self._entry_bytes_max)
        if whole and (not ends or ends[-1] < len(rows)):
            ends.append(len(rows))
        return ends

    def _entry(self, rows: Rows) -> Entry:
        data = self._aggregation.join(rows, self.route)
        return Entry(data, rows.without_data(), len(data) + int(self.route.key_bytes[rows.keys[0]]))

    def _restored(self, entry: Entry) -> Rows:
        """An entry's records as they were put."""
        rows = entry.rows
        data = self._aggregation.split(entry.data, len(rows))
        return Rows(data, rows.keys, rows.feeds, rows.frames, rows.sizes)

    def _is_current(self, lane: Lane) -> bool:
        return lane.shard < len(self._lanes) and self._lanes[lane.shard] is lane

    def _queue_first(self, lane: Lane, entry: Entry) -> None:
        lane.queue.appendleft(entry)
        self._queued.setdefault(lane.shard)
        self._queued_bytes += entry.size
        self.waiting_bytes += int(entry.rows.sizes.sum())

    def _take_back(self, back: Sequence[tuple[Lane, Rows]]) -> None:
        """Put records before all that waits: at once, or with the others of a lane that is leaving."""
        at_once: list[Rows] = []
        for lane, rows in back:
            self.waiting_bytes += int(rows.sizes.sum())
            if self._in_order and lane in self._leaving:
                lane.back.append(rows)
            else:
                at_once.append(rows)
        self._put_first(at_once)

    def _follow_leaving(self) -> None:
        """Hand what waited in closed shards to those that follow, once nothing of it is on its way."""
        if not self._leaving or (self._in_order and any(lane.on_their_way for lane in self._leaving)):
            return
        rows = [piece for lane in self._leaving for piece in self._emptied(lane)]
        self._leaving.clear()
        self._blocked.clear()
        self._put_first(rows)

    def _emptied(self, lane: Lane) -> list[Rows]:
        """All that waits in a lane, in order."""
        rows = [*lane.back, *(self._restored(entry) for entry in lane.queue), *lane.open]
        self._queued_bytes -= sum(entry.size for entry in lane.queue)
        lane.back, lane.open, lane.open_bytes = [], [], 0
        lane.queue.clear()
        return rows

    def _put_first(self, pieces: Sequence[Rows]) -> None:
        """Make entries of records and put them before what waits in their lanes."""
        if not pieces:
            return
        rows = joined(pieces)
        rows.keys = self.route.keys_of(rows.keys)
        for shard, piece in self._by_shard(rows):
            lane, start, entries = self._lanes[shard], 0, []
            for stop in self._ends(piece, whole=True):
                entries.append(self._entry(piece.part(start, stop)))
                start = stop
            lane.queue.extendleft(reversed(entries))
            self._queued_bytes += sum(entry.size for entry in entries)
            self._queued.setdefault(shard)


def _settled(arrived: list[Rows], returned: list[Rows]) -> Settled:
    rows = joined([each.without_data() for each in arrived]) if arrived else None
    return Settled(rows, [len(each) for each in arrived], returned)
