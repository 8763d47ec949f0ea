"""Entries of many records: exact in size, as full as may be, and taken apart again into what they held."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import routes
from tickerd.kinesis.aggregate import KPL, LINES, Aggregation, Aggregator, Filled, Stretch, Written
from tickerd.kinesis.calls import OversizeError
from tickerd.kinesis.rows import Rows

KEY_BYTES = len("EUR/USD")
BOTH = pytest.mark.parametrize("aggregation", [KPL, LINES], ids=["kpl", "lines"])


def written(aggregation: Aggregation, rows: Rows) -> Written:
    """Records of one shard as they stand in entries."""
    (all_of_them,) = Aggregator(aggregation, 1024, 1024).write(rows, np.arange(len(rows)), [len(rows)])
    return all_of_them


def filled(aggregation: Aggregation, rows: Rows, entry_bytes_max: int, *, whole: bool) -> list[Filled]:
    all_of_them = written(aggregation, rows)
    data = Stretch([all_of_them.data])
    return aggregation.fill(all_of_them.columns, data, routes.route(), entry_bytes_max, whole)


def joined(aggregation: Aggregation, rows: Rows) -> bytes:
    """All of them in one."""
    ((data, _),) = filled(aggregation, rows, 2**30, whole=True)
    return bytes(data)


def cut_lines(rows: Rows, entry_bytes_max: int) -> list[int]:
    return [each.stop for each in filled(LINES, rows, entry_bytes_max, whole=False)]


def lines_of(sizes: list[int], entry_bytes_max: int) -> list[int]:
    return cut_lines(routes.rows([b"x" * size for size in sizes]), entry_bytes_max)


@pytest.mark.parametrize(("over", "ends"), [(-1, []), (0, [3]), (1, [2])])
def test_lines_are_cut_where_the_last_byte_of_an_entry_is_used(over: int, ends: list[int]) -> None:
    """Three lines of 10 bytes with their ends, and the first one's key."""
    assert lines_of([9, 9, 9 + over], 30 + KEY_BYTES) == ends


@pytest.mark.parametrize(("over", "ends"), [(-1, []), (0, [1]), (1, [1])])
def test_a_line_that_fills_an_entry_goes_alone(over: int, ends: list[int]) -> None:
    assert lines_of([29 + over], 30 + KEY_BYTES) == ends


def test_a_line_too_large_for_an_aggregate_is_cut_off_from_both_its_neighbours() -> None:
    assert lines_of([9, 100, 9, 9], 30 + KEY_BYTES) == [1, 2]


def test_an_entry_counts_the_key_of_its_own_first_record() -> None:
    rows = routes.rows([b"x" * 9] * 4, keys=[0, 0, 1, 1])
    assert len(routes.KEYS[1]) == 4
    assert cut_lines(rows, 20 + KEY_BYTES) == [2]
    assert cut_lines(rows, 20 + 4) == [1, 2, 4]


def test_lines_end_and_a_single_record_of_the_library_goes_as_it_is() -> None:
    rows = routes.rows([b"one", b"two"])
    assert joined(LINES, rows) == b"one\ntwo\n"
    assert joined(KPL, rows.part(1, 2)) == b"two"
    assert KPL.split(b"two", 1) == [b"two"]


@BOTH
@given(
    records=st.lists(
        st.tuples(st.binary(min_size=1, max_size=300), st.integers(0, 23)), min_size=1, max_size=80
    ),
    entry_bytes=st.integers(350, 3000),
    whole=st.booleans(),
)
def test_entries_hold_all_records_in_order_and_have_no_room_for_the_next(
    aggregation: Aggregation, records: list[tuple[bytes, int]], entry_bytes: int, whole: bool
) -> None:
    route = routes.route()
    data = [each.replace(b"\n", b"-") for each, _ in records]
    rows = routes.rows(data, keys=[key for _, key in records])
    aggregator = Aggregator(aggregation, entry_bytes, 10_000)
    entries, open_ones = aggregator.entries([written(aggregation, rows)], route, whole=whole)
    left = aggregator.unwritten(open_ones)
    again = [aggregator.records(entry) for entry in entries]
    assert [each for piece in again for each in routes.records_of(piece)] + routes.records_of(left) == data
    assert [key for piece in again for key in piece.keys.tolist()] + left.keys.tolist() == rows.keys.tolist()
    assert not (whole and len(left))
    start = 0
    for entry in entries:
        assert entry.size == len(entry.data) + len(route.keys[entry.key].encode()) <= entry_bytes
        stop = start + len(entry.rows)
        if stop < len(rows):
            one_more = rows.part(start, stop + 1)
            assert len(joined(aggregation, one_more)) + len(route.keys[entry.key].encode()) > entry_bytes
        start = stop


@BOTH
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_a_record_larger_than_an_aggregate_goes_alone_up_to_what_the_stream_takes(
    aggregation: Aggregation, over: int
) -> None:
    framing = 1 if aggregation is LINES else 0
    rows = routes.rows([b"small", b"x" * (5000 - KEY_BYTES - framing + over), b"small"])
    aggregator = Aggregator(aggregation, 1024, 5000)
    if over > 0:
        with pytest.raises(OversizeError, match="5001 bytes with its key; the stream takes 5000"):
            aggregator.entries([written(aggregation, rows)], routes.route(), whole=True)
        return
    entries, left = aggregator.entries([written(aggregation, rows)], routes.route(), whole=False)
    assert [len(entry.rows) for entry in entries] == [1, 1]
    assert entries[1].size == 5000 + over
    assert routes.records_of(aggregator.unwritten(left)) == [b"small"]


def test_a_stream_that_takes_less_than_an_aggregate_bounds_it() -> None:
    rows = routes.rows([b"x" * 100] * 100)
    entries, _ = Aggregator(LINES, 51_200, 1024).entries([written(LINES, rows)], routes.route(), whole=True)
    assert max(entry.size for entry in entries) <= 1024
    assert np.sum([len(entry.rows) for entry in entries]) == 100
