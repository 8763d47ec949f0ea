"""Order, delays and the ends of what is judged, counted page by page, against going through the records."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickerd.reading.delays import Delays
from tickerd.reading.order import Order
from tickerd.reading.settled import WAITING_MORE_MAX, Settled

Read = tuple[int, int]  # instrument, seq

seqs = st.one_of(st.integers(0, 30), st.integers(2**63 - 30, 2**63 - 2))
pages = st.lists(st.lists(st.tuples(st.integers(0, 4), seqs), max_size=30), max_size=5)


def late(order: Order, page: Sequence[Read]) -> int:
    columns = np.array(page, np.int64).reshape(-1, 2)
    return order.late(columns[:, 0], columns[:, 1])


def late_by_hand(highest: dict[int, int], page: Sequence[Read]) -> int:
    found = 0
    for instrument, seq in page:
        found += seq < highest.get(instrument, -1)
        highest[instrument] = max(seq, highest.get(instrument, -1))
    return found


@given(pages)
def test_each_record_below_the_highest_of_its_instrument_is_late(pages: list[list[Read]]) -> None:
    order, highest = Order(), dict[int, int]()
    for page in pages:
        assert late(order, page) == late_by_hand(highest, page)


@given(pages, pages, pages)
def test_a_child_goes_on_where_both_its_parents_ended(
    left: list[list[Read]], right: list[list[Read]], child: list[list[Read]]
) -> None:
    parents, highest = (Order(), Order()), dict[int, int]()
    for parent, read in zip(parents, (left, right), strict=True):
        for page in read:
            late(parent, page)
            late_by_hand(highest, page)
    order = Order(*parents)
    for page in child:
        assert late(order, page) == late_by_hand(highest, page)


def test_a_child_leaves_its_parent_as_it_was() -> None:
    parent = Order()
    late(parent, [(0, 5)])
    late(Order(parent), [(0, 9)])
    assert late(parent, [(0, 6)]) == 0


def test_two_instruments_may_overtake_each_other() -> None:
    assert late(Order(), [(0, 5), (1, 4), (0, 7), (1, 6)]) == 0


@given(st.lists(st.lists(st.integers(-5_000, 500_000), min_size=1, max_size=40), min_size=1, max_size=4))
def test_a_quantile_is_a_delay_that_so_many_did_not_exceed(pages: list[list[int]]) -> None:
    delays = Delays()
    for page in pages:
        delays.add(np.array(page))
    flat = sorted(delay for page in pages for delay in page)
    for share in (0.5, 0.99):
        exact = flat[int(np.ceil(share * len(flat))) - 1]
        found = delays.quantile_s(share)
        assert found is not None
        assert found * 1000 == pytest.approx(exact, rel=1 / 2048, abs=0.001)


@pytest.mark.parametrize("delay_ms", [-4095, -1, 0, 1, 4095, 4096, 8192, 1 << 40])
def test_delays_are_exact_to_the_millisecond_below_four_seconds_and_at_powers_of_two(delay_ms: int) -> None:
    delays = Delays()
    delays.add(np.array([delay_ms]))
    assert delays.quantile_s(0.5) == delays.quantile_s(0.99) == delay_ms / 1000


def test_no_records_have_no_delay() -> None:
    assert Delays().quantile_s(0.5) is None


def test_delays_of_a_million_records_take_no_more_room_than_there_are_buckets() -> None:
    delays = Delays()
    for start in range(0, 1 << 26, 1 << 20):
        delays.add(np.arange(start, start + (1 << 20), 7))
    assert len(delays._counts) < 4096 + 2048 * 15


times = st.lists(st.lists(st.integers(0, 50), max_size=20), max_size=6)


@given(times, st.integers(0, 20), st.integers(0, 1))
def test_the_ends_are_those_of_all_records_within_the_last_bounds(
    pages: list[list[int]], settle: int, widen_often: int
) -> None:
    settled, read = Settled(), list[tuple[int, int]]()
    for page in pages:
        rows = [(len(read) + number, time) for number, time in enumerate(page)]
        read += rows
        if not read:
            continue
        bounds = min(time for _, time in read) + settle, max(time for _, time in read) - settle
        columns = np.array(rows, np.int64).reshape(-1, 2)
        settled.add(columns[:, 0], columns[:, 1], *bounds)
        if widen_often:
            settled.widen(*bounds)
    if not read:
        return
    settled.widen(*bounds)
    within = [seq for seq, time in read if bounds[0] <= time <= bounds[1]]
    assert (settled.lowest, settled.highest) == (min(within, default=None), max(within, default=None))


def test_what_waits_is_bounded_by_time_not_by_records() -> None:
    settled = Settled()
    for page in range(40):
        seq = np.arange(10_000) + 10_000 * page
        settled.add(seq, seq // 1000, 1e9, 2e9)  # a thousand records a millisecond, none within the bounds
        assert len(settled._waiting) <= 2 * 400
        assert settled._new_records <= WAITING_MORE_MAX + 10_000 + 800
    settled.widen(100, 200)
    assert (settled.lowest, settled.highest) == (100_000, 200_999)
