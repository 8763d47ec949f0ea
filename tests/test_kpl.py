"""Aggregated records hold what went in for readers that others wrote; ours reads what others write.

Two readers judge: AWS's own for Python, on Google's protobuf, and aiokpl's, written by hand by somebody else.
"""

import base64
import hashlib
from collections.abc import Sequence
from itertools import chain, pairwise

import aiokpl  # type: ignore[import-untyped]  # it has types, but does not say so
import numpy as np
import pytest
from aws_kinesis_agg.aggregator import AggRecord
from aws_kinesis_agg.deaggregator import (
    deaggregate_records,
    messages_pb2,
)
from google.protobuf.message import DecodeError
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tickerd.kinesis import kpl
from tickerd.kinesis.deaggregate import deaggregate
from tickerd.kinesis.kpl import MAGIC, KeyTable, aggregate_bytes, heads, record_bytes

Records = list[tuple[bytes, bytes, bytes]]  # partition key, explicit hash key, data

# Sizes around which a length takes a byte more: of the data, and of the record around it.
EDGES = [0, 1, *range(119, 131), *range(16375, 16387), 65535, 70000]
SIZES = st.integers(0, 300) | st.sampled_from(EDGES)
DATA = st.builds(lambda size, fill: (fill * size)[:size], SIZES, st.binary(min_size=1, max_size=20))
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256).map(str.encode)
TABLES = st.lists(KEYS, min_size=1, max_size=12, unique=True)
HASH_KEYS = st.integers(0, 2**128 - 1).map(lambda number: str(number).encode())


def aggregate(keys: Sequence[int], data: Sequence[bytes], table: Sequence[bytes]) -> bytes:
    """The aggregate of records with these keys, numbers of the table."""
    sizes = np.fromiter(map(len, data), np.int64, len(data))
    written = list(chain.from_iterable(zip(heads(sizes), data, strict=True)))
    members = kpl.Members(np.array(keys, np.int64), sizes, record_bytes(sizes), key_table(table))
    return bytes(members.aggregate(0, max(len(keys), len(data)), list(dict.fromkeys(keys)), written))


def cut(
    keys: NDArray[np.int64],
    sizes: NDArray[np.int64],
    table: KeyTable,
    entry_bytes_max: int,
    whole: bool = False,
) -> list[int]:
    """Where aggregates end; each has the keys of its records in the order of their first."""
    cuts = kpl.Members(keys, sizes, record_bytes(sizes), table).cut(entry_bytes_max, whole=whole)
    for (start, _), (stop, used) in pairwise([kpl.Cut(0, []), *cuts]):
        assert used == list(dict.fromkeys(keys[start:stop].tolist()))
    return [each.stop for each in cuts]


def key_table(keys: Sequence[bytes]) -> KeyTable:
    """Keys of one shard."""
    return KeyTable(keys, np.zeros(len(keys), np.int64))


def table_of(key_bytes: NDArray[np.int64]) -> KeyTable:
    return key_table([b"k" * size for size in key_bytes.tolist()])


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[int], list[bytes], list[bytes]]:
    """Numbers of keys, data, and the table of keys, of which some may be used by no record."""
    table = draw(TABLES)
    records = draw(st.lists(st.tuples(st.integers(0, len(table) - 1), DATA), min_size=1, max_size=30))
    return [key for key, _ in records], [data for _, data in records], table


@st.composite
def columns(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Keys and sizes of records, sizes of keys; often above 128 keys, so that indexes have two bytes."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    key_bytes = random.choice([1, 7, 127, 128, 256], draw(st.sampled_from([1, 5, 128, 129, 300])))
    records = draw(st.integers(1, 1000))
    sizes = random.choice(draw(st.lists(SIZES, min_size=1, max_size=8)), records)
    keys = random.integers(0, len(key_bytes), records)
    return keys.astype(np.int64), sizes.astype(np.int64), key_bytes.astype(np.int64)


def sealed(body: bytes) -> bytes:
    return MAGIC + body + hashlib.md5(body, usedforsecurity=False).digest()


def true_bytes(keys: NDArray[np.int64], sizes: NDArray[np.int64], key_bytes: NDArray[np.int64]) -> int:
    """What the aggregate of these records really takes."""
    table = [b"k" * size for size in key_bytes.tolist()]
    return len(aggregate(keys.tolist(), [bytes(size) for size in sizes.tolist()], table))


def read_by_aws(data: bytes) -> Records:
    entry = {
        "kinesisSchemaVersion": "1.0",
        "sequenceNumber": "1",
        "approximateArrivalTimestamp": 1,
        "data": base64.b64encode(data),
    }
    found = [record["kinesis"] for record in deaggregate_records([{"kinesis": entry}])]
    assert all(record.get("aggregated") for record in found), "read as a plain record"
    return [
        (
            each["partitionKey"].encode(),
            (each["explicitHashKey"] or "").encode(),
            base64.b64decode(each["data"]),
        )
        for each in found
    ]


def read_by_aiokpl(data: bytes) -> Records:
    return [
        (record.partition_key.encode(), (record.explicit_hash_key or "").encode(), record.data)
        for record in aiokpl.decode_aggregated(data)
    ]


def read_by_google(body: bytes) -> Records | None:
    """By the protobuf library alone, with AWS's descriptor; nothing when there is anything wrong with it.

    AWS's reader around it gives records without an explicit hash key the first one of the table.
    """
    message = messages_pb2.AggregatedRecord()
    try:
        message.ParseFromString(body)
    except DecodeError:
        return None
    keys, hash_keys = list(message.partition_key_table), list(message.explicit_hash_key_table)
    if not message.IsInitialized() or not all(isinstance(key, str) for key in keys + hash_keys):
        return None  # a key that is not UTF-8 comes as bytes
    try:
        return [
            (
                keys[record.partition_key_index].encode(),
                hash_keys[record.explicit_hash_key_index].encode()
                if record.HasField("explicit_hash_key_index")
                else b"",
                record.data,
            )
            for record in message.records
        ]
    except IndexError:
        return None


def read_or_refusal(data: bytes) -> Records | str:
    try:
        return deaggregate(data)
    except ValueError as error:
        return str(error)


@given(batches())
def test_every_reader_finds_exactly_what_went_in(batch: tuple[list[int], list[bytes], list[bytes]]) -> None:
    keys, data, table = batch
    entry = aggregate(keys, data, table)
    expected = [(table[key], b"", each) for key, each in zip(keys, data, strict=True)]
    assert read_by_aws(entry) == expected
    assert read_by_aiokpl(entry) == expected
    assert deaggregate(entry) == expected


@pytest.mark.parametrize("count", [127, 128, 129, 512, 513, 16383, 16384, 16385])
def test_indexes_of_any_length_lead_to_their_keys(count: int) -> None:
    table = [b"key %d" % number for number in range(count)]
    keys = [*reversed(range(count)), *range(count)]
    data = [b"%d" % number for number in range(2 * count)]
    entry = aggregate(keys, data, table)
    expected = [(table[key], b"", each) for key, each in zip(keys, data, strict=True)]
    assert read_by_aws(entry) == expected
    assert read_by_aiokpl(entry) == expected
    assert deaggregate(entry) == expected


def test_the_layout_is_that_of_the_kinesis_producer_library() -> None:
    # Tables first, in order of first appearance and without the key that nobody uses; then the records.
    tables = b"\x0a\x04QRVA" + b"\x0a\x07EUR/USD"
    records = b"\x1a\x05\x08\x00\x1a\x01a" + b"\x1a\x04\x08\x01\x1a\x00" + b"\x1a\x06\x08\x00\x1a\x02bc"
    entry = aggregate([2, 0, 2], [b"a", b"", b"bc"], [b"EUR/USD", b"unused", b"QRVA"])
    assert entry == sealed(tables + records)


@given(batches())
def test_the_bytes_are_those_that_the_aggregators_of_others_write(
    batch: tuple[list[int], list[bytes], list[bytes]],
) -> None:
    keys, data, table = batch
    entry = aggregate(keys, data, table)
    theirs = AggRecord()
    for key, each in zip(keys, data, strict=True):
        assume(theirs.add_user_record(table[key].decode(), each))  # no more than 1 MiB
    assert theirs.get_contents()[2] == entry
    if len(data) > 1:  # one record alone aiokpl sends as it is
        records = [aiokpl.UserRecord(table[k].decode(), each) for k, each in zip(keys, data, strict=True)]
        assert aiokpl.encode_aggregated(records) == entry


def test_what_was_made_before_changes_nothing() -> None:
    table = [b"a", b"b"]
    first = aggregate([0, 1], [b"x", b"y"], table)
    for size in range(2000):  # more lengths and keys than are remembered
        aggregate([0], [bytes(size)], [b"%d" % size])
    assert aggregate([0, 1], [b"x", b"y"], table) == first


@given(st.lists(st.tuples(KEYS, st.none() | HASH_KEYS, DATA), min_size=1, max_size=20))
def test_aggregates_of_others_are_read_with_their_explicit_hash_keys(
    records: list[tuple[bytes, bytes | None, bytes]],
) -> None:
    theirs = AggRecord()
    for key, hash_key, data in records:
        assume(theirs.add_user_record(key.decode(), data, hash_key.decode() if hash_key else None))
    assert deaggregate(theirs.get_contents()[2]) == [(k, h or b"", d) for k, h, d in records]


@pytest.mark.parametrize(("keys", "data"), [([], []), ([0], [b"a", b"b"]), ([0, 0], [b"a"])])
def test_an_aggregate_has_records_and_each_has_its_key(keys: list[int], data: list[bytes]) -> None:
    with pytest.raises(ValueError, match=f"an aggregate of {len(data)} records with {len(keys)} keys"):
        aggregate(keys, data, [b"key"])


@given(columns())
def test_the_size_is_known_exactly_before_anything_is_built(
    records: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
) -> None:
    keys, sizes, key_bytes = records
    running = aggregate_bytes(keys, sizes, table_of(key_bytes))
    for count in {1, len(keys) // 2 + 1, len(keys)}:
        assert running[count - 1] == true_bytes(keys[:count], sizes[:count], key_bytes)


@pytest.mark.parametrize("count", [127, 128, 129, 130, 16384, 16385])
def test_the_size_is_exact_where_an_index_takes_a_byte_more(count: int) -> None:
    keys, key_bytes = np.arange(count, dtype=np.int64), np.full(count, 5, np.int64)
    sizes = np.full(count, 2, np.int64)
    assert aggregate_bytes(keys, sizes, table_of(key_bytes))[-1] == true_bytes(keys, sizes, key_bytes)


@given(columns(), st.integers(300, 60_000))
def test_no_aggregate_is_too_large_and_none_leaves_room_for_the_next_record(
    records: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], entry_bytes_max: int
) -> None:
    keys, sizes, key_bytes = records

    def entry_bytes(start: int, stop: int) -> int:
        return true_bytes(keys[start:stop], sizes[start:stop], key_bytes) + int(key_bytes[keys[start]])

    start = 0
    for stop in [*cut(keys, sizes, table_of(key_bytes), entry_bytes_max), len(keys)]:
        if stop == start:  # nothing is left out
            assert entry_bytes(stop - 1, stop) > entry_bytes_max
            break
        assert stop - start == 1 or entry_bytes(start, stop) <= entry_bytes_max
        if stop < len(keys):
            assert entry_bytes(start, stop + 1) > entry_bytes_max
        start = stop


@pytest.mark.parametrize(("spare", "ends"), [(-1, [2]), (0, []), (1, [])])
def test_an_aggregate_and_its_entrys_key_have_the_largest_size_and_no_byte_more(
    spare: int, ends: list[int]
) -> None:
    keys, sizes, key_bytes = np.array([1, 0, 1]), np.array([150, 160, 170]), np.array([4, 7])
    size = true_bytes(keys, sizes, key_bytes) + 7
    assert cut(keys, sizes, table_of(key_bytes), size + spare) == ends


@pytest.mark.parametrize(("over", "ends"), [(-1, []), (0, []), (1, [1])])
def test_a_record_too_large_for_an_aggregate_is_an_end_of_its_own(over: int, ends: list[int]) -> None:
    keys, sizes, key_bytes = np.array([0]), np.array([1000]), np.array([4])
    entry_bytes_max = true_bytes(keys, sizes, key_bytes) + 4 - over
    assert cut(keys, sizes, table_of(key_bytes), entry_bytes_max) == ends
    among_small_ones = np.array([10, 10, 1000, 1000, 10])
    assert cut(np.zeros(5, np.int64), among_small_ones, table_of(key_bytes), entry_bytes_max) == [2, 3, 4]


def test_what_fills_no_aggregate_is_left_or_is_the_last() -> None:
    keys, sizes, table = np.zeros(100, np.int64), np.full(100, 165, np.int64), key_table([b"EUR/USD"])
    ends = cut(keys, sizes, table, 2000)
    assert len(ends) > 3
    assert cut(keys, sizes, table, 2000, whole=True) == [*ends, 100]
    assert cut(keys[: ends[0]], sizes[: ends[0]], table, 2000) == []
    assert cut(keys[: ends[0] + 1], sizes[: ends[0] + 1], table, 2000) == [ends[0]]
    for whole in (False, True):
        assert cut(keys[:0], sizes[:0], table, 2000, whole) == []


# From here on: what is no aggregate of ours.

WHOLE = aggregate(
    [0, 1, 0, 2], [b"first", b"", bytes(200), b"last"], [b"EUR/USD", "ключ".encode(), b"k" * 130]
)
BODY = WHOLE[len(MAGIC) : -16]
ONE = b"\x0a\x01k"  # a table with one key


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A body with some bytes changed, left out, put in or repeated."""
    body = bytearray(BODY)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        stop = draw(st.integers(start, min(start + 12, len(body))))
        body[start:stop] = draw(st.binary(max_size=12) | st.just(bytes(body[start:stop]) * 2))
    return bytes(body)


def varint(number: int) -> bytes:
    low = number & 0x7F
    return bytes([low]) if number <= 0x7F else bytes([low | 0x80]) + varint(number >> 7)


def fields(numbers: st.SearchStrategy[int], contents: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Fields of any number and of any wire type that is not a group."""

    def field(number: int, wire_type: int, value: int, content: bytes) -> bytes:
        encoded = {0: varint(value), 1: bytes(8), 2: varint(len(content)) + content, 5: bytes(4)}
        return varint(number * 8 + wire_type) + encoded[wire_type]

    values = st.integers(0, 3) | st.integers(0, 2**64 - 1)
    field_types = st.sampled_from([0, 1, 2, 2, 2, 5])
    return st.lists(st.builds(field, numbers, field_types, values, contents), max_size=6).map(b"".join)


def with_required(start: bytes) -> st.SearchStrategy[bytes]:
    rest = fields(
        st.sampled_from([1, 2, 3, 4, 5, 16, 2**29 - 1]), st.binary(max_size=200) | st.just(b"\x0a\x01t")
    )
    return st.tuples(rest, st.just(start), rest).map(b"".join)


MESSAGES = fields(
    st.sampled_from([1, 1, 2, 3, 3, 3, 4, 2**29 - 1]),
    st.binary(max_size=5) | st.sampled_from([b"key", b"7"]) | with_required(b"\x08\x00\x1a\x01d"),
)


@given(mutations())
def test_a_damaged_aggregate_is_refused_or_read_as_google_reads_it(body: bytes) -> None:
    records = read_or_refusal(sealed(body))
    assert records == read_by_google(body) if isinstance(records, list) else "\n" not in records


@given(MESSAGES.filter(bool) | MESSAGES.map(lambda fields: ONE + fields))
def test_any_well_formed_message_is_read_or_refused_as_by_google(body: bytes) -> None:
    expected = read_by_google(body)
    if expected is None:
        with pytest.raises(ValueError, match="malformed aggregated record"):
            deaggregate(sealed(body))
    else:
        assert deaggregate(sealed(body)) == expected


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_changed_byte_anywhere_is_noticed(place: int, change: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[place] ^= change
    with pytest.raises(ValueError, match=r"^(not an|damaged) aggregated record: [^\n]+$"):
        deaggregate(bytes(damaged))


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_refused_in_one_line(data: bytes) -> None:
    for each in (data, MAGIC + data, sealed(data)):
        refusal = read_or_refusal(each)
        assert "\n" not in refusal or refusal == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "nothing after it"),
        (b"\x1a\x04\x08\x00\x1a\x00", "outside its table"),
        (ONE + b"\x1a\x04\x08\x01\x1a\x00", "outside its table"),
        (ONE + b"\x1a\x06\x08\x00\x10\x00\x1a\x00", "outside its table"),
        (ONE + b"\x12\x017" + b"\x1a\x06\x08\x00\x10\x01\x1a\x00", "outside its table"),
        (ONE + b"\x1a\x0d\x08" + b"\xff" * 9 + b"\x01\x1a\x00", "outside its table"),
        (ONE + b"\x1a\x0d\x08" + b"\x80" * 9 + b"\x02\x1a\x00", "above 64 bits"),
        (ONE + b"\x1a\x0e\x08" + b"\x80" * 10 + b"\x00\x1a\x00", "above 64 bits"),
        (ONE + b"\x1a" + b"\xff" * 9 + b"\x01", "cut short"),
        (ONE + b"\x1a", "cut short"),
        (ONE + b"\x1a\x80", "cut short"),
        (ONE + b"\x1a\x05\x08\x00\x1a\x00", "cut short"),
        (ONE + b"\x1a\x04\x08\x00\x1a\x01", "cut short"),
        (ONE + b"\x1a\x04\x08\x00\x1a\x01x", "cut short"),
        (ONE + b"\x1a\x05\x08\x00\x1a\x01", "cut short"),
        (ONE + b"\x1a" + varint(6 + 16383) + b"\x08\x00\x1a" + varint(16384) + bytes(16383), "cut short"),
        (ONE + b"\x1a\x00", "cut short"),
        (ONE + b"\x1a\x02\x08\x00", "cut short"),
        (ONE + b"\x1a\x02\x08\x00" + b"\x0a\x01k", "without data"),
        (ONE + b"\x1a\x02\x1a\x00", "without its key's index"),
        (ONE + b"\x1a\x06\x08\x00\x1a\x00\x22\x00", "a tag without its key"),
        (ONE + b"\x1b\x1c", "wire type 3"),
        (ONE + b"\x1a\x06\x08\x00\x1a\x00\x2b\x2c", "wire type 3"),
        (ONE + b"\x0f", "wire type 7"),
        (ONE + b"\x02\x00", "a field numbered 0"),
        (ONE + varint(2**32) + b"\x00", "a field numbered 536870912"),
        (ONE + b"\x29\x00", "cut short"),
        (b"\x0a\x01\xff", "UTF-8"),
        (b"\x12\x01\xff", "UTF-8"),
    ],
)
def test_a_malformed_aggregate_is_refused_with_the_reason(body: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        deaggregate(sealed(body))


@pytest.mark.parametrize("data", [b"", MAGIC, MAGIC[:3], WHOLE[1:], WHOLE[:-1], b'{"type":"forex"}'])
def test_what_is_no_aggregate_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(not an|damaged) aggregated record"):
        deaggregate(data)


@pytest.mark.parametrize(
    "body",
    [
        b"\x1a\x05\x08\x00\x1a\x01d" + ONE,  # the table after the record
        ONE + b"\x1a\x05\x1a\x01d\x08\x00",  # data before the index
        ONE + b"\x1a\x0a\x08\x00\x1a\x01d\x22\x03\x0a\x01t",  # a tag
        ONE + b"\x1a\x07\x08\x05\x08\x00\x1a\x01d",  # twice an index: the last one holds
        ONE + b"\x1a\x86\x00\x08\x00\x1a\x81\x00d",  # lengths that are longer than need be
        ONE + b"\x21" + b"\xff" * 8 + b"\x1a\x05\x08\x00\x1a\x01d\x2d\xff\xff\xff\xff",  # unknown fields
    ],
)
def test_what_protobuf_allows_is_read_though_nobody_writes_it(body: bytes) -> None:
    assert deaggregate(sealed(body)) == read_by_google(body) == [(b"k", b"", b"d")]


def test_a_length_of_three_bytes_is_never_taken_for_one_of_two() -> None:
    # Read with a length of two bytes, what follows would be a record too: of key 8, with other data.
    unknown = varint(2047 * 8 + 5) + bytes(4)
    record = b"\x08\x1a" + unknown + b"\x1a" + varint(131062) + bytes(131062)
    body = ONE * 27 + b"\x1a" + varint(len(record)) + record
    assert varint(len(record)) == b"\x82\x80\x08"
    assert deaggregate(sealed(body)) == read_by_google(body) == [(b"k", b"", bytes(131062))]


def test_an_aggregate_without_records_has_none() -> None:
    assert deaggregate(sealed(ONE)) == []
