"""What waits for one shard, in order, and a call of entries from several such lanes."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tickerd.kinesis.aggregate import Entry, Written
from tickerd.kinesis.route import Route
from tickerd.kinesis.shards import Shard


@dataclass(slots=True, eq=False)
class Lane:
    """What waits for one shard: entries in `queue`, then records in `open` that do not fill one yet."""

    shard: int  # its position in the newest map that has it
    queue: deque[Entry] = field(default_factory=deque)
    open: list[Written] = field(default_factory=list)
    open_bytes: int = 0
    on_their_way: int = 0  # entries
    tries: int = 0
    not_before_s: float = 0.0
    blocked: bool = False  # it follows lanes of which something may still be on its way
    overdue: bool = False  # its open records have waited long enough, and go once the queue is empty
    closed: bool = False  # its shard is: what waits goes to others

    def first(self, entries_max: int, room_bytes: int, *, empty: bool) -> list[Entry]:
        """The first entries that fit a call with so much room; into an empty one goes any."""
        first: list[Entry] = []
        for entry in self.queue:
            room_bytes -= entry.size
            if len(first) == entries_max or (room_bytes < 0 and (first or not empty)):
                break
            first.append(entry)
        return first

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Entries that were the first are so again."""
        self.queue.extendleft(reversed(entries))


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
