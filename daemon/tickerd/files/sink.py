"""What delivery needs of whatever takes the lines: a file that rotates, or standard output."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Written(NamedTuple):
    """How many of the chunks have been taken for good, and what kept the others from it."""

    chunks: int
    error: OSError | None = None


class Sink(Protocol):
    """Takes chunks of whole lines, in a thread of its own; never two calls at once."""

    where: str  # for people
    chunk_bytes_max: int  # a chunk of more than one line has at most so many
    enough_bytes: int  # so much is worth a write; less waits `linger_s` for company
    linger_s: float

    def write(self, chunks: Sequence[bytes], first_seq: int) -> Written:
        """Take chunks, which begin with this seq, and do what time has brought; there may be none."""

    def finish(self) -> None:
        """Leave nothing half done behind; OSError where that is not possible."""


def chunk_stops(sizes: NDArray[np.int32], bytes_max: int, records_max: int) -> list[int]:
    """Where to cut [records] lines of these sizes into chunks: rising, the last is their number.

    A chunk has at most so many records, and bytes unless it is a single line.
    """
    ends = np.cumsum(sizes, dtype=np.int64)
    if int(sizes.max(initial=0)) * records_max <= bytes_max:
        return [*range(records_max, len(sizes), records_max), len(sizes)]
    stops: list[int] = []
    start, before = 0, 0
    while start < len(sizes):
        fit = int(np.searchsorted(ends, before + bytes_max, side="right"))
        start = min(max(fit, start + 1), start + records_max)
        before = int(ends[start - 1])
        stops.append(start)
    return stops
