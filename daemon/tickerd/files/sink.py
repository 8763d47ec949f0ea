"""What delivery needs of whatever takes the lines: a file that rotates, or standard output."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


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
    has_names: bool  # what is written needs `finish`; else a write that hangs is not waited for

    def write(self, chunks: Sequence[bytes], first_seq: int) -> Written:
        """Take chunks, which begin with this seq, and do what time has brought; there may be none."""

    def finish(self) -> None:
        """Leave nothing half done behind; OSError where that is not possible."""
