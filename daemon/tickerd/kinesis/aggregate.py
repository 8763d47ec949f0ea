"""How many records become one entry: as an aggregate of the Kinesis Producer Library, or as lines.

Both put the records of one shard, in order, into entries of a bounded size, and can take one apart again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tickerd.kinesis import kpl
from tickerd.kinesis.calls import OversizeError
from tickerd.kinesis.route import Route
from tickerd.kinesis.rows import Rows


class Aggregation(NamedTuple):
    """One way of aggregating.

    cut: where full entries end among the records of one shard, as rising numbers of records; what follows
    the last end is not full. Given are the records, their route, and the most bytes of an entry with its key.
    join: the records' entry. split: the records of an entry that has so many. must_land: whether consumers
    take an entry only from the shard to which all its records' keys belong.
    """

    cut: Callable[[Rows, Route, int], list[int]]
    join: Callable[[Rows, Route], bytes]
    split: Callable[[bytes, int], list[bytes]]
    must_land: bool


def _cut_kpl(rows: Rows, route: Route, entry_bytes_max: int) -> list[int]:
    return kpl.cut(rows.keys, rows.sizes, route.key_bytes, entry_bytes_max)


def _join_kpl(rows: Rows, route: Route) -> bytes:
    if len(rows) == 1:  # the library, too, sends a record that has no company as it is
        return rows.data[0]
    return kpl.aggregate(rows.keys.tolist(), rows.data, route.key_texts)


def _split_kpl(data: bytes, records: int) -> list[bytes]:
    return [data] if records == 1 else [record for _, _, record in kpl.deaggregate(data)]


def _cut_lines(rows: Rows, route: Route, entry_bytes_max: int) -> list[int]:
    ends: list[int] = []
    total = np.cumsum(rows.sizes + 1, dtype=np.int64)  # each line ends
    start = sent = 0
    while start < len(rows):
        key_bytes = int(route.key_bytes[rows.keys[start]])  # the entry has its first record's key
        stop = int(np.searchsorted(total, sent + entry_bytes_max - key_bytes, side="right"))
        if stop == len(rows) and total[-1] - sent < entry_bytes_max - key_bytes:
            break
        start = max(stop, start + 1)
        ends.append(start)
        sent = int(total[start - 1])
    return ends


def _join_lines(rows: Rows, route: Route) -> bytes:
    return b"\n".join([*rows.data, b""])


def _split_lines(data: bytes, records: int) -> list[bytes]:
    return data.split(b"\n")[:-1]


KPL = Aggregation(_cut_kpl, _join_kpl, _split_kpl, must_land=True)
LINES = Aggregation(_cut_lines, _join_lines, _split_lines, must_land=False)


@dataclass(slots=True)
class Entry:
    """Records in one. `rows` are they, without their data."""

    data: bytes
    rows: Rows
    size: int  # data and key

    @property
    def key(self) -> int:
        """The number of its partition key: the first record's."""
        return int(self.rows.keys[0])

    @property
    def record_bytes(self) -> int:
        """Of its records' data alone."""
        return int(self.rows.sizes.sum())


class Aggregator:
    """Makes entries of the records of one shard, in their order, and takes them apart.

    An entry has `aggregate_bytes_max` bytes with its key, unless one record alone is larger; then it may have
    `entry_bytes_max`, which is what the stream takes.
    """

    def __init__(self, aggregation: Aggregation, aggregate_bytes_max: int, entry_bytes_max: int) -> None:
        self.must_land = aggregation.must_land
        self.aggregate_bytes_max = min(aggregate_bytes_max, entry_bytes_max)
        self._aggregation = aggregation
        self._entry_bytes_max = entry_bytes_max

    def entries(self, rows: Rows, route: Route, *, whole: bool) -> tuple[list[Entry], Rows]:
        """The entries of one shard's records, and the records that fill none; `whole`: an entry of these too.

        OversizeError for a record that the stream does not take.
        """
        ends = self._aggregation.cut(rows, route, self.aggregate_bytes_max)
        if whole and (not ends or ends[-1] < len(rows)):
            ends.append(len(rows))
        starts = [0, *ends]
        entries = [
            self._entry(rows.part(start, stop), route) for start, stop in zip(starts, ends, strict=False)
        ]
        return entries, rows.part(starts[-1], len(rows))

    def records(self, entry: Entry) -> Rows:
        """An entry's records as they were before."""
        rows = entry.rows
        data = self._aggregation.split(entry.data, len(rows))
        return Rows(data, rows.keys, rows.feeds, rows.frames, rows.sizes)

    def _entry(self, rows: Rows, route: Route) -> Entry:
        data = self._aggregation.join(rows, route)
        size = len(data) + int(route.key_bytes[rows.keys[0]])
        if size > self._entry_bytes_max:
            raise OversizeError(size, self._entry_bytes_max)
        return Entry(data, rows.without_data(), size)
