"""What `verify` takes for a record, for a damaged one, and for somebody else's."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickerd.reading.decode import Member, Unreadable, decode, decode_all, split
from tickerd.records import Forex, News, Stock

TIME = "2026-11-24T16:00:00.005Z"
FOREX = Forex("EUR/USD", 1.08513, 1.08512, 1.08514, TIME, "i-0abc123-0-k7m2qx4d", 412316)
STOCK = Stock("QRVA", 126.55, 100, 126.54, 126.56, TIME, "i-0abc123-0-k7m2qx4d", 412317)
NEWS = News("EUR", "Rates unchanged", "macro", -0.72, 20416003, TIME, "i-0abc123-0-k7m2qx4d", 412318)
ENCODINGS = (msgspec.json.encode, msgspec.msgpack.encode)


@pytest.mark.parametrize("encode", ENCODINGS)
@pytest.mark.parametrize("record", [FOREX, STOCK, NEWS])
def test_our_records_are_read_in_both_formats(record: Forex | Stock | News, encode: object) -> None:
    assert callable(encode)
    member = decode(encode(record))
    assert isinstance(member, Member)
    assert (member.source, member.seq) == (record.source, record.seq)
    assert member.time.isoformat() == "2026-11-24T16:00:00.005000+00:00"
    symbol = record.currency_pair if isinstance(record, Forex) else record.stock_symbol
    assert (member.currency_pair or member.stock_symbol) == symbol


@pytest.mark.parametrize("encode", ENCODINGS)
@pytest.mark.parametrize("record", [FOREX, STOCK, NEWS])
def test_a_record_cut_anywhere_is_corrupt(record: Forex | Stock | News, encode: object) -> None:
    assert callable(encode)
    whole = encode(record)
    for length in range(1, len(whole)):
        assert decode(whole[:length]) is Unreadable.CORRUPT, length


@pytest.mark.parametrize(
    "damage",
    [
        (b'"seq":412316', b'"seq":"412316"'),
        (b'"seq":412316', b'"seq":-1'),
        (b'"seq":412316', b'"seq":9223372036854775807'),
        (b'"seq":412316', b'"seq":99999999999999999999'),
        (b'"time":"2026', b'"time":"2O26'),
        (b'00.005Z"', b'00.005"'),
        (b'"type":"forex"', b'"type":"fox"'),
        (b'"source":"i-0abc123', b'"source":"i-0abc\xff23'),
        (b'"rate":', b'"rate"'),
        (b'"seq":412316}', b'"seq":412316}}'),
    ],
)
def test_a_damaged_record_is_corrupt(damage: tuple[bytes, bytes]) -> None:
    whole = msgspec.json.encode(FOREX)
    assert damage[0] in whole
    assert decode(whole.replace(*damage)) is Unreadable.CORRUPT


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"[1,2]",
        b"17",
        b'"text"',
        b"{}",
        b'{"user":"x","clicked":true}',
        b'{"type":"forex","currency_pair":"EUR/USD","rate":1.1,"time":"2026-11-24T16:00:00Z"}',
        b'{"source":"web","id":4}',
        b"\x89PNG\r\n\x1a\n",
        b"\x1f\x8b\x08",
        b"\xff\xfe",
        msgspec.msgpack.encode({"user": "x"}),
        msgspec.msgpack.encode([1, 2]),
    ],
)
def test_what_never_was_ours_is_foreign(data: bytes) -> None:
    assert decode(data) is Unreadable.FOREIGN


records = st.sampled_from([FOREX, STOCK, NEWS]).flatmap(
    lambda record: st.sampled_from([encode(record) for encode in ENCODINGS])
)


@given(st.lists(records | st.binary(max_size=30) | records.map(lambda data: data[:-1]), max_size=12))
def test_records_are_decoded_together_as_they_are_one_by_one(payloads: list[bytes]) -> None:
    assert decode_all(payloads) == [decode(payload) for payload in payloads]


def test_an_object_nested_beyond_measure_is_no_reason_to_fall_over() -> None:
    assert decode(b'{"x":' + b"[" * 1_000_000) is Unreadable.CORRUPT


@given(st.binary(max_size=80))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    assert isinstance(decode(data), Member | Unreadable)


@given(st.lists(st.sampled_from([FOREX, STOCK, NEWS]), min_size=1, max_size=5), st.booleans())
def test_newline_delimited_records_are_taken_one_by_one(
    records: list[Forex | Stock | News], newline_at_end: bool
) -> None:
    lines = [msgspec.json.encode(record) for record in records]
    assert split(b"\n".join(lines) + b"\n" * newline_at_end) == lines


@given(st.lists(st.sampled_from([FOREX, STOCK, NEWS]), min_size=1, max_size=5))
def test_messagepack_is_never_split(records: list[Forex | Stock | News]) -> None:
    data = msgspec.msgpack.encode([*records, "}\n{"])
    assert split(data) == [data]


def test_a_foreign_object_over_several_lines_stays_one() -> None:
    data = b'{\n  "user": {\n    "name": "x"\n  }\n}'
    assert split(data) == [data]
    assert decode(data) is Unreadable.FOREIGN
