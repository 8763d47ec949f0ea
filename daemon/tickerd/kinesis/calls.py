"""PutRecords requests: what one carries, and how much the service's limits allow."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tickerd.kinesis.limits import CALL_BYTES_MAX, ENTRIES_PER_CALL_MAX
from tickerd.kinesis.route import Route
from tickerd.kinesis.shards import Shard


class OversizeError(ValueError):
    """A record is larger than the stream takes; records are small, so this is an error of ours."""

    def __init__(self, size: int, entry_bytes_max: int) -> None:
        super().__init__(f"a record of {size} bytes with its key; the stream takes {entry_bytes_max}")


class Call(Protocol):
    """One PutRecords request on its way."""

    @property
    def route(self) -> Route:
        """The shard map and the keys by which it was addressed."""

    @property
    def body(self) -> bytes:
        """The request's body."""

    @property
    def records(self) -> int:
        """How many records its entries hold."""

    @property
    def must_land(self) -> bool:
        """Whether an entry counts only where its keys belong, so that the answer is read whole."""

    def __len__(self) -> int:
        """How many entries it has."""

    def shards(self, entries: int) -> list[int]:
        """Where the first entries should land: positions in the map."""

    def is_legal_in(self, entry: int, shard: Shard | None) -> bool:
        """Whether consumers take the entry from that shard (None: one that is not known)."""


def fitting(entry_bytes: NDArray[np.int64]) -> int:
    """How many of the first of these entries fit a call: at most 500, and 10 MiB of data and keys."""
    total = np.cumsum(entry_bytes[:ENTRIES_PER_CALL_MAX], dtype=np.int64)
    return int(np.searchsorted(total, CALL_BYTES_MAX, side="right"))
