"""Lanes of aggregates: what they hold back, how they fill, and how much memory they keep."""

import tracemalloc

import pytest

import routes
from tickerd.kinesis.aggregate import KPL, LINES, Aggregator
from tickerd.kinesis.deaggregate import deaggregate
from tickerd.kinesis.lane import LaneCall
from tickerd.kinesis.lanes import CALL_BYTES, LaneOutbox
from tickerd.kinesis.outbox import RETRY_MAX_S
from tickerd.kinesis.route import Route

LINGER_S = 0.25
NOW_S = 100.0


def outbox(route: Route, aggregate_bytes_max: int = 51_200, *, in_order: bool = False) -> LaneOutbox:
    aggregator = Aggregator(KPL, aggregate_bytes_max, 1024 * 1024)
    return LaneOutbox(routes.OPENING, route, aggregator, LINGER_S, in_order=in_order)


def taken(box: LaneOutbox, now_s: float) -> list[LaneCall]:
    calls = []
    while (call := box.take(now_s)) is not None:
        calls.append(call)
    return calls


def of_shards(route: Route) -> list[int]:
    """One key of each shard that has one."""
    first: dict[int, int] = {}
    for key, shard in enumerate(route.key_shards.tolist()):
        first.setdefault(shard, key)
    return list(first.values())


def named_after_their_keys(keys: list[int]) -> list[bytes]:
    """Records that say which key they have."""
    return [routes.KEYS[key].encode() * 20 for key in keys]


def assert_keys_are_kept(call: LaneCall, keys: list[int]) -> None:
    """The aggregates of a call have these records, each with the key that it is named after."""
    members = [member for entry in call.entries for member in deaggregate(bytes(entry.data))]
    assert all(data == key * 20 for key, _, data in members)
    assert sorted(data for _, _, data in members) == sorted(named_after_their_keys(keys))


def test_aggregates_fill_over_frames_until_they_have_waited_long_enough() -> None:
    box = outbox(routes.route())
    for frame in range(4):
        box.put(routes.rows([b"x" * 100] * 10, frame=frame), NOW_S + frame * 0.05)
        assert box.take(NOW_S + frame * 0.05) is None
    assert box.due_s(NOW_S) == NOW_S + LINGER_S
    (call,) = taken(box, NOW_S + LINGER_S)
    (entry,) = call.entries
    assert len(entry.rows) == call.records == 40
    settled = box.settle(call, routes.answer(), set(), NOW_S + LINGER_S)
    assert settled.arrived is not None
    assert settled.arrived.records_by_frame() == [(frame, 10) for frame in range(4)]
    assert box.empty


def test_each_lane_waits_since_its_own_first_record() -> None:
    box = outbox(routes.route(2), aggregate_bytes_max=2000)
    first, second = of_shards(box.route)
    box.put(routes.rows([b"x" * 100] * 10, keys=first), NOW_S)
    box.put(routes.rows([b"x" * 100] * 10, keys=second), NOW_S + 0.1)
    box.put(routes.rows([b"x" * 100] * 10, keys=first), NOW_S + 0.2)  # fills one: what is left came now
    (full,) = taken(box, NOW_S + 0.2)
    assert [(entry.key, len(entry.rows)) for entry in full.entries] == [(first, 18)]
    assert box.due_s(NOW_S + 0.2) == NOW_S + 0.1 + LINGER_S
    assert not taken(box, NOW_S + LINGER_S + 0.05)
    (call,) = taken(box, NOW_S + 0.1 + LINGER_S)
    assert [(entry.key, len(entry.rows)) for entry in call.entries] == [(second, 10)]
    (call,) = taken(box, NOW_S + 0.2 + LINGER_S)
    assert [(entry.key, len(entry.rows)) for entry in call.entries] == [(first, 2)]
    assert box.empty


def test_what_lingers_in_a_shard_that_closed_goes_with_those_that_follow() -> None:
    before = routes.equal_shards(2)
    box = outbox(routes.route(before))
    keys = [number % len(routes.KEYS) for number in range(100)]
    box.put(routes.rows(named_after_their_keys(keys), keys), NOW_S)
    box.reroute(routes.route(routes.split(before, 0)))
    (call,) = taken(box, NOW_S + LINGER_S)
    assert (call.route, call.records) == (box.route, 100)
    assert len(call) == len(set(call.shards(3))) == 3
    assert_keys_are_kept(call, keys)
    assert box.empty
    assert box.due_s(NOW_S + LINGER_S) is None


def test_a_stream_made_anew_has_other_shards_by_the_same_names() -> None:
    box = outbox(routes.route(2), in_order=True)
    keys = [number % len(routes.KEYS) for number in range(100)]
    box.put(routes.rows(named_after_their_keys(keys), keys), NOW_S)
    box.reroute(routes.route(4))
    (call,) = taken(box, NOW_S + LINGER_S)
    assert (call.route, call.records) == (box.route, 100)
    assert_keys_are_kept(call, keys)
    shards = call.shards(len(call))
    assert all(call.is_legal_in(entry, box.route.shard_map.shards[at]) for entry, at in enumerate(shards))


@pytest.mark.parametrize("aggregation", [KPL, LINES], ids=["kpl", "lines"])
def test_a_lane_that_was_filled_to_the_end_while_it_was_overdue_lingers_anew(aggregation: object) -> None:
    aggregator = Aggregator(KPL if aggregation is KPL else LINES, 2000, 1024 * 1024)
    box = LaneOutbox(routes.OPENING, routes.route(), aggregator, LINGER_S, in_order=True)
    box.put(routes.rows([b"x" * 100] * 40), NOW_S)
    (first,) = taken(box, NOW_S)
    now_s = NOW_S + LINGER_S
    assert box.take(now_s) is None  # the first is not answered, the second waits, the others are overdue
    box.put(routes.rows([b"x" * 3000]), now_s)  # an entry of its own: nothing is left
    call: LaneCall | None = first
    records = 0
    while call is not None:
        records += call.records
        box.settle(call, routes.answer(), set(), now_s)
        call = box.take(now_s)
    assert records == 41
    box.put(routes.rows([b"x" * 100]), now_s)
    assert box.due_s(now_s) == now_s + LINGER_S
    box.flush()
    assert [call.records for call in taken(box, now_s)] == [1]


def test_what_is_left_of_older_records_goes_on_waiting_since_they_came() -> None:
    names = [f"an instrument with a long name {number}" for number in range(320)]
    box = outbox(routes.route(keys=names))
    box.put(routes.rows([b"x" * 150] * 300, keys=list(range(300))), NOW_S)
    box.put(routes.rows([b"x" * 150] * 20, keys=list(range(300, 320))), NOW_S + 0.2)
    (full,) = taken(box, NOW_S + 0.2)
    assert full.records < 300  # the table of so many keys takes the room
    assert box.due_s(NOW_S + 0.2) == NOW_S + LINGER_S
    (call,) = taken(box, NOW_S + LINGER_S)
    assert full.records + call.records == 320


def test_a_full_aggregate_goes_at_once_and_the_rest_waits() -> None:
    box = outbox(routes.route(), aggregate_bytes_max=2000)
    box.put(routes.rows([b"x" * 100] * 30), NOW_S)
    assert [len(entry.rows) for call in taken(box, NOW_S) for entry in call.entries] == [18]
    assert box.waiting_bytes == 1200


def test_a_call_has_entries_of_many_shards_up_to_its_bytes() -> None:
    box = outbox(routes.route(5))
    for key in of_shards(box.route):
        box.put(routes.rows([b"x" * 1000] * 800, keys=key), NOW_S)
    assert box.ready
    sizes = [sum(entry.size for entry in call.entries) for call in taken(box, NOW_S + LINGER_S)]
    assert max(sizes) <= CALL_BYTES
    assert len(sizes) <= sum(sizes) / CALL_BYTES + 2
    assert box.empty
    assert not box.ready


def test_in_order_a_lane_has_one_entry_on_its_way_and_the_others_go_on() -> None:
    box = outbox(routes.route(2), aggregate_bytes_max=2000, in_order=True)
    first, second = of_shards(box.route)
    box.put(routes.rows([b"x" * 100] * 100, keys=first), NOW_S)
    (call,) = taken(box, NOW_S)
    assert len(call) == 1
    box.put(routes.rows([b"x" * 100] * 100, keys=second), NOW_S)
    (other,) = taken(box, NOW_S)
    assert [entry.key for entry in other.entries] == [second]
    box.settle(call, routes.answer(throttled=[0]), set(), NOW_S)
    (again,) = taken(box, NOW_S + RETRY_MAX_S)
    assert again.entries == call.entries  # the same one: nothing overtakes it


def test_a_lane_that_failed_with_many_entries_was_tried_once() -> None:
    box = outbox(routes.route(), aggregate_bytes_max=2000)
    box.put(routes.rows([b"x" * 100] * 400), NOW_S)
    (call,) = taken(box, NOW_S)
    assert len(call) > 10
    box.settle(call, routes.answer(None), set(), NOW_S)
    assert {lane.tries for lane in call.lanes} == {1}
    assert (box.due_s(NOW_S) or 0) <= NOW_S + 0.05


def test_what_cannot_go_grows_instead_of_queueing_in_small_entries() -> None:
    box = outbox(routes.route(), in_order=True)
    now_s = NOW_S
    for frame in range(100):  # six seconds in which the first entry is not answered
        box.put(routes.rows([b"x" * 100] * 3, frame=frame), now_s)
        now_s += 1 / 16
        if (call := box.take(now_s)) is not None:
            unanswered = call
    box.settle(unanswered, routes.answer(), set(), now_s)
    entries = []
    while (call := box.take(now_s)) is not None:
        entries += call.entries
        box.settle(call, routes.answer(), set(), now_s)
        now_s += LINGER_S
    assert box.empty
    assert len(entries) <= 3


@pytest.mark.parametrize("aggregation", [KPL, LINES], ids=["kpl", "lines"])
def test_what_waits_is_handed_over_as_it_was_put(aggregation: object) -> None:
    route = routes.route(4)
    aggregator = Aggregator(KPL if aggregation is KPL else LINES, 2000, 1024 * 1024)
    box = LaneOutbox(routes.OPENING, route, aggregator, LINGER_S, in_order=False)
    data = [b"%d" % number for number in range(500)]
    keys = [number % len(routes.KEYS) for number in range(500)]
    box.put(routes.rows(data, keys), NOW_S)
    (call,) = taken(box, NOW_S + LINGER_S)
    box.settle(call, routes.answer(None), set(), NOW_S)
    box.put(routes.rows(data, keys), NOW_S)
    handed = [
        (key, each)
        for rows in box.leave()
        for key, each in zip(rows.keys.tolist(), routes.records_of(rows), strict=True)
    ]
    for key in range(len(routes.KEYS)):
        mine = [each for number, each in zip(keys, data, strict=True) if number == key]
        assert [each for number, each in handed if number == key] == mine * 2
    assert box.empty
    assert box.due_s(NOW_S) is None


def test_a_shard_that_takes_nothing_keeps_no_memory_but_its_own_records() -> None:
    route = routes.route(64, keys=[f"K{number}" for number in range(600)])
    box = outbox(route, 1024 * 1024, in_order=True)
    stuck = int(route.key_shards[0])
    keys = list(range(600)) * 4
    now_s = NOW_S
    tracemalloc.start()
    try:
        for frame in range(150):
            box.put(routes.rows([bytes(100)] * len(keys), keys, frame=frame), now_s)
            now_s += 1 / 16
            for call in taken(box, now_s):
                missing = [number for number, shard in enumerate(call.shards(len(call))) if shard == stuck]
                box.settle(call, routes.answer(missing), set(), now_s)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4 * box.waiting_bytes
