"""Records of the market: the same bytes everywhere, in the right order, one price for one millisecond."""

import hashlib
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickerd.batch import Batch
from tickerd.market.market import Market
from tickerd.market.universe import Universe
from tickerd.records import FEEDS, Forex, News, Record, Stock
from tickerd.schedule import Part, Rates, Segment, Timeline, end_ms, first_ms, split

SOURCE = "i-0abc123def4567890-0-k7m2qx4d"
OTHER = "i-0fedcba9876543210-1-zzzzzzzz"
NOW = 28_728_345_600  # 2026-11-24T12:00:00Z in frames
MIX = (0.3, 0.65, 0.05)
FIRST_FRAME = -62_135_596_800 * 16  # year 1
LAST_FRAME = 253_402_300_800 * 16 - 1  # year 9999
YEAR_1970 = datetime(1970, 1, 1, tzinfo=UTC)

UNIVERSE = Universe.load()
frames = st.one_of(
    st.integers(NOW - 3, NOW + 3),
    st.integers(-3, 3),
    st.integers(FIRST_FRAME, LAST_FRAME),
    st.integers(1, 200).map(lambda root: (root << 27) - 1),  # where the slowest walks have their knots
)


@pytest.fixture(scope="module")
def market() -> Market:
    return Market(1, UNIVERSE)


def parts(frame: int, rate: int = 200_000, mix: tuple[float, float, float] = MIX) -> list[Part]:
    """The parts of a frame at `rate` records/s."""
    rates = split(rate * 1000, mix, 1, 0)
    return Timeline([Segment(frame, 1_000_000, rates, "digest")]).parts(frame)


def sliced(frame: int, counts: tuple[int, int, int], cuts: list[int]) -> list[Part]:
    """A frame of `counts` records in parts that end at the milliseconds `cuts` and at its end."""
    milliseconds = end_ms(frame) - first_ms(frame)
    ends = [*sorted(cut for cut in cuts if cut < milliseconds), milliseconds]
    made, seq, start = [], 7, 0
    for stop in ends:
        ranges = [(-(-start * n // milliseconds), -(-stop * n // milliseconds)) for n in counts]
        part = Part(frame, start, stop, counts, (ranges[0], ranges[1], ranges[2]), seq)
        made.append(part)
        seq += part.records
        start = stop
    return made


def encoded(market: Market, source: str, *slices: Part) -> bytes:
    return b"\n".join(
        msgspec.json.encode(record) for part in slices for record in market.records(source, part).records
    )


def symbol(record: Record) -> str:
    return record.currency_pair if isinstance(record, Forex) else record.stock_symbol


def facts(batch: Batch) -> dict[tuple[str, str, str], tuple[object, ...]]:
    """What each record says that may depend on nothing but symbol and time."""
    told: dict[tuple[str, str, str], tuple[object, ...]] = {}
    for record in batch.records:
        at = (type(record).__name__, symbol(record), record.time)
        match record:
            case Forex():
                said: tuple[object, ...] = (record.rate, record.bid, record.ask)
            case Stock():
                said = (record.price, record.bid, record.ask)
            case News():
                said = (record.news_item, record.category, record.sentiment, record.story_id)
        assert told.setdefault(at, said) == said
    return told


# The same bytes everywhere


def test_the_same_part_gives_the_same_bytes_cold_warm_and_after_other_times(market: Market) -> None:
    part = parts(NOW)[0]
    warm = [encoded(market, SOURCE, part)]
    for frame in (NOW + 1, 0, NOW - 10**9, *range(NOW + 64, NOW + 64 * 12, 64)):  # more than are kept
        encoded(market, OTHER, *parts(frame, 2000))
    warm.append(encoded(market, SOURCE, part))
    assert {*warm, encoded(Market(1, UNIVERSE), SOURCE, part)} == {warm[0]}


def test_another_process_computes_the_same_bytes(market: Market) -> None:
    program = (
        "import hashlib, msgspec, sys\n"
        "from tickerd.market.market import Market\n"
        "from tickerd.market.universe import Universe\n"
        "from tickerd.schedule import Part\n"
        "part = msgspec.convert(msgspec.json.decode(sys.argv[2]), Part)\n"
        "records = Market(1, Universe.load()).records(sys.argv[1], part).records\n"
        "data = b'\\n'.join(msgspec.json.encode(record) for record in records)\n"
        "print(hashlib.sha256(data).hexdigest())\n"
    )
    part = parts(NOW)[0]
    arguments = [sys.executable, "-c", program, SOURCE, msgspec.json.encode(part).decode()]
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == hashlib.sha256(encoded(market, SOURCE, part)).hexdigest()


@settings(max_examples=60, deadline=None)
@given(
    frame=frames,
    counts=st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(0, 40)),
    cuts=st.lists(st.integers(0, 63), max_size=5),
)
def test_a_frame_is_the_same_in_one_part_and_in_any_others(
    market: Market, frame: int, counts: tuple[int, int, int], cuts: list[int]
) -> None:
    whole = encoded(market, SOURCE, *sliced(frame, counts, []))
    slices = [encoded(market, SOURCE, part) for part in sliced(frame, counts, cuts)]
    assert b"\n".join(each for each in slices if each) == whole


def test_the_parts_of_a_large_frame_are_the_frame(market: Market) -> None:
    several = parts(NOW + 1, 700_000)
    assert len(several) == 3
    whole = Part(NOW + 1, 0, 62, several[0].counts, _all_rows(several[0].counts), several[0].first_seq)
    assert encoded(market, SOURCE, *several) == encoded(market, SOURCE, whole)


def _all_rows(counts: tuple[int, int, int]) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    return ((0, counts[0]), (0, counts[1]), (0, counts[2]))


GOLDEN = [
    # These change only together with MODEL_VERSION or RECORD_VERSION, or with the default universe.
    (1, SOURCE, NOW, "99306b715178ee3a"),
    (1, OTHER, NOW + 12_345, "8cd58f494b1076aa"),
    (2**63 - 1, SOURCE, 0, "6f9a88bf1450b33d"),
    (7, SOURCE, LAST_FRAME, "775bd30c5b582917"),
    (7, SOURCE, FIRST_FRAME, "c65efcee71477abe"),
]


@pytest.mark.parametrize(("seed", "source", "frame", "digest"), GOLDEN)
def test_the_bytes_are_those_of_every_earlier_release(
    seed: int, source: str, frame: int, digest: str
) -> None:
    data = encoded(Market(seed, UNIVERSE), source, *parts(frame, 20_000))
    assert hashlib.sha256(data).hexdigest()[:16] == digest


# Order, seq, time


@settings(max_examples=60, deadline=None)
@given(frame=frames, rate=st.sampled_from([0, 10, 1000, 30_000]))
def test_times_stay_in_the_frame_and_never_go_back_and_seqs_count_on(
    market: Market, frame: int, rate: int
) -> None:
    (part,) = parts(frame, rate)
    batch = market.records(SOURCE, part)
    assert (batch.frame, batch.first_seq, len(batch.records)) == (frame, part.first_seq, part.records)
    assert [record.seq for record in batch.records] == [*range(part.first_seq, part.first_seq + part.records)]
    times = [datetime.fromisoformat(record.time) for record in batch.records]
    assert times == sorted(times)
    milliseconds = [(time - YEAR_1970) // timedelta(milliseconds=1) for time in times]
    assert all(first_ms(frame) <= each < end_ms(frame) for each in milliseconds)
    assert all(record.time.endswith("Z") and len(record.time) == 24 for record in batch.records)


@pytest.mark.parametrize("frame", [NOW, NOW + 1])  # of 63 and of 62 milliseconds
@pytest.mark.parametrize("n", [1, 2, 61, 62, 63, 64, 1000])
def test_row_i_of_n_is_printed_with_its_part_of_the_frames_milliseconds(
    market: Market, frame: int, n: int
) -> None:
    (part,) = sliced(frame, (0, n, 0), [])
    length = end_ms(frame) - first_ms(frame)
    wanted = [first_ms(frame) + i * length // n for i in range(n)]
    times = [datetime.fromisoformat(record.time) for record in market.records(SOURCE, part).records]
    assert [(time - YEAR_1970) // timedelta(milliseconds=1) for time in times] == wanted


def test_within_a_millisecond_the_feeds_follow_each_other(market: Market) -> None:
    batch = market.records(SOURCE, parts(NOW)[0])
    places = [
        (record.time, int(feed)) for record, feed in zip(batch.records, batch.feeds.tolist(), strict=True)
    ]
    assert places == sorted(places)
    assert len({time for time, _ in places}) == 63


def test_the_columns_of_a_batch_say_which_record_is_which(market: Market) -> None:
    batch = market.records(SOURCE, parts(NOW)[0])
    assert [batch.instruments.dtype.name, batch.feeds.dtype.name] == ["int32", "uint8"]
    assert [UNIVERSE.instruments[row] for row in batch.instruments] == [symbol(r) for r in batch.records]
    assert [FEEDS[feed] for feed in batch.feeds] == [type(r).__name__.lower() for r in batch.records]


@pytest.mark.parametrize("counts", [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (0, 5, 2)])
def test_feeds_may_have_few_records_or_none(market: Market, counts: tuple[int, int, int]) -> None:
    batch = market.records(SOURCE, sliced(NOW, counts, [])[0])
    kinds = [type(record) for record in batch.records]
    assert tuple(kinds.count(kind) for kind in (Forex, Stock, News)) == counts


# What depends on what


def test_sources_agree_about_prices_and_stories_but_not_about_sizes(market: Market) -> None:
    one = market.records(SOURCE, parts(NOW, 200_000)[0])
    two = market.records(OTHER, parts(NOW, 123_000)[0])
    said, other = facts(one), facts(two)
    both = said.keys() & other.keys()
    assert {kind for kind, _, _ in both} == {"Forex", "Stock", "News"}
    assert {at: said[at] for at in both} == {at: other[at] for at in both}
    sizes = [[r.size for r in batch.records if isinstance(r, Stock)][:100] for batch in (one, two)]
    assert sizes[0] != sizes[1]


def test_another_seed_is_another_market(market: Market) -> None:
    part = parts(NOW)[0]
    said, other = facts(market.records(SOURCE, part)), facts(Market(2, UNIVERSE).records(SOURCE, part))
    stocks = {at for at in said.keys() & other.keys() if at[0] == "Stock"}
    assert len(stocks) > 100
    assert sum(said[at] == other[at] for at in stocks) < len(stocks) / 100


def test_instruments_added_or_taken_away_leave_the_prices_and_stories_of_the_others(market: Market) -> None:
    first = UNIVERSE.stocks[0]
    added = msgspec.structs.replace(first, symbol="AAQQ", name="Aaqua Shipping", sector="Aquaculture")
    currency = msgspec.structs.replace(UNIVERSE.currencies[5], code="XTS", name="Test")
    pair = msgspec.structs.replace(UNIVERSE.pairs[0], pair="EUR/XTS")
    changed = Universe(
        [currency, *UNIVERSE.currencies],
        [pair, *UNIVERSE.pairs[:3], *UNIVERSE.pairs[5:]],
        [added, *reversed(UNIVERSE.stocks[1:])],
        UNIVERSE.headlines,
    )
    assert changed.digest != UNIVERSE.digest
    part = parts(NOW)[0]
    said, other = facts(market.records(SOURCE, part)), facts(Market(1, changed).records(SOURCE, part))
    both = said.keys() & other.keys()
    assert {kind for kind, _, _ in both} == {"Forex", "Stock", "News"}
    assert {at: said[at] for at in both} == {at: other[at] for at in both}
    assert {"AAQQ", "EUR/XTS"} <= {at[1] for at in other}


def test_instruments_come_as_often_as_their_shares_say(market: Market) -> None:
    counted = np.zeros(len(UNIVERSE.instruments))
    for frame in range(NOW, NOW + 12):
        for part in parts(frame, 256_000):
            counted += np.bincount(market.records(SOURCE, part).instruments, minlength=len(counted))
    expected = UNIVERSE.shares(MIX) * counted.sum()
    assert counted.sum() == 12 * 16_000
    assert np.all(abs(counted - expected) < 5 * np.sqrt(expected) + 2)


# What a record says


@settings(max_examples=80, deadline=None)
@given(frame=frames)
def test_quotes_lie_on_the_instruments_grid_with_the_bid_below_the_ask(market: Market, frame: int) -> None:
    decimals = {pair.pair: pair.decimals for pair in UNIVERSE.pairs}
    (part,) = parts(frame, 8000, (0.5, 0.5, 0.0))
    for record in market.records(SOURCE, part).records:
        assert isinstance(record, Forex | Stock)
        assert 0 < record.bid < record.ask
        if isinstance(record, Forex):
            assert record.bid <= record.rate <= record.ask
            prices = (record.rate, record.bid, record.ask)
        else:
            assert record.price in {record.bid, record.ask}
            assert 1 <= record.size <= 10_000
            prices = (record.price, record.bid, record.ask)
        for price in prices:
            # The shortest text of the float has no more decimals than the grid.
            exponent = Decimal(repr(price)).normalize().as_tuple().exponent
            assert isinstance(exponent, int)
            assert -exponent <= decimals.get(symbol(record), 2)


def test_trades_are_made_on_both_sides_and_in_odd_lots_too(market: Market) -> None:
    trades = [r for r in market.records(SOURCE, parts(NOW)[0]).records if isinstance(r, Stock)]
    at_ask = sum(trade.price == trade.ask for trade in trades) / len(trades)
    odd = sum(trade.size < 100 for trade in trades) / len(trades)
    assert 0.4 < at_ask < 0.6
    assert 0.35 < odd < 0.47
    assert all(trade.size % 100 == 0 for trade in trades if trade.size >= 100)


def test_no_triangle_of_pairs_can_be_traded_for_a_profit_and_the_rates_agree(market: Market) -> None:
    quotes: dict[str, dict[str, Forex]] = {}
    for part in parts(NOW, 600_000, (1.0, 0.0, 0.0)):
        for record in market.records(SOURCE, part).records:
            assert isinstance(record, Forex)
            quotes.setdefault(record.time, {})[record.currency_pair] = record
    half = {pair.pair: 0.5 / 10**pair.decimals for pair in UNIVERSE.pairs}
    checked = 0
    for at in quotes.values():
        for first in at:
            for second in at:
                cross = f"{first[:3]}/{second[4:]}"
                if first[4:] != second[:3] or cross not in at:
                    continue
                a, b, c = at[first], at[second], at[cross]
                rounding = half[first] * b.rate + half[second] * a.rate + half[cross]
                assert abs(a.rate * b.rate - c.rate) <= rounding * 1.001
                assert c.bid < a.ask * b.ask
                assert a.bid * b.bid < c.ask
                checked += 1
    assert checked > 1000


def test_prices_move_smoothly_from_frame_to_frame_and_over_the_seams_of_blocks(market: Market) -> None:
    rates: list[float] = []
    for frame in range(NOW - 100, NOW + 100):
        records = market.records(SOURCE, parts(frame, 3000, (1.0, 0.0, 0.0))[0]).records
        rates += [r.rate for r in records if isinstance(r, Forex) and r.currency_pair == "EUR/USD"]
    steps = abs(np.diff(np.array(rates)))
    assert 0 < steps.max() < 0.00006  # a few pips at most, in a sixteenth of a second
    assert len(set(rates)) > 3


def test_a_market_without_news_or_forex_is_quiet_about_them(market: Market) -> None:
    segment = Segment(NOW, 0, Rates(0, 16_000_000, 0), "digest")
    (part,) = Timeline([segment]).parts(NOW)
    assert {type(record) for record in market.records(SOURCE, part).records} == {Stock}
