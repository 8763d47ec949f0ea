"""Calls are as full as the service's limits allow, and their bodies hold exactly the records given."""

import base64
import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickerd.kinesis.calls import Call, OversizeError, Packer, full_calls
from tickerd.kinesis.limits import CALL_BYTES_MAX, ENTRIES_PER_CALL_MAX, ENTRY_BYTES_MAX_DEFAULT, HASH_KEY_END
from tickerd.kinesis.route import Route
from tickerd.kinesis.shards import Shard, ShardMap

KEYS = ("EUR/USD", "QRVA", 'a "quoted\\" key', "ключ")


def route(keys: Sequence[str] = KEYS) -> Route:
    shards = ShardMap([Shard("shardId-000000000000", 0, HASH_KEY_END - 1)])
    return Route(shards, keys, np.full(len(keys), 1 / len(keys)), "instrument", None)


def packer(entry_bytes_max: int = ENTRY_BYTES_MAX_DEFAULT) -> Packer:
    return Packer(b'{"StreamName":"s"', route(), entry_bytes_max)


def add(to: Packer, data: list[bytes], key: int = 0, feed: int = 1, frame: int = 7) -> list[Call]:
    return to.add(data, np.full(len(data), key, np.int32), np.full(len(data), feed, np.uint8), frame)


def entries_of(call: Call) -> list[tuple[bytes, str]]:
    """What a service would read in the body."""
    body = json.loads(call.body)
    assert set(body) == {"StreamName", "Records"}
    assert all(set(entry) == {"Data", "PartitionKey"} for entry in body["Records"])
    return [
        (base64.b64decode(entry["Data"], validate=True), entry["PartitionKey"]) for entry in body["Records"]
    ]


@pytest.mark.parametrize(("records", "calls", "left"), [(499, [], 499), (500, [500], 0), (501, [500], 1)])
def test_a_501st_entry_starts_a_new_call(records: int, calls: list[int], left: int) -> None:
    packing = packer()
    assert [len(call) for call in add(packing, [b"x"] * records)] == calls
    assert packing.pending == left
    assert sum(len(call) for call in packing.flush()) == left
    assert packing.pending == 0


def test_a_call_fills_up_over_several_batches() -> None:
    packing = packer()
    assert add(packing, [b"a"] * 300, frame=1) == []
    full, *none = add(packing, [b"b"] * 300, frame=2)
    assert none == []
    assert full.records_by_frame() == [(1, 300), (2, 200)]
    assert [data for data, _ in entries_of(full)] == [b"a"] * 300 + [b"b"] * 200
    assert packing.flush()[0].records_by_frame() == [(2, 100)]


@pytest.mark.parametrize(("spare", "calls"), [(1, 0), (0, 0), (-1, 1)])
def test_a_call_holds_10_mib_of_data_and_keys_and_no_byte_more(spare: int, calls: int) -> None:
    packing = packer()
    key_bytes = len("EUR/USD")
    large = [b"x" * (ENTRY_BYTES_MAX_DEFAULT - key_bytes)] * 9  # 9 MiB, keys included
    last = CALL_BYTES_MAX - 9 * ENTRY_BYTES_MAX_DEFAULT - key_bytes - spare
    done = add(packing, [*large, b"y" * (last // 2), b"z" * (last - last // 2 - key_bytes)])
    assert len(done) == calls
    sizes = [call.size_bytes for call in [*done, *packing.flush()]]
    assert max(sizes) <= CALL_BYTES_MAX
    assert sum(sizes) == CALL_BYTES_MAX - spare


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_an_entry_has_the_streams_size_at_most(over: int) -> None:
    packing = packer(entry_bytes_max=2048)
    data = [b"x" * (2048 - len("EUR/USD") + over)]
    if over > 0:
        with pytest.raises(OversizeError, match="2049 bytes; the stream takes 2048"):
            add(packing, data)
    else:
        add(packing, data)
        assert packing.pending == 1


@given(st.lists(st.tuples(st.binary(max_size=400), st.integers(0, len(KEYS) - 1)), min_size=1, max_size=1200))
def test_every_record_goes_out_once_in_order_with_its_key(records: list[tuple[bytes, int]]) -> None:
    packing = packer()
    data = [each for each, _ in records]
    keys = np.array([key for _, key in records], np.int32)
    calls = packing.add(data, keys, np.zeros(len(data), np.uint8), 3) + packing.flush()
    assert [entry for call in calls for entry in entries_of(call)] == [
        (each, KEYS[key]) for each, key in records
    ]
    assert all(len(call) == ENTRIES_PER_CALL_MAX for call in calls[:-1])


@given(st.lists(st.integers(1, CALL_BYTES_MAX), max_size=1500))
def test_calls_are_never_too_large_and_never_emptier_than_needed(sizes: list[int]) -> None:
    ends = full_calls(np.array(sizes, np.int32))
    start = 0
    for end in ends:
        size = sum(sizes[start:end])
        assert 0 < end - start <= ENTRIES_PER_CALL_MAX
        assert size <= CALL_BYTES_MAX
        full = end - start == ENTRIES_PER_CALL_MAX
        assert full or size + sizes[end] > CALL_BYTES_MAX
        start = end
    assert sum(sizes[start:]) <= CALL_BYTES_MAX
    assert len(sizes) - start < ENTRIES_PER_CALL_MAX


def test_what_is_sent_again_is_what_failed_and_nothing_else() -> None:
    packing = packer()
    add(packing, [b"%d" % number for number in range(10)], key=1)
    (call,) = packing.flush()
    again = packing.build(call.pick([2, 5, 9]))
    assert entries_of(again) == [(b"2", "QRVA"), (b"5", "QRVA"), (b"9", "QRVA")]
    assert again.records_by_frame() == [(7, 3)]
    assert again.records_by_feed()[0] == [0, 3, 0]


def test_a_new_route_takes_over_with_the_next_record() -> None:
    packing = packer()
    add(packing, [b"old"])
    newer = route(("other",))
    (waiting,) = packing.reroute(newer)
    assert entries_of(waiting) == [(b"old", "EUR/USD")]
    add(packing, [b"new"])
    assert entries_of(packing.flush()[0]) == [(b"new", "other")]


@pytest.mark.parametrize("key", ["", "k" * 257])
def test_a_key_that_the_service_refuses_is_refused_before(key: str) -> None:
    with pytest.raises(ValueError, match="1 to 256 characters"):
        route((key,))
