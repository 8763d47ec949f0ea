"""How many records become one entry: as an aggregate of the Kinesis Producer Library, or as lines.

Both put the records of one shard, in order, into entries of a bounded size, and can take one apart again.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.kinesis import kpl
from tickerd.kinesis.calls import OversizeError
from tickerd.kinesis.deaggregate import deaggregate
from tickerd.kinesis.route import Route
from tickerd.kinesis.rows import KEY, SIZE, Rows
from tickerd.texts import I64, BySize, WholeRecords

WRITTEN = 4  # the row after those of `Rows.columns`


class Written(NamedTuple):
    """Records of one shard, already as they stand in entries, one after the other.

    `columns`: [5, records] those of `Rows`, and how many bytes of `data` each is.
    """

    columns: I64
    data: bytes | memoryview

    def __len__(self) -> int:
        return int(self.columns.shape[1])

    @property
    def rows(self) -> Rows:
        """They, without their texts."""
        return Rows(None, self.columns[:WRITTEN])

    def own(self) -> "Written":
        """The same in columns of its own: what waits must not keep all that it was cut from alive."""
        return Written(self.columns.copy(), self.data)


class Stretch:
    """The bytes of records one after the other, in several pieces, which are cut off but not copied."""

    def __init__(self, pieces: Iterable[bytes | memoryview]) -> None:
        self._pieces = deque([memoryview(piece) for piece in pieces])

    def cut(self, size: int) -> list[memoryview]:
        """The first `size` bytes, which it has no more."""
        pieces: list[memoryview] = []
        while size:
            piece = self._pieces.popleft()
            if len(piece) > size:
                self._pieces.appendleft(piece[size:])
                piece = piece[:size]
            pieces.append(piece)
            size -= len(piece)
        return pieces

    def rest(self) -> bytes | memoryview:
        """What is left, and little that it was cut from."""
        if len(self._pieces) == 1 and 2 * len(self._pieces[0]) >= len(self._pieces[0].obj):  # type: ignore[arg-type]
            return self._pieces[0]
        return b"".join(self._pieces)


class Filled(NamedTuple):
    """The data of an entry, and where it ends among the records of its shard."""

    data: bytes | bytearray
    stop: int


class Aggregation(NamedTuple):
    """One way of aggregating.

    before: what stands before each record, by its size; None: nothing. lines: each ends with a newline.
    sizes: bytes of each record with these, [records]. fill: the entries of the records of one shard. Given
    are the columns of `Written`, their data, which it cuts off, their route, the most bytes of an entry with
    its key, and whether the last entry may be one that is not full. split: the records of an entry that has
    so many. must_land: whether consumers take an entry only from the shard to which all its keys belong.
    """

    before: BySize | None
    lines: bool
    sizes: Callable[[I64], I64]
    fill: Callable[[I64, Stretch, Route, int, bool], list[Filled]]
    split: Callable[[bytes | bytearray, int], list[bytes]]
    must_land: bool


def _fill_kpl(columns: I64, data: Stretch, route: Route, entry_bytes_max: int, whole: bool) -> list[Filled]:
    members = kpl.Members(columns[KEY], columns[SIZE], columns[WRITTEN], route.key_table)
    filled: list[Filled] = []
    start = begin = 0
    for stop, used in members.cut(entry_bytes_max, whole=whole):
        end = members.ends.item(stop - 1)
        written = data.cut(end - begin)
        if stop - start == 1:  # the library, too, sends a record that has no company as it is
            filled.append(Filled(b"".join(written)[end - begin - columns.item((SIZE, start)) :], stop))
        else:
            filled.append(Filled(members.aggregate(start, stop, used, written), stop))
        start, begin = stop, end
    return filled


def _split_kpl(data: bytes | bytearray, records: int) -> list[bytes]:
    return [bytes(data)] if records == 1 else [record for _, _, record in deaggregate(bytes(data))]


def _fill_lines(columns: I64, data: Stretch, route: Route, entry_bytes_max: int, whole: bool) -> list[Filled]:
    filled: list[Filled] = []
    records = columns.shape[1]
    ends = columns[WRITTEN].cumsum()
    start = sent = 0
    while start < records:
        # Its first record's key is its own.
        room = entry_bytes_max - route.key_bytes.item(columns.item((KEY, start)))
        stop = max(start + 1, int(ends.searchsorted(sent + room, side="right")))
        end = ends.item(stop - 1)
        if stop == records and end - sent < room and not whole:
            break
        filled.append(Filled(b"".join(data.cut(end - sent)), stop))
        start, sent = stop, end
    return filled


def _split_lines(data: bytes | bytearray, records: int) -> list[bytes]:
    return bytes(data).split(b"\n")[:-1]


def _line_bytes(sizes: I64) -> I64:
    return sizes + 1


KPL = Aggregation(
    before=kpl.HEADS,
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

    data: bytes | bytearray
    rows: Rows
    key: int  # the number of its partition key: the first record's
    size: int  # data and key
    record_bytes: int  # of its records' data alone


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
        data = rows.texts.runs(order, stops, self._aggregation.before, lines=self._aggregation.lines)
        columns = np.empty((WRITTEN + 1, len(rows)), np.int64)
        rows.columns.take(order, axis=1, out=columns[:WRITTEN], mode="clip")  # else it is buffered
        columns[WRITTEN] = self._aggregation.sizes(columns[SIZE])
        for (start, stop), run in zip(pairwise([0, *stops]), data, strict=True):
            yield Written(columns[:, start:stop], run)

    def entries(
        self, written: Sequence[Written], route: Route, *, whole: bool
    ) -> tuple[list[Entry], Written]:
        """The entries of one shard's records, and the records that fill none; `whole`: an entry of these too.

        OversizeError for a record that the stream does not take.
        """
        # A copy: what waits must not keep the columns of a whole part alive.
        columns = np.concatenate([piece.columns for piece in written], axis=1)
        data = Stretch([piece.data for piece in written])
        entries: list[Entry] = []
        start = 0
        for filled, stop in self._aggregation.fill(columns, data, route, self.aggregate_bytes_max, whole):
            entries.append(self._entry(Rows(None, columns[:WRITTEN, start:stop]), filled, route))
            start = stop
        return entries, Written(columns[:, start:].copy(), data.rest())

    def records(self, entry: Entry) -> Rows:
        """An entry's records as they were before."""
        data = self._aggregation.split(entry.data, len(entry.rows))
        return entry.rows.with_texts(WholeRecords(data))

    def unwritten(self, written: Written) -> Rows:
        """Records as they were before."""
        ends = written.columns[WRITTEN].cumsum() - int(self._aggregation.lines)
        starts = ends - written.columns[SIZE]
        data = bytes(written.data)
        records = [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        return written.rows.with_texts(WholeRecords(records))

    def _entry(self, rows: Rows, data: bytes | bytearray, route: Route) -> Entry:
        key = rows.columns.item((KEY, 0))
        size = len(data) + route.key_bytes.item(key)
        if size > self._entry_bytes_max:
            raise OversizeError(size, self._entry_bytes_max)
        return Entry(data, rows, key, size, int(rows.sizes.sum()))
