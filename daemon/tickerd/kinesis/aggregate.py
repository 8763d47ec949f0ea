"""How many records become one entry: as an aggregate of the Kinesis Producer Library, or as lines.

Both put the records of one shard, in order, into entries of a bounded size, and can take one apart again.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tickerd.kinesis import kpl
from tickerd.kinesis.route import Route
from tickerd.kinesis.rows import Rows


class Aggregation(NamedTuple):
    """One way of aggregating.

    cut: where full entries end among the records of one shard, as rising numbers of records; what follows
    the last end is not full. Given are the records, their route, and the largest size of an entry with its key.
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
