"""The counting of `verify`, against an oracle that goes through the records one by one."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tickerd.reading.accounting import Columns, Copies, copies, delays_s, holes, joined, out_of_order

Read = tuple[int, int, int]  # seq, content, instrument

few_seqs = st.one_of(st.integers(0, 30), st.integers(2**63 - 40, 2**63 - 2))
reads = st.lists(st.tuples(few_seqs, st.integers(0, 2), st.integers(0, 3)), max_size=60)


def seen(records: Sequence[Read]) -> Copies:
    columns = np.array(records, np.int64).reshape(-1, 3)
    return copies(columns[:, 0], columns[:, 1])


def disorder(records: Sequence[Read]) -> int:
    return out_of_order(seen(records), np.array([instrument for *_, instrument in records], np.int64))


@given(reads)
def test_copies_are_sorted_out_as_by_hand(records: list[Read]) -> None:
    first: dict[int, int] = {}
    duplicates = altered = 0
    for seq, content, _ in records:
        if seq not in first:
            first[seq] = content
        elif first[seq] == content:
            duplicates += 1
        else:
            altered += 1
    found = seen(records)
    assert found.distinct.tolist() == sorted(first)
    assert [records[at][0] for at in found.first] == sorted(first)
    assert [records[at][1] for at in found.first] == [first[seq] for seq in sorted(first)]
    assert (found.duplicates, found.altered) == (duplicates, altered)


@given(reads)
def test_order_is_judged_per_instrument_and_by_first_copies_as_by_hand(records: list[Read]) -> None:
    highest: dict[int, int] = {}
    known: set[int] = set()
    late = 0
    for seq, _, instrument in records:
        if seq not in known:
            late += seq < highest.get(instrument, -1)
            highest[instrument] = max(seq, highest.get(instrument, -1))
        known.add(seq)
    assert disorder(records) == late


@given(st.sets(st.integers(0, 40)), st.lists(st.integers(0, 41), unique=True), st.integers(0, 4))
def test_holes_are_found_as_by_hand(there: set[int], edges: list[int], ranges_max: int) -> None:
    edges = sorted(edges)
    wanted = list(zip(edges[::2], edges[1::2], strict=False))
    missing = [[seq for seq in range(*bounds) if seq not in there] for bounds in wanted]
    runs = [
        seq
        for bounds, lost in zip(wanted, missing, strict=True)
        for seq in lost
        if seq == bounds[0] or seq - 1 not in lost
    ]
    found = holes(np.array(sorted(there), np.int64), wanted, ranges_max)
    assert found.lost == sum(map(len, missing))
    assert found.ranges_total == len(runs)
    assert [start for start, _ in found.ranges] == runs[:ranges_max]
    lost = {seq for run in missing for seq in run}
    for start, stop in found.ranges:
        assert lost.issuperset(range(start, stop))
        assert stop not in lost or stop in {bounds[0] for bounds in wanted}


def test_a_copy_that_comes_before_its_elder_counts_as_a_record_in_order() -> None:
    assert disorder([(2, 0, 0), (2, 0, 0), (3, 0, 0), (2, 0, 0)]) == 0


def test_two_instruments_may_overtake_each_other() -> None:
    assert disorder([(5, 0, 0), (4, 0, 1), (7, 0, 0), (6, 0, 1)]) == 0


def test_each_record_below_the_highest_of_its_instrument_is_out_of_order() -> None:
    assert disorder([(9, 0, 0), (1, 0, 0), (2, 0, 0), (10, 0, 0)]) == 2


def test_no_records_have_no_delay() -> None:
    nothing = np.empty(0, np.int64)
    assert delays_s(copies(nothing, nothing), nothing, nothing) == (None, None)


def test_the_delay_is_that_of_the_first_copy() -> None:
    columns = Columns()
    columns.append(seq=0, content=1, instrument=0, time_ms=1_000, arrival_ms=1_250)
    columns.append(seq=0, content=1, instrument=0, time_ms=1_000, arrival_ms=9_000)
    found = copies(joined([columns.seq]), joined([columns.content]))
    assert delays_s(found, joined([columns.time_ms]), joined([columns.arrival_ms])) == (0.25, 0.25)


@given(st.lists(st.integers(-5_000, 500_000), min_size=1, max_size=40))
def test_percentiles_lie_between_the_neighbouring_delays(delays_ms: list[int]) -> None:
    seqs = np.arange(len(delays_ms))
    found = copies(seqs, seqs)
    median, high = delays_s(found, np.zeros_like(seqs), np.array(delays_ms))
    assert median is not None
    assert high is not None
    assert sum(delay / 1000 <= median + 0.0005 for delay in delays_ms) >= len(delays_ms) / 2
    assert sum(delay / 1000 >= median - 0.0005 for delay in delays_ms) >= len(delays_ms) / 2
    assert median <= high <= max(delays_ms) / 1000


@given(st.lists(reads, max_size=4))
def test_shards_are_joined_in_the_order_given(shards: list[list[Read]]) -> None:
    parts = []
    for records in shards:
        columns = Columns()
        for seq, content, instrument in records:
            columns.append(seq, content, instrument, 0, 0)
        parts.append(columns)
    flat = [record for records in shards for record in records]
    assert joined([columns.seq for columns in parts]).tolist() == [seq for seq, *_ in flat]
    assert joined([columns.instrument for columns in parts]).tolist() == [number for *_, number in flat]
