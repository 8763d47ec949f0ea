"""Records joined from pieces are, byte for byte, what msgspec makes of their Structs."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickerd.batch import Columns, Interleaved
from tickerd.encoding import FEW_RECORDS, encoder, rows_encoder
from tickerd.market.market import Market
from tickerd.market.merging import merged
from tickerd.market.universe import Universe
from tickerd.piece_quotes import QUOTES_KEPT
from tickerd.piece_texts import SEQ_MIN
from tickerd.pieces import NEWS_KEPT, OTHERS_KEPT, SIZES_KEPT, Pieces
from tickerd.schedule import Segment, Timeline, due_below, split
from tickerd.texts import BySize, Texts

NOON = due_below(1_795_521_600_000_000_000)  # 2026-11-24T16:00Z
SOURCE = "i-0abc123def4567890-0-k7m2qx4d"
HEADS = BySize(
    np.array([b"%d:" % size for size in range(1000)], dtype=object),
    lambda sizes: np.array([b"%d:" % size for size in sizes.tolist()], dtype=object),
)
Columned = Sequence[float] | Sequence[int] | Sequence[str]


def by_msgspec(rows: Interleaved) -> list[bytes]:
    return [msgspec.json.encode(record) for record in rows.records]


def written(texts: Texts) -> list[bytes]:
    """The records; the other forms of them say the same, of any part and in any order."""
    records = texts.records()
    count = len(records)
    assert texts.sizes().tolist() == list(map(len, records))
    assert texts.base64().records() == records
    assert texts.part(count // 3, count).base64().records() == records[count // 3 :]
    for part, begin in ((texts, 0), (texts.part(count // 3, count), count // 3), (texts.base64(), 0)):
        assert list(map(b"".join, zip(*part.columns(), strict=True))) == records[begin:]
    order = np.random.default_rng(count).permutation(count)
    stops = sorted({1, (count + 1) // 2, count})
    shuffled = [records[number] for number in order.tolist()]
    for lines, end in ((True, b"\n"), (False, b"")):
        assert list(texts.runs(order, stops, None, lines=lines)) == [
            b"".join(record + end for record in shuffled[start:stop]) for start, stop in pairwise([0, *stops])
        ]
    by_size = [b"%d:" % len(record) + record for record in shuffled]
    before = HEADS.of(texts.sizes().astype(np.int64)[order])
    for heads in (HEADS, before):
        assert b"".join(texts.runs(order, stops, heads, lines=False)) == b"".join(by_size)
    assert texts.pick(order).records() == shuffled
    return records


def of_feed(feed: int, instruments: Sequence[int], milliseconds: Sequence[int], *values: Columned) -> Columns:
    columns = []
    for column in values:
        objects = bool(column) and isinstance(column[0], str)
        columns.append(np.array(column, dtype=object) if objects else np.array(column))
    return Columns(
        feed, np.array(instruments, np.int32), np.array(sorted(milliseconds), np.uint8), tuple(columns)
    )


def interleaved(
    columns: list[Columns], symbols: list[str], first_seq: int = SEQ_MIN, source: str = SOURCE
) -> Interleaved:
    names = np.empty(len(symbols), dtype=object)
    names[:] = symbols
    return merged(columns, names, source, NOON, 1_795_521_600_000, first_seq)


def quotes(count: int, first: int = 0) -> Columns:
    """So many stock rows, each with a quote of its own."""
    bids = [number / 100 for number in range(first, first + count)]
    return of_feed(1, [0] * count, [0] * count, bids, [100] * count, bids, bids)


@pytest.mark.parametrize("universe", ["default", "large"])
@pytest.mark.parametrize("mix", [(0.3, 0.65, 0.05), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0.5, 0, 0.5)])
def test_what_a_market_says_is_written_as_msgspec_writes_it(
    universe: str, mix: tuple[float, float, float]
) -> None:
    market = Market(1, Universe.load(universe))
    timeline = Timeline([Segment(NOON, SEQ_MIN, split(300_000_000, mix, 1, 0), "")])
    parts = [part for frame in range(NOON, NOON + 4) for part in timeline.parts(frame)]
    pieces = Pieces(market.columns(SOURCE, parts[0]).symbols)
    encode = rows_encoder("json")
    for part in parts:
        rows = market.columns(SOURCE, part)
        assert len(rows) > FEW_RECORDS
        assert written(pieces.encode(rows)) == encode(rows).records() == by_msgspec(rows)


@pytest.mark.parametrize("count", [1, FEW_RECORDS - 1, FEW_RECORDS, FEW_RECORDS + 1])
def test_both_ways_of_encoding_make_the_same(count: int) -> None:
    rows = interleaved([quotes(count)], ["QRVA"])
    assert rows_encoder("json")(rows).records() == encoder("json")(rows.records) == by_msgspec(rows)


def test_msgpack_goes_by_structs() -> None:
    rows = interleaved([quotes(FEW_RECORDS)], ["QRVA"])
    assert rows_encoder("msgpack")(rows).records() == [
        msgspec.msgpack.encode(record) for record in rows.records
    ]


def test_other_symbols_are_other_pieces() -> None:
    encode = rows_encoder("json")
    for symbol in ("QRVA", "BLNX", 'A "b" \\ ключ'):
        rows = interleaved([quotes(FEW_RECORDS)], [symbol])
        assert encode(rows).records() == by_msgspec(rows)


@pytest.mark.parametrize("first_seq", [SEQ_MIN, SEQ_MIN + 999, 199_000, 999_990, 10**12 - 5])
def test_seqs_count_on_where_their_number_of_digits_changes(first_seq: int) -> None:
    rows = interleaved([quotes(2_100)], ["QRVA"], first_seq)
    assert written(Pieces(rows.symbols).encode(rows)) == by_msgspec(rows)


@pytest.mark.parametrize("first_seq", [0, 1, 990, 9_995, SEQ_MIN - 1, SEQ_MIN])
def test_the_first_seqs_are_written_in_either_way(first_seq: int) -> None:
    rows = interleaved([quotes(FEW_RECORDS)], ["QRVA"], first_seq)
    assert written(rows_encoder("json")(rows)) == by_msgspec(rows)


def test_quotes_that_want_the_same_place_are_all_told() -> None:
    pieces: Pieces | None = None
    for first in (0, 20_000, 10_000, 0):
        rows = interleaved([quotes(QUOTES_KEPT // 2, first)], ["QRVA"])
        pieces = pieces or Pieces(rows.symbols)
        assert written(pieces.encode(rows)) == by_msgspec(rows)


def test_what_was_given_before_stays_as_it_was_whatever_the_table_says_next() -> None:
    pieces: Pieces | None = None
    given: list[tuple[Texts, Texts, list[bytes]]] = []
    for first in (0, 10_000, 300_000):  # the last ones take the places of most of the first
        rows = interleaved([quotes(QUOTES_KEPT // 4, first)], ["QRVA"])
        pieces = pieces or Pieces(rows.symbols)
        texts = pieces.encode(rows)
        given.append((texts, texts.part(5, 5_000), by_msgspec(rows)))
    for texts, part, expected in given:
        assert written(texts) == expected
        assert written(part) == expected[5:5_000]


@pytest.mark.parametrize(("before", "lines"), [(None, False), (None, True), (HEADS, False)])
def test_runs_that_are_not_read_yet_stay_as_they_were(before: BySize | None, lines: bool) -> None:
    pieces = Pieces(np.array(["A"], dtype=object))
    rows = [interleaved([quotes(4000, first)], ["A"]) for first in (0, 4000)]
    texts = pieces.encode(rows[0])
    order, stops = np.arange(4000), [1500, 3000, 4000]
    wanted = list(texts.runs(order, stops, before, lines=lines))
    runs = texts.runs(order, stops, before, lines=lines)
    found = [next(runs)]
    pieces.encode(rows[1])
    assert [*found, *runs] == wanted


def test_a_part_that_says_more_than_the_table_holds_is_written_all_the_same() -> None:
    sizes = list(range(SIZES_KEPT, SIZES_KEPT + OTHERS_KEPT + 1))
    columns = of_feed(
        1,
        [0] * len(sizes),
        [0] * len(sizes),
        [1.5] * len(sizes),
        sizes,
        [1.0] * len(sizes),
        [2.0] * len(sizes),
    )
    many = interleaved([columns], ["QRVA"])
    few = interleaved([quotes(10)], ["QRVA"])
    pieces = Pieces(many.symbols)
    for rows in (few, many, few):
        assert written(pieces.encode(rows)) == by_msgspec(rows)


def test_more_news_than_is_kept_is_all_told() -> None:
    def news(count: int, first: int) -> Columns:
        stories = list(range(first, first + count))
        texts = [f"story {number}" for number in stories]
        return of_feed(2, [0] * count, [0] * count, texts, ["macro"] * count, [0.25] * count, stories)

    pieces: Pieces | None = None
    for count in (NEWS_KEPT - 1, 1, 1, NEWS_KEPT, NEWS_KEPT + 1, 3 * NEWS_KEPT, 5):
        rows = interleaved([quotes(10), news(count, 7 * count)], ["QRVA"])
        pieces = pieces or Pieces(rows.symbols)
        assert written(pieces.encode(rows)) == by_msgspec(rows)


@pytest.mark.parametrize("size", [0, 1, SIZES_KEPT - 2, SIZES_KEPT - 1, SIZES_KEPT, 10**9])
def test_trades_of_any_size_are_told(size: int) -> None:
    sizes = [size, 1, size, 0]
    columns = of_feed(1, [0] * 4, [0] * 4, [1.5] * 4, sizes, [1.0] * 4, [2.0] * 4)
    rows = interleaved([columns], ["QRVA"])
    assert written(Pieces(rows.symbols).encode(rows)) == by_msgspec(rows)


SYMBOLS = st.lists(st.text(max_size=8), min_size=1, max_size=3)
NUMBERS = st.sampled_from([0.0, -0.0, 0.1, 126.55, 1e-7, 1e16, 123456.789, float("nan"), float("inf")])
INTEGERS = st.integers(0, 2**52)


@st.composite
def some_columns(draw: st.DrawFn, symbols: int) -> list[Columns]:
    columns = []
    for feed in (0, 1, 2):
        count = draw(st.integers(0, 6))
        if not count:
            continue

        def rows(of: st.SearchStrategy[Any], count: int = count) -> list[Any]:
            return draw(st.lists(of, min_size=count, max_size=count))

        instruments = draw(st.lists(st.integers(0, symbols - 1), min_size=count, max_size=count))
        milliseconds = draw(st.lists(st.integers(0, 62), min_size=count, max_size=count))
        number = NUMBERS | st.floats()
        text = st.sampled_from(["a", 'b"size":0,', "c\n"]) | st.text(max_size=5)
        values: tuple[Columned, ...]
        match feed:
            case 0:
                values = rows(number), rows(number), rows(number)
            case 1:
                values = rows(number), rows(st.integers(0, 2**40)), rows(number), rows(number)
            case _:
                values = rows(text), rows(text), rows(number), rows(INTEGERS)
        columns.append(of_feed(feed, instruments, milliseconds, *values))
    return columns


@given(st.data(), SYMBOLS, st.text(max_size=6), st.integers(SEQ_MIN, 2**60))
def test_whatever_is_said_is_written_as_msgspec_writes_it(
    data: st.DataObject, symbols: list[str], source: str, first_seq: int
) -> None:
    pieces: Pieces | None = None
    for _ in range(3):  # what is kept of one batch serves the next
        columns = data.draw(some_columns(len(symbols)))
        if columns:
            rows = interleaved(columns, symbols, first_seq, source)
            pieces = pieces or Pieces(rows.symbols)
            assert written(pieces.encode(rows)) == by_msgspec(rows)
