"""How many records become one entry: as an aggregate of the Kinesis Producer Library, or as lines.

Both put the records of one shard, in order, into entries of a bounded size, and can take one apart again.
"""

from collections.abc import Callable, Iterator, Sequence
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

    def own(self) -> "Written":
        """The same in columns of its own: what waits must not keep all that it was cut from alive."""
        return Written(self.rows.own_columns(), self.data)


class Filled(NamedTuple):
    """The data of an entry, and where it ends among the records of its shard, and among their bytes."""

    data: bytes
    stop: int
    end: int


class Aggregation(NamedTuple):
    """One way of aggregating.

    before: what stands before each record of these sizes, [records]; None: nothing. lines: each ends with a
    newline. sizes: bytes of each record with these, [records]. fill: the entries of the records of one shard.
    Given are the records and how they are written, which it may change, their route, the most bytes of an
    entry with its key, and whether the last entry may be one that is not full. split: the records of an
    entry that has so many. must_land: whether consumers take an entry only from the shard to which all its
    keys belong.
    """

    before: Callable[[NDArray[np.int32]], Objects] | None
    lines: bool
    sizes: Callable[[NDArray[np.int32]], NDArray[np.int64]]
    fill: Callable[[Rows, memoryview, Route, int, bool], list[Filled]]
    split: Callable[[bytes, int], list[bytes]]
    must_land: bool


def _fill_kpl(
    rows: Rows, written: memoryview, route: Route, entry_bytes_max: int, whole: bool
) -> list[Filled]:
    members = kpl.Members(rows.keys, rows.sizes, written, route.key_table)
    filled: list[Filled] = []
    start = 0
    for stop, used in members.cut(entry_bytes_max, whole=whole):
        end = int(members.ends[stop - 1])
        if stop - start == 1:  # the library, too, sends a record that has no company as it is
            data = bytes(written[end - int(rows.sizes[start]) : end])
        else:
            data = members.aggregate(start, stop, used)
        filled.append(Filled(data, stop, end))
        start = stop
    return filled


def _split_kpl(data: bytes, records: int) -> list[bytes]:
    return [data] if records == 1 else [record for _, _, record in kpl.deaggregate(data)]


def _fill_lines(
    rows: Rows, written: memoryview, route: Route, entry_bytes_max: int, whole: bool
) -> list[Filled]:
    filled: list[Filled] = []
    ends = _line_bytes(rows.sizes).cumsum()
    start = sent = 0
    while start < len(rows):
        room = entry_bytes_max - route.key_bytes.item(
            rows.keys.item(start)
        )  # its first record's key is its own
        stop = max(start + 1, int(ends.searchsorted(sent + room, side="right")))
        end = int(ends[stop - 1])
        if stop == len(rows) and end - sent < room and not whole:
            break
        filled.append(Filled(bytes(written[sent:end]), stop, end))
        start, sent = stop, end
    return filled


def _split_lines(data: bytes, records: int) -> list[bytes]:
    return data.split(b"\n")[:-1]


def _line_bytes(sizes: NDArray[np.int32]) -> NDArray[np.int64]:
    return np.add(sizes, 1, dtype=np.int64)


KPL = Aggregation(
    before=kpl.heads,
    lines=False,
    sizes=kpl.record_bytes,
    fill=_fill_kpl,
    split=_split_kpl,
    must_land=True,
)
LINES = Aggregation(
    before=None,
    lines=True,
    sizes=_line_bytes,
    fill=_fill_lines,
    split=_split_lines,
    must_land=False,
)


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

    def write(self, rows: Rows, order: NDArray[np.intp], stops: Sequence[int]) -> Iterator[Written]:
        """Records in an order, as they stand in entries: those from the first to each of the rising stops.

        One after the other, so that an entry is made of what is still in the nearer cache.
        """
        assert rows.texts is not None, "records that have not been written have texts"
        before = None if self._aggregation.before is None else self._aggregation.before(rows.sizes[order])
        data = rows.texts.runs(order, stops, before, lines=self._aggregation.lines)
        ordered = rows.with_texts(None).pick(order)
        for (start, stop), run in zip(pairwise([0, *stops]), data, strict=True):
            yield Written(ordered.part(start, stop), run)

    def entries(
        self, written: Sequence[Written], route: Route, *, whole: bool
    ) -> tuple[list[Entry], Written]:
        """The entries of one shard's records, and the records that fill none; `whole`: an entry of these too.

        OversizeError for a record that the stream does not take.
        """
        rows = joined([piece.rows for piece in written]) if len(written) > 1 else written[0].own().rows
        data = memoryview(bytearray().join([piece.data for piece in written]))
        entries: list[Entry] = []
        start = sent = 0
        for entry, stop, end in self._aggregation.fill(rows, data, route, self.aggregate_bytes_max, whole):
            entries.append(self._entry(rows.part(start, stop), entry, route))
            start, sent = stop, end
        return entries, Written(rows.part(start, len(rows)), bytes(data[sent:])).own()

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

    def _entry(self, rows: Rows, data: bytes, route: Route) -> Entry:
        size = len(data) + int(route.key_bytes[rows.keys[0]])
        if size > self._entry_bytes_max:
            raise OversizeError(size, self._entry_bytes_max)
        return Entry(data, rows, size, int(rows.sizes.sum()))
