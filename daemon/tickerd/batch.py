"""What the market hands to a destination: records with what is needed to pack and to account for them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tickerd.records import Record


@dataclass(slots=True)
class Batch:
    """The records of one part of a frame, in the order of their seq. All columns are [records] long."""

    frame: int
    first_seq: int
    records: list[Record]
    instruments: NDArray[np.int32]  # row in the universe's instruments, which are the partition keys
    feeds: NDArray[np.uint8]  # number of the feed, as in records.FEEDS
