"""How many records become one entry: as an aggregate of the Kinesis Producer Library, or as lines.

Both put the records of one shard, in order, into entries of a bounded size, and can take one apart again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.kinesis import kpl
from tickerd.kinesis.calls import OversizeError
from tickerd.kinesis.route import Route
from tickerd.kinesis.rows import Rows, joined
from tickerd.texts import Objects, WholeRecords


class Written(NamedTuple):
    """Records of one shard, already as they stand in entries, one after the other."""

    rows: Rows  # without texts
    data: bytes

    def __len__(self) -> int:
        return len(self.rows)


class Aggregation(NamedTuple):
    """One way of aggregating.

    before: what stands before each record of these sizes, [records]; None: nothing. lines: each ends with a
    newline. sizes: bytes of each record with these, [records]. cut: where full entries end among the records
    of one shard, as rising numbers of records; what follows the last end is not full. Given are the records,
    where each ends among those written, their route, and the most bytes of an entry with its key. join: the
    entry of some records as they are written, which it may change. split: the records of an entry that has so
    many. must_land: whether consumers take an entry only from the shard to which all its keys belong.
    """

    before: Callable[[NDArray[np.int32]], Objects] | None
    lines: bool
    sizes: Callable[[NDArray[np.int32]], NDArray[np.int64]]
    cut: Callable[[Rows, NDArray[np.int64], Route, int], list[int]]
    join: Callable[[Rows, memoryview, Route], bytes]
    split: Callable[[bytes, int], list[bytes]]
    must_land: bool


def _cut_kpl(rows: Rows, ends: NDArray[np.int64], route: Route, entry_bytes_max: int) -> list[int]:
    return kpl.cut(rows.keys, rows.sizes, route.key_table, entry_bytes_max)


def _join_kpl(rows: Rows, written: memoryview, route: Route) -> bytes:
    if len(rows) == 1:  # the library, too, sends a record that has no company as it is
        return bytes(written[len(written) - int(rows.sizes[0]) :])
    return kpl.aggregate(rows.keys, rows.sizes, written, route.key_table)


def _split_kpl(data: bytes, records: int) -> list[bytes]:
    return [data] if records == 1 else [record for _, _, record in kpl.deaggregate(data)]


def _cut_lines(rows: Rows, ends: NDArray[np.int64], route: Route, entry_bytes_max: int) -> list[int]:
    cuts: list[int] = []
    start = sent = 0
    while start < len(rows):
        key_bytes = int(route.key_bytes[rows.keys[start]])  # the entry has its first record's key
        stop = int(ends.searchsorted(sent + entry_bytes_max - key_bytes, side="right"))
        if stop == len(rows) and ends[-1] - sent < entry_bytes_max - key_bytes:
            break
        start = max(stop, start + 1)
        cuts.append(start)
        sent = int(ends[start - 1])
    return cuts


def _join_lines(rows: Rows, written: memoryview, route: Route) -> bytes:
    return bytes(written)


def _split_lines(data: bytes, records: int) -> list[bytes]:
    return data.split(b"\n")[:-1]


def _line_bytes(sizes: NDArray[np.int32]) -> NDArray[np.int64]:
    return sizes.astype(np.int64) + 1


KPL = Aggregation(kpl.heads, False, kpl.record_bytes, _cut_kpl, _join_kpl, _split_kpl, must_land=True)
LINES = Aggregation(None, True, _line_bytes, _cut_lines, _join_lines, _split_lines, must_land=False)


@dataclass(slots=True)
class Entry:
    """Records in one. `rows` are they, without their texts."""

    data: bytes
    rows: Rows
    size: int  # data and key
    record_bytes: int  # of its records' data alone

    @property
    def key(self) -> int:
        """The number of its partition key: the first record's."""
        return int(self.rows.keys[0])


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

    def write(self, rows: Rows, order: NDArray[np.intp], stops: Sequence[int]) -> list[Written]:
        """Records in an order, as they stand in entries: those from the first to each of the rising stops."""
        assert rows.texts is not None, "records that have not been written have texts"
        before = None if self._aggregation.before is None else self._aggregation.before(rows.sizes[order])
        data = rows.texts.runs(order, stops, before, lines=self._aggregation.lines)
        ordered = rows.with_texts(None).pick(order)
        return [
            Written(ordered.part(start, stop).own_columns(), run)
            for (start, stop), run in zip(pairwise([0, *stops]), data, strict=True)
        ]

    def entries(
        self, written: Sequence[Written], route: Route, *, whole: bool
    ) -> tuple[list[Entry], Written]:
        """The entries of one shard's records, and the records that fill none; `whole`: an entry of these too.

        OversizeError for a record that the stream does not take.
        """
        rows = joined([piece.rows for piece in written])
        data = memoryview(bytearray().join([piece.data for piece in written]))
        ends = self._aggregation.sizes(rows.sizes).cumsum()
        cuts = self._aggregation.cut(rows, ends, route, self.aggregate_bytes_max)
        if whole and (not cuts or cuts[-1] < len(rows)):
            cuts.append(len(rows))
        entries: list[Entry] = []
        start = sent = 0
        for stop in cuts:
            end = int(ends[stop - 1])
            entries.append(self._entry(rows.part(start, stop), data[sent:end], route))
            start, sent = stop, end
        left = rows.part(start, len(rows)).own_columns()
        return entries, Written(left, bytes(data[sent:]))

    def records(self, entry: Entry) -> Rows:
        """An entry's records as they were before."""
        data = self._aggregation.split(entry.data, len(entry.rows))
        return entry.rows.with_texts(WholeRecords(data))

    def unwritten(self, written: Written) -> Rows:
        """Records as they were before."""
        ends = self._aggregation.sizes(written.rows.sizes).cumsum() - int(self._aggregation.lines)
        starts = ends - written.rows.sizes
        data = written.data
        records = [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        return written.rows.with_texts(WholeRecords(records))

    def _entry(self, rows: Rows, written: memoryview, route: Route) -> Entry:
        data = self._aggregation.join(rows, written, route)
        size = len(data) + int(route.key_bytes[rows.keys[0]])
        if size > self._entry_bytes_max:
            raise OversizeError(size, self._entry_bytes_max)
        return Entry(data, rows, size, int(rows.sizes.sum()))
