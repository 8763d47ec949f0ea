"""Calls of single records: as full as the limits allow; what failed or has to wait holds up nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import routes
from tickerd.kinesis.calls import OversizeError
from tickerd.kinesis.limits import CALL_BYTES_MAX, ENTRIES_PER_CALL_MAX, ENTRY_BYTES_MAX_DEFAULT
from tickerd.kinesis.outbox import RETRY_MAX_S
from tickerd.kinesis.pacing import Pacer
from tickerd.kinesis.parked import Parked
from tickerd.kinesis.plain import PlainCall, PlainOutbox
from tickerd.kinesis.route import Route

LINGER_S = 0.25
NOW_S = 100.0


def outbox(route: Route | None = None, entry_bytes_max: int = ENTRY_BYTES_MAX_DEFAULT) -> PlainOutbox:
    return PlainOutbox(routes.OPENING, route or routes.route(), entry_bytes_max, LINGER_S)


def paced(shards: int, share: float) -> Route:
    ids = [shard.shard_id for shard in routes.equal_shards(shards).shards]
    return routes.route(shards, pacer=Pacer(ids, share, NOW_S))


def taken(box: PlainOutbox, now_s: float) -> list[PlainCall]:
    calls = []
    while (call := box.take(now_s)) is not None:
        calls.append(call)
    return calls


def data_of(call: PlainCall) -> list[bytes]:
    return [data for data, _ in routes.entries_of(call.body)]


@pytest.mark.parametrize(("records", "calls", "left"), [(499, [], 499), (500, [500], 0), (501, [500], 1)])
def test_a_501st_entry_starts_a_new_call(records: int, calls: list[int], left: int) -> None:
    box = outbox()
    box.put(routes.rows([b"x"] * records), NOW_S)
    assert box.ready == bool(calls)
    assert [len(call) for call in taken(box, NOW_S)] == calls
    assert not box.ready
    assert box.waiting_bytes == left
    assert sum(map(len, taken(box, NOW_S + LINGER_S))) == left
    assert box.empty


def test_a_call_fills_up_over_several_frames() -> None:
    box = outbox()
    box.put(routes.rows([b"a"] * 300, frame=1), NOW_S)
    assert box.take(NOW_S) is None
    box.put(routes.rows([b"b"] * 300, frame=2), NOW_S)
    (full,) = taken(box, NOW_S)
    assert data_of(full) == [b"a"] * 300 + [b"b"] * 200
    settled = box.settle(full, routes.answer(), set(), NOW_S)
    assert settled.arrived is not None
    assert settled.arrived.records_by_frame() == [(1, 300), (2, 200)]


def test_an_unfilled_call_waits_from_its_first_record_on() -> None:
    box = outbox()
    box.put(routes.rows([b"a"] * 20), NOW_S)
    box.put(routes.rows([b"b"] * 20), NOW_S + 0.2)  # a younger one does not make it wait longer
    assert box.due_s(NOW_S) == NOW_S + LINGER_S
    assert box.take(NOW_S + LINGER_S - 0.01) is None
    assert [len(call) for call in taken(box, NOW_S + LINGER_S)] == [40]
    assert box.due_s(NOW_S + LINGER_S) is None


def test_at_the_end_nothing_waits_for_company() -> None:
    box = outbox()
    box.put(routes.rows([b"a"]), NOW_S)
    box.flush()
    assert [len(call) for call in taken(box, NOW_S)] == [1]


@pytest.mark.parametrize(("spare", "calls"), [(1, [11]), (0, [11]), (-1, [10, 1])])
def test_a_call_holds_10_mib_of_data_and_keys_and_no_byte_more(spare: int, calls: list[int]) -> None:
    key_bytes = len("EUR/USD")
    large = [b"x" * (ENTRY_BYTES_MAX_DEFAULT - key_bytes)] * 9
    rest = CALL_BYTES_MAX - 9 * ENTRY_BYTES_MAX_DEFAULT - 2 * key_bytes - spare
    box = outbox()
    box.put(routes.rows([*large, b"y" * (rest // 2), b"z" * (rest - rest // 2)]), NOW_S)
    box.flush()
    assert [len(call) for call in taken(box, NOW_S)] == calls
    assert box.empty


def test_longer_keys_of_a_newer_map_count_in_a_call_too() -> None:
    size = CALL_BYTES_MAX // ENTRIES_PER_CALL_MAX - 1
    box = outbox(routes.route(1, partition_key="even"))
    box.put(routes.rows([b"x" * size] * ENTRIES_PER_CALL_MAX), NOW_S)
    box.reroute(routes.route(64, partition_key="even"))
    box.flush()
    for call in taken(box, NOW_S):
        assert sum(len(data) + len(key) for data, key in routes.entries_of(call.body)) <= CALL_BYTES_MAX
    assert box.empty


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_an_entry_has_the_streams_size_at_most(over: int) -> None:
    box = outbox(entry_bytes_max=2048)
    rows = routes.rows([b"x" * (2048 - len("EUR/USD") + over)])
    if over > 0:
        with pytest.raises(OversizeError, match="2049 bytes with its key; the stream takes 2048"):
            box.put(rows, NOW_S)
    box.put(rows, NOW_S) if over <= 0 else None
    assert box.empty == (over > 0)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.integers(0, 23)), min_size=1, max_size=1200))
def test_every_record_goes_out_once_in_order_with_its_key(records: list[tuple[bytes, int]]) -> None:
    box = outbox()
    box.put(routes.rows([data for data, _ in records], keys=[key for _, key in records]), NOW_S)
    calls = taken(box, NOW_S + LINGER_S)
    assert [entry for call in calls for entry in routes.entries_of(call.body)] == [
        (data, routes.KEYS[key]) for data, key in records
    ]
    assert all(len(call) == ENTRIES_PER_CALL_MAX for call in calls[:-1])


def test_what_failed_goes_again_and_nothing_else_with_what_is_new() -> None:
    box = outbox()
    box.put(routes.rows([b"%d" % number for number in range(10)], keys=1), NOW_S)
    box.flush()
    (call,) = taken(box, NOW_S)
    settled = box.settle(call, routes.answer([2, 5], throttled=[9]), set(), NOW_S)
    assert settled.arrived is not None
    assert settled.arrived.records_by_frame() == [(7, 7)]
    sizes = settled.arrived.entry_bytes(call.route.key_bytes)
    assert settled.arrived.records_by_feed(sizes)[0] == [0, 7, 0]
    box.put(routes.rows([b"new"]), NOW_S + RETRY_MAX_S)
    (again,) = taken(box, NOW_S + RETRY_MAX_S)
    assert data_of(again) == [b"2", b"5", b"9", b"new"]
    assert again.tries == 1


def test_a_call_without_an_answer_goes_again_whole() -> None:
    box = outbox()
    box.put(routes.rows([b"a", b"b"]), NOW_S)
    box.flush()
    (call,) = taken(box, NOW_S)
    assert box.settle(call, routes.answer(None), set(), NOW_S).arrived is None
    due_s = box.due_s(NOW_S)
    assert due_s is not None
    assert NOW_S <= due_s <= NOW_S + RETRY_MAX_S
    (again,) = taken(box, due_s)
    assert data_of(again) == [b"a", b"b"]


def test_what_failed_in_a_large_call_is_never_more_than_a_call() -> None:
    box = outbox()
    box.put(routes.rows([b"%d" % number for number in range(1000)]), NOW_S)
    for call in taken(box, NOW_S):
        box.settle(call, routes.answer(None), set(), NOW_S)
    again = taken(box, NOW_S + RETRY_MAX_S)
    assert [len(call) for call in again] == [500, 500]
    assert len({data for call in again for data in data_of(call)}) == 1000
    assert box.empty


def of_shard(route: Route, shard: int, records: int) -> list[int]:
    """Keys of one shard, in turn."""
    keys = [key for key in range(len(routes.KEYS)) if route.key_shards[key] == shard]
    return [keys[number % len(keys)] for number in range(records)]


def test_a_full_shard_holds_back_only_its_own_records() -> None:
    route = paced(shards=2, share=0.1)
    box = outbox(route)
    box.put(routes.rows([b"first"] * 400, keys=of_shard(route, 0, 400)), NOW_S)
    first = sum(map(len, taken(box, NOW_S + LINGER_S)))
    keys = of_shard(route, 0, 400) + of_shard(route, 1, 10)
    box.put(routes.rows([b"0"] * 400 + [b"1"] * 10, keys=keys), NOW_S + LINGER_S)
    gone = [data for call in taken(box, NOW_S + 2 * LINGER_S) for data in data_of(call)]
    assert gone.count(b"1") == 10
    assert first + len(gone) < 800
    assert not box.empty
    assert box.due_s(NOW_S + LINGER_S) is not None


@pytest.mark.parametrize("shards", [1, 3])
def test_records_of_a_full_shard_go_in_their_order_and_all_of_them_in_time(shards: int) -> None:
    route = paced(shards, share=0.1)
    box = outbox(route)
    now_s, seq = NOW_S, 0
    gone: list[int] = []
    while seq < 2000 or not box.empty:
        if seq < 2000:
            keys = of_shard(route, 0, 20) + of_shard(route, shards - 1, 20)
            box.put(routes.rows([b"%d" % n for n in range(seq, seq + 40)], keys=keys), now_s)
            seq += 40
        now_s += 1 / 16
        calls = taken(box, now_s)
        gone += [int(data) for call in calls for data in data_of(call)]
        for call in calls:
            box.settle(call, routes.answer(), set(), now_s)
        assert now_s < NOW_S + 100
    keys_of_cycle = of_shard(route, 0, 20) + of_shard(route, shards - 1, 20)
    for shard in range(shards):
        in_shard = [n for n in gone if route.key_shards[keys_of_cycle[n % 40]] == shard]
        assert in_shard == sorted(in_shard)
    assert sorted(gone) == list(range(2000))


def test_what_failed_goes_before_what_waits_for_its_full_shard() -> None:
    """Behind that its frame would stay owed as long as the shard is behind, and a crash make it again."""
    box = outbox(paced(shards=1, share=0.1))
    box.put(routes.rows([b"%d" % number for number in range(1000)]), NOW_S)
    taken(box, NOW_S)
    (first,) = taken(box, NOW_S + LINGER_S)
    box.settle(first, routes.answer([0, 3]), set(), NOW_S + LINGER_S)
    failed = [data_of(first)[number] for number in (0, 3)]
    then = [data for tick in range(4, 64) for call in taken(box, NOW_S + tick / 16) for data in data_of(call)]
    assert set(failed) < set(then)
    assert not box.empty


def test_what_failed_goes_again_in_its_order() -> None:
    parked = Parked(paced(shards=1, share=0.001))
    for data in (b"new", b"newer"):
        assert parked.admit(routes.rows([data] * 10), NOW_S) is None
    for data in (b"failed", b"failed later"):
        assert parked.admit(routes.rows([data] * 10), NOW_S, again=True) is None
    looks = [rows for tick in range(100) for rows in parked.unpark(7, NOW_S + tick)]
    gone = [data for rows in looks for data in routes.records_of(rows)]
    assert gone == [b"failed"] * 10 + [b"failed later"] * 10 + [b"new"] * 10 + [b"newer"] * 10
    assert parked.empty() == []


def test_parked_shards_have_their_turns() -> None:
    """Two or three shards' second fills a call: with a call a second, the others come before them next."""
    route = paced(shards=10, share=1.0)
    box = outbox(route)
    for _ in range(8):
        for shard in range(10):
            box.put(routes.rows([b"%d" % shard] * 500, keys=of_shard(route, shard, 500)), NOW_S)
    taken(box, NOW_S)
    calls = [box.take(NOW_S + 60 + step) for step in range(5)]
    assert {data for call in calls if call for data in data_of(call)} == {
        b"%d" % shard for shard in range(10)
    }


def test_even_keys_are_dealt_anew_under_another_map() -> None:
    box = outbox(routes.route(2, partition_key="even"))
    box.put(routes.rows([b"x"] * 100, to=box.route), NOW_S)
    box.flush()
    (call,) = taken(box, NOW_S)
    box.put(routes.rows([b"y"] * 100, to=box.route), NOW_S)
    box.reroute(routes.route(5, partition_key="even"))
    box.settle(call, routes.answer(None), set(), NOW_S)
    for again in taken(box, NOW_S + RETRY_MAX_S):
        shards = again.shards(len(again))
        assert [shards.count(shard) for shard in range(5)] == [len(again) // 5] * 5
        assert {key for _, key in routes.entries_of(again.body)} == set(again.route.keys)
    assert box.empty


def test_all_that_waits_is_handed_over_whatever_it_waits_for() -> None:
    route = paced(shards=2, share=0.01)
    box = outbox(route)
    box.put(routes.rows([b"failed"] * 1), NOW_S)
    (call,) = taken(box, NOW_S + LINGER_S)
    box.settle(call, routes.answer([0]), set(), NOW_S)
    box.put(routes.rows([b"parked"] * 500), NOW_S)
    taken(box, NOW_S)
    box.put(routes.rows([b"fresh"]), NOW_S)
    assert [set(routes.records_of(rows)) for rows in box.leave()] == [{b"failed"}, {b"parked"}, {b"fresh"}]
    assert box.empty
    assert box.due_s(NOW_S) is None
    assert taken(box, NOW_S + 60) == []
