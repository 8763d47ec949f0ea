"""Records that wait for their request: in one lane, or in one for each ordering key.

A lane's requests hold its records in their order. With keys a lane has one request under way, so that nothing
overtakes what has to be sent again; without, any number.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tickerd.arrivals import Load


class Block(NamedTuple):
    """Records that stay together: messages of a record each, ready for the wire, or lines."""

    data: bytes
    first_seq: int  # the lowest
    load: Load


class Request(NamedTuple):
    """A publish request; `entries` says how many records each of its messages holds, None: one."""

    body: bytes
    messages: int
    entries: Sequence[int] | None
    loads: Sequence[Load]
    records: int
    lane: "Lane"


@dataclass(slots=True)
class Lane:
    """What waits for one ordering key (none: empty)."""

    key: bytes
    blocks: deque[Block] = field(default_factory=deque)
    waiting_bytes: int = 0
    waiting_records: int = 0
    since_s: float = 0.0  # when the first of what waits came
    busy: bool = False  # has a request under way, and may have no other

    def put(self, block: Block, now_s: float) -> None:
        """Take a block behind the others."""
        if not self.blocks:
            self.since_s = now_s
        self.blocks.append(block)
        self.waiting_bytes += len(block.data)
        self.waiting_records += block.load.total

    def take(self, bytes_max: int, records_max: int) -> list[Block]:
        """The first blocks, as many as fit; one at least."""
        taken: list[Block] = []
        size = records = 0
        while self.blocks:
            block = self.blocks[0]
            size += len(block.data)
            records += block.load.total
            if taken and (size > bytes_max or records > records_max):
                break
            taken.append(self.blocks.popleft())
            self.waiting_bytes -= len(block.data)
            self.waiting_records -= block.load.total
        return taken
