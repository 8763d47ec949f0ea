"""Plain records that their shards cannot take yet: they wait in order, and hold back no other shard's."""

import random
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from tickerd.kinesis.outbox import NEVER_S
from tickerd.kinesis.route import Route
from tickerd.kinesis.rows import Rows

LOOK_PAUSE_S = 0.025  # in the mean, between two looks at the parked, so that they go in calls, not one by one


def look_pause_s() -> float:
    """Seconds to the next look.

    Drawn anew each time: hosts in step would always ask a full shard in the same order, so that one took all
    its room and the others alone were refused and slowed down ("phase effects", Floyd and Jacobson 1991).
    """
    return random.uniform(0.1, 1.9) * LOOK_PAUSE_S


@dataclass(slots=True)
class Waiting:
    """What waits for one shard: records that have failed, and after them the others, each in order."""

    failed: deque[Rows] = field(default_factory=deque)
    others: deque[Rows] = field(default_factory=deque)

    @property
    def next(self) -> deque[Rows]:
        """Those whose turn it is; empty when nothing waits."""
        return self.failed or self.others


class Parked:
    """The parked records of one route. `look_s` is when to `unpark` next."""

    def __init__(self, route: Route) -> None:
        self.look_s = NEVER_S
        self._route = route
        self._lanes: dict[int, Waiting] = {}  # by shard, those served longest ago first

    def admit(self, rows: Rows, now_s: float, *, again: bool = False) -> Rows | None:
        """Those that may go now; the others are parked, with all that have to follow them.

        `again`: they have failed, and are parked before the others of their shards. Behind all that waits for
        a full shard their frames would stay owed as long as it is behind, and be made again after a crash.
        """
        pacer = self._route.pacer
        if pacer is None:
            return rows
        many = len(self._route.shard_map)
        shards = self._route.key_shards[rows.keys]
        behind = np.zeros(many, np.bool_)
        behind[list(self._lanes)] = True
        asked = ~behind[shards]
        sizes = rows.entry_bytes(self._route.key_bytes)
        goes = pacer.admit(
            np.bincount(shards[asked], minlength=many),
            np.bincount(shards[asked], sizes[asked], many).astype(np.int64),
            now_s,
        )[shards]
        goes &= asked
        if goes.all():
            return rows
        for shard in np.unique(shards[~goes]).tolist():
            lane = self._lanes.setdefault(shard, Waiting())
            (lane.failed if again else lane.others).append(rows.pick(np.flatnonzero(shards == shard)))
        if self.look_s == NEVER_S:  # not sooner because there is more: busy hosts look as often as others
            self.look_s = now_s + look_pause_s()
        return rows.pick(np.flatnonzero(goes)) if goes.any() else None

    def unpark(self, room: int, now_s: float) -> list[Rows]:
        """Parked records whose shards have room again, at most so many."""
        taken: list[Rows] = []
        if now_s < self.look_s:
            return taken
        for shard in list(self._lanes):
            if not room:
                return taken  # and look again at once, for the shards that had no turn
            pieces = self._first(shard, room, now_s)
            taken += pieces
            room -= sum(map(len, pieces))
            lane = self._lanes.pop(shard)
            if lane.next:
                self._lanes[shard] = lane  # behind the others
        self.look_s = now_s + look_pause_s() if self._lanes else NEVER_S
        return taken

    def empty(self) -> list[Rows]:
        """All that is parked, which it is no more."""
        rows = [piece for lane in self._lanes.values() for piece in (*lane.failed, *lane.others)]
        self._lanes.clear()
        self.look_s = NEVER_S
        return rows

    def _first(self, shard: int, room: int, now_s: float) -> list[Rows]:
        """The first records of one shard that it can take now."""
        pacer, lane = self._route.pacer, self._lanes[shard]
        assert pacer is not None, "without a pacer nothing is parked"
        taken: list[Rows] = []
        while room and (pieces := lane.next):
            rows = pieces[0]
            sizes = rows.entry_bytes(self._route.key_bytes)[:room].tolist()
            goes = pacer.room(shard, sizes, now_s)
            if goes:
                taken.append(rows.part(0, goes))
                room -= goes
            if goes < len(rows):
                pieces[0] = rows.part(goes, len(rows))
                break
            pieces.popleft()
        return taken
