"""Requests in both formats hold exactly the records given, as others read them: cbor2, botocore, json."""

import contextlib
import io
from typing import Any

import botocore.parsers
import cbor2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import routes
from tickerd import cbor
from tickerd.kinesis.formats import FORMATS
from tickerd.texts import WholeRecords

EDGES = [0, 1, 22, 23, 24, 25, 255, 256, 4095, 4096, 65535, 65536, 70_000]
KEYS = (*routes.KEYS, "k" * 23, "k" * 24, "k" * 255, "k" * 256, "ж" * 128)
SIZES = st.one_of(st.integers(0, 400), st.sampled_from(EDGES))
ENTRIES = st.lists(st.tuples(SIZES, st.integers(0, len(KEYS) - 1)), min_size=1, max_size=60)


def body(request: str, entries: list[tuple[bytes, int]]) -> bytes:
    keys = np.array([key for _, key in entries], np.int64)
    records = WholeRecords([data for data, _ in entries])
    route = routes.route(keys=KEYS, request=request)
    return route.framing.body(routes.OPENINGS[request], records, keys)


@pytest.mark.parametrize("request_", FORMATS)
@given(sizes=ENTRIES, seed=st.integers(0, 2**32 - 1))
@example(sizes=[(size, size % len(KEYS)) for size in EDGES], seed=1)
@example(sizes=[(170, number % len(KEYS)) for number in range(500)], seed=2)
def test_a_request_holds_the_records_in_their_order_with_their_keys(
    request_: str, sizes: list[tuple[int, int]], seed: int
) -> None:
    random = np.random.default_rng(seed)
    entries = [(random.bytes(size), key) for size, key in sizes]
    assert routes.entries_of(body(request_, entries)) == [(data, KEYS[key]) for data, key in entries]


@given(sizes=ENTRIES)
def test_a_request_in_cbor_says_to_the_library_of_aws_what_one_in_json_says(
    sizes: list[tuple[int, int]],
) -> None:
    entries = [(bytes(size), key) for size, key in sizes]
    stream = io.BytesIO(body("cbor", entries))
    parser: Any = botocore.parsers.RpcV2CBORParser()
    stream.name = ""  # it asks what it reads from
    read = parser.parse_data_item(io.BufferedReader(stream))
    assert [(entry["Data"], entry["PartitionKey"]) for entry in read["Records"]] == routes.entries_of(
        body("json", entries)
    )


@pytest.mark.parametrize("named", [{"StreamName": "s" * 128}, {"StreamARN": "arn:aws:kinesis:x:stream/é"}])
@pytest.mark.parametrize("count", [1, 23, 24, 255, 256, 500])
def test_a_request_names_the_stream_and_counts_its_entries(named: dict[str, str], count: int) -> None:
    keys = np.zeros(count, np.int64)
    framing = routes.route(request="cbor").framing
    said = cbor2.loads(framing.body(FORMATS["cbor"].opening(named), WholeRecords([b"x"] * count), keys))
    entry = {"PartitionKey": routes.KEYS[0], "Data": b"x"}
    assert said == {**named, "Records": [entry] * count}


@pytest.mark.parametrize("length", [*EDGES, 10 * 1024 * 1024, 2**32 - 1, 2**32, 2**64 - 1])
def test_heads_are_those_that_others_write(length: int) -> None:
    assert cbor.head(cbor.UNSIGNED, length) == cbor2.dumps(length)
    if length <= 70_000:
        assert cbor.head(cbor.BYTES, length) + bytes(length) == cbor2.dumps(bytes(length))
        assert cbor.text("x" * length) == cbor2.dumps("x" * length)


def test_no_item_is_longer_than_cbor_has_numbers_for() -> None:
    with pytest.raises(ValueError, match="no item of the length"):
        cbor.head(cbor.BYTES, 2**64)


@pytest.mark.parametrize("value", [b"\x00", b"\x80", b"\x60", b"\x40", b"\x82\x00\x01", b"\xa0"])
def test_no_tag_but_that_of_a_time_is_decoded(value: bytes) -> None:
    for tag in {*range(2**16), 2**32 - 1, 2**64 - 1} - {cbor.TIME}:
        with pytest.raises(ValueError, match="tag"):
            cbor.decode(cbor.head(6 << 5, tag) + value, object)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(1_787_036_486_712, 1_787_036_486.712), (0, 0.0), (-1, -0.001), (1.5, 1.5), (2.0**60, 2.0**60)],
)
def test_a_time_has_milliseconds_as_an_integer_and_seconds_otherwise(written: float, seconds: float) -> None:
    assert cbor.decode(cbor2.dumps(cbor2.CBORTag(1, written)), float) == seconds
    if isinstance(written, int):
        assert cbor.encode(seconds) == cbor2.dumps(cbor2.CBORTag(1, written))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"\xa1",
        b"\xa1\x61",
        b"\xa1\x61\x61\x62\xff\xff",
        b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x5b\x00\x00\x00\x7f\xff\xff\xff\xff",
        b"\xbb\x00\x00\x00\x00\x7f\xff\xff\xff",
        b"\x81" * 100_000,
        b"\xa1\x80\x01",
        b"\xa0\x00",
        b"\xc1\xa0",
    ],
)
def test_what_is_no_cbor_is_a_value_error_at_once(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        cbor.decode(body, object)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_value_error(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        cbor.decode(body, object)
