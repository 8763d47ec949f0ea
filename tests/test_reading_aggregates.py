"""Aggregates come apart into what AWS's own aggregator put in, and are refused where they are damaged."""

import hashlib

import pytest
from aws_kinesis_agg.aggregator import RecordAggregator
from aws_kinesis_agg.messages_pb2 import AggregatedRecord
from hypothesis import given
from hypothesis import strategies as st

from tickerd.kinesis.deaggregate import deaggregate
from tickerd.kinesis.kpl import MAGIC
from tickerd.kinesis.limits import HASH_KEY_END
from tickerd.kinesis.shards import hash_key
from tickerd.reading.aggregates import members
from tickerd.reading.decode import unpack
from tickerd.reading.get_records import Entry
from tickerd.reading.stream import StreamShard

keys = st.text(min_size=1, max_size=20)
hash_keys = st.integers(0, HASH_KEY_END - 1).map(str)
records = st.lists(st.tuples(keys, st.none() | hash_keys, st.binary(max_size=300)), min_size=1, max_size=40)
WHOLE = (0, HASH_KEY_END - 1)


def sealed(message: bytes) -> bytes:
    return MAGIC + message + hashlib.md5(message, usedforsecurity=False).digest()


def aggregate(*parts: tuple[str, str | None, bytes]) -> bytes:
    """Made by AWS's own aggregator."""
    aggregator = RecordAggregator()
    for key, explicit, data in parts:
        assert aggregator.add_user_record(key, data, explicit) is None
    _, _, content = aggregator.clear_and_get().get_contents()
    return bytes(content)


@given(records)
def test_what_awss_aggregator_put_together_comes_apart(parts: list[tuple[str, str | None, bytes]]) -> None:
    expected = [(key.encode(), (explicit or "").encode(), data) for key, explicit, data in parts]
    assert deaggregate(aggregate(*parts)) == expected


whole = aggregate(("EUR/USD", None, b"one"), ("QRVA", "17", b"two" * 100))


def test_a_hash_key_that_is_no_number_is_damage() -> None:
    message = AggregatedRecord(partition_key_table=["k"], explicit_hash_key_table=["x"])
    message.records.add(partition_key_index=0, explicit_hash_key_index=0, data=b"d")
    with pytest.raises(ValueError, match="invalid literal"):
        members(sealed(message.SerializeToString()), *WHOLE)


@pytest.mark.parametrize(("hash_key", "within"), [(99, False), (100, True), (199, True), (200, False)])
def test_the_range_of_a_shard_includes_both_its_ends(hash_key: int, within: bool) -> None:
    data = aggregate(("a", "150", b"one"), ("b", str(hash_key), b"two"))
    assert members(data, 100, 199) == ([b"one", b"two"], within)


def test_without_explicit_hash_keys_the_md5_of_the_partition_key_counts() -> None:
    message = AggregatedRecord(partition_key_table=["EUR/USD"])
    message.records.add(partition_key_index=0, data=b"d")
    data, own = sealed(message.SerializeToString()), hash_key("EUR/USD")
    assert [members(data, low, high)[1] for low, high in ((own, own), (own + 1, own + 9), (0, own - 1))] == [
        True,
        False,
        False,
    ]


def entry(number: int, data: bytes) -> Entry:
    return Entry(str(number), data, 1.0)


def test_entries_of_all_kinds_are_taken_apart_beside_each_other() -> None:
    shard = StreamShard("shardId-000000000000", (), True, 0, 199)
    plain, lines, damaged = b'{"a":1}', b'{"b":1}\n{"c":1}\n', whole[:-1]
    inside = aggregate(("a", "0", b"one"), ("b", "199", b"two"))
    outside = aggregate(("a", "0", b"x"), ("b", "200", b"y"), ("c", "1", b"z"))
    data = (plain, inside, lines, outside, damaged, plain)
    found = unpack([entry(number, each) for number, each in enumerate(data)], shard)
    assert found.payloads == [plain, b"one", b"two", b'{"b":1}', b'{"c":1}', plain]
    assert found.entry_of == [0, 1, 1, 2, 2, 5]
    assert (found.damaged, found.discarded) == ([4], 3)
