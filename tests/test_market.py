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
from numpy.typing import NDArray

from tickerd.batch import Batch
from tickerd.market.hours import Hours
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
    st.integers(-9, 9).map(lambda day: NOW // 1_382_400 * 1_382_400 + day * 1_382_400 - 1),  # midnights
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
                at = (f"News {record.story_id}", *at[1:])
                said = (record.news_item, record.category, record.sentiment)
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


@settings(max_examples=60)
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
    (1, SOURCE, NOW, "6390fa6f6db5dfc5"),
    (1, OTHER, NOW + 12_345, "78b0f1ea824b8247"),
    (2**63 - 1, SOURCE, 0, "81084e8fe56b44e5"),
    (7, SOURCE, LAST_FRAME, "32c30edcc21b27c7"),
    (7, SOURCE, FIRST_FRAME, "85e17666f575fdfc"),
]


@pytest.mark.parametrize(("seed", "source", "frame", "digest"), GOLDEN)
def test_the_bytes_are_those_of_every_earlier_release(
    seed: int, source: str, frame: int, digest: str
) -> None:
    data = encoded(Market(seed, UNIVERSE), source, *parts(frame, 20_000))
    assert hashlib.sha256(data).hexdigest()[:16] == digest


# Order, seq, time


@settings(max_examples=60)
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
    assert {kind[:4] for kind, _, _ in both} == {"Fore", "Stoc", "News"}
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
        UNIVERSE.phrases,
    )
    assert changed.digest != UNIVERSE.digest
    part = parts(NOW)[0]
    said, other = facts(market.records(SOURCE, part)), facts(Market(1, changed).records(SOURCE, part))
    both = said.keys() & other.keys()
    assert {kind[:4] for kind, _, _ in both} == {"Fore", "Stoc", "News"}
    assert {at: said[at] for at in both} == {at: other[at] for at in both}
    assert {"AAQQ", "EUR/XTS"} <= {at[1] for at in other}


def test_other_headlines_leave_all_prices_as_they_were(market: Market) -> None:
    fewer = Universe(
        UNIVERSE.currencies, UNIVERSE.pairs, UNIVERSE.stocks, UNIVERSE.headlines[::2], UNIVERSE.phrases
    )
    for moment in range(0, 3 * 10**12, 10**12 + 1):
        said, other = market.quotes(moment), Market(1, fewer).quotes(moment)
        assert [column.tobytes() for column in said] == [column.tobytes() for column in other]


def test_over_weeks_instruments_come_about_as_often_as_their_shares_say(market: Market) -> None:
    counted = np.zeros(len(UNIVERSE.instruments))
    for moment in range(200):
        frame = NOW + moment * 122_222  # of nearly 18 days
        for part in parts(frame, 48_000):
            counted += np.bincount(market.records(SOURCE, part).instruments, minlength=len(counted))
    expected = UNIVERSE.shares(MIX) * counted.sum()
    often = expected > 1000
    assert often.sum() > 20
    assert np.all(counted[often] < 1.7 * expected[often])
    assert np.all(counted[often] > 0.5 * expected[often])
    assert np.corrcoef(counted, expected)[0, 1] > 0.97


def test_no_instrument_gets_much_hotter_than_the_hottest_ones_share(market: Market) -> None:
    for moment in range(0, 400, 8):
        for kind in range(3):
            frame = NOW + moment * 61_111
            table = market.choices(kind, frame)
            rows = market.news(frame).subjects.take(table) if kind == 2 else table
            assert np.bincount(rows).max() <= 2 * UNIVERSE.chances[kind].max()


def test_the_hours_of_the_day_move_trading_from_asia_to_europe_and_america(market: Market) -> None:
    def share(pair: str, hour: int) -> float:
        rows = []
        for day in range(5):  # Monday to Friday
            frame = NOW - 16 * 3600 * (36 - hour) + day * 1_382_400
            rows.append(market.choices(0, frame) == UNIVERSE.instruments.index(pair))
        return float(np.mean(rows))

    assert share("USD/JPY", 2) > 1.2 * share("USD/JPY", 14)
    assert share("EUR/GBP", 10) > 1.2 * share("EUR/GBP", 2)


# What a record says


@settings(max_examples=80)
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
            assert record.ask - record.bid < 0.05 * record.ask
            prices = (record.price, record.bid, record.ask)
        for price in prices:
            # The shortest text of the float has no more decimals than the grid.
            exponent = Decimal(repr(price)).normalize().as_tuple().exponent
            assert isinstance(exponent, int)
            assert -exponent <= decimals.get(symbol(record), 2)


def test_a_price_that_falls_to_nothing_stays_above_its_spread() -> None:
    penny = msgspec.structs.replace(
        UNIVERSE.stocks[0], symbol="QQPN", price=0.02, annual_vol=0.8, spread_bp=300.0
    )
    stocks = [penny, *UNIVERSE.stocks[1:3]]
    universe = Universe(UNIVERSE.currencies, UNIVERSE.pairs, stocks, UNIVERSE.headlines, UNIVERSE.phrases)
    market = Market(1, universe)
    for moment in range(0, 4 * 10**12, 10**11):
        quote = market.at("QQPN", moment)
        assert 0 < quote.bid < quote.ask
        assert quote.price in {quote.bid, quote.ask}


def test_a_century_of_prices_stays_sane(market: Market) -> None:
    decades = [market.quotes(year * 31_557_600_000) for year in range(-20, 81, 4)]
    mids = np.array([(quote.bid + quote.ask) / 2 for quote in decades])
    assert np.isfinite(mids).all()
    assert np.all(mids > 0)
    ratio = mids / np.median(mids, axis=0)
    pairs = len(UNIVERSE.pairs)
    assert 0.2 < ratio[:, :pairs].min() < ratio[:, :pairs].max() < 5
    assert 0.02 < ratio[:, pairs:].min() < ratio[:, pairs:].max() < 30
    rows = {pair.pair: row for row, pair in enumerate(UNIVERSE.pairs)}
    assert 7.74 < mids[:, rows["USD/HKD"]].min() < mids[:, rows["USD/HKD"]].max() < 7.86  # its band


def test_trades_are_made_on_both_sides_and_in_odd_lots_too(market: Market) -> None:
    trades = [r for r in market.records(SOURCE, parts(NOW)[0]).records if isinstance(r, Stock)]
    at_ask = sum(trade.price == trade.ask for trade in trades) / len(trades)
    odd = sum(trade.size < 100 for trade in trades) / len(trades)
    assert 0.4 < at_ask < 0.6
    assert 0.35 < odd < 0.47
    assert all(trade.size % 100 == 0 for trade in trades if trade.size >= 100)


def test_the_crosses_of_a_frame_agree_within_rounding(market: Market) -> None:
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
                checked += 1
    assert checked > 1000


def test_prices_move_smoothly_from_frame_to_frame_and_over_the_seams_of_blocks(market: Market) -> None:
    rates: list[float] = []
    for frame in range(NOW - 100, NOW + 100):
        records = market.records(SOURCE, parts(frame, 3000, (1.0, 0.0, 0.0))[0]).records
        rates += [r.rate for r in records if isinstance(r, Forex) and r.currency_pair == "EUR/USD"]
    steps = abs(np.diff(np.array(rates)))
    assert 0 < steps.max() < 0.0002  # some pips at most, in a sixteenth of a second
    assert len(set(rates)) > 3


# Microstructure


def test_consecutive_quotes_of_an_instrument_differ_within_a_frame(market: Market) -> None:
    quotes: dict[str, list[tuple[float, float]]] = {}
    for part in parts(NOW + 4, 600_000, (0.5, 0.5, 0.0)):
        for record in market.records(SOURCE, part).records:
            assert isinstance(record, Forex | Stock)
            quotes.setdefault(symbol(record), []).append((record.bid, record.ask))
    often = {name: each for name, each in quotes.items() if len(each) >= 60}
    assert len(often) > 60
    different = [len(set(each)) for each in often.values()]
    # A stock with a spread of one cent keeps its quote longer than a pair with one of twenty ticks.
    assert min(different) >= 1
    assert np.mean(different) > 4
    assert np.mean(np.array(different) >= 2) > 0.8


def spreads(market: Market, moments: range) -> NDArray[np.float64]:
    quotes = [market.quotes(moment) for moment in moments]
    means: NDArray[np.float64] = np.mean([quote.ask - quote.bid for quote in quotes], axis=0)
    return means


def test_spreads_are_about_those_of_the_universe_and_wider_at_quiet_hours(market: Market) -> None:
    wednesday = 1_763_596_800_000 + 370 * 86_400_000  # 2026-11-25T00:00Z
    hour = 3_600_000
    day = spreads(market, range(wednesday + 14 * hour + 1_800_000, wednesday + 20 * hour, hour // 7))
    night = spreads(market, range(wednesday + 3 * hour, wednesday + 7 * hour, hour // 7))
    weekend = spreads(market, range(wednesday + 72 * hour, wednesday + 96 * hour, hour))
    pairs = len(UNIVERSE.pairs)
    assert np.median(night[pairs:] / day[pairs:]) > 1.1
    assert np.median(weekend[:pairs] / day[:pairs]) > 1.3
    ticks = [pair.spread_ticks for pair in UNIVERSE.pairs] + [stock.spread_ticks for stock in UNIVERSE.stocks]
    wide = np.array(ticks) >= 2
    assert 0.6 < np.median((day * market.ticks_per_unit / ticks)[wide]) < 1.6


def test_trades_come_in_series_at_the_ask_or_at_the_bid(market: Market) -> None:
    row = UNIVERSE.instruments.index(UNIVERSE.stocks[0].symbol)
    begin = NOW * 1000 // 16
    sides = []
    for ms in range(begin, begin + 120_000, 40):
        quote = market.quotes(ms)
        assert quote.price[row] in {quote.bid[row], quote.ask[row]}
        sides.append(quote.price == quote.ask)
    signs = np.array(sides)[:, len(UNIVERSE.pairs) :] * 2.0 - 1.0
    for lag, least in ((1, 0.02), (100, 0.005)):
        assert (signs[:-lag] * signs[lag:]).mean() - signs.mean() ** 2 > least


# One price at a time, all prices at a time


@settings(max_examples=30)
@given(
    frame=frames, row=st.integers(0, len(UNIVERSE.pairs) + len(UNIVERSE.stocks) - 1), ms=st.integers(0, 61)
)
def test_the_price_of_one_at_a_time_is_that_among_all(market: Market, frame: int, row: int, ms: int) -> None:
    moment = first_ms(frame) + ms
    alone = Market(1, UNIVERSE).at(UNIVERSE.instruments[row], moment)
    among = market.quotes(moment)
    assert alone == (among.price[row], among.bid[row], among.ask[row])
    assert market.at(UNIVERSE.instruments[row], moment) == alone


def test_records_print_the_prices_that_are_asked_for(market: Market) -> None:
    for record in market.records(SOURCE, parts(NOW, 40_000)[0]).records:
        moment = (datetime.fromisoformat(record.time) - YEAR_1970) // timedelta(milliseconds=1)
        if isinstance(record, Forex):
            assert market.at(record.currency_pair, moment) == (record.rate, record.bid, record.ask)
        elif isinstance(record, Stock):
            assert market.at(record.stock_symbol, moment) == (record.price, record.bid, record.ask)


@pytest.mark.parametrize("name", ["USD", "EUR/XXX", ""])
def test_only_pairs_and_stocks_have_prices(market: Market, name: str) -> None:
    with pytest.raises(ValueError, match=r"currency|not in"):
        market.at(name, 0)


# One instrument alone


@pytest.mark.parametrize("name", ["EUR/USD", "USD/HKD", UNIVERSE.stocks[7].symbol])
def test_one_instrument_alone_has_all_rows_and_the_prices_that_it_has_among_others(name: str) -> None:
    mix = (1.0, 0.0, 0.0) if "/" in name else (0.0, 0.9, 0.1)
    alone = Market(1, UNIVERSE, only=name)
    apart = [NOW + i * 99_991 for i in range(20)]
    made = [alone.records(SOURCE, parts(frame, 1600, mix)[0]) for frame in apart]
    whole = Market(1, UNIVERSE)
    for batch in made:
        assert {symbol(record) for record in batch.records} == {name}
        for record in batch.records[:3]:
            moment = (datetime.fromisoformat(record.time) - YEAR_1970) // timedelta(milliseconds=1)
            if isinstance(record, Forex | Stock):
                assert whole.at(name, moment)[1:] == (record.bid, record.ask)


# Hours


class Office:
    """Opens the instruments with an even number, in the even minutes."""

    def open(self, frame: int) -> NDArray[np.bool_]:
        rows = np.arange(len(UNIVERSE.instruments))
        is_open: NDArray[np.bool_] = (rows % 2 == 0) & (frame // 960 % 2 == 0)
        return is_open

    def last_open_ms(self, times_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        raise NotImplementedError("no snapshot is asked for here")


def test_closed_instruments_emit_nothing_and_keep_their_prices(market: Market) -> None:
    hours = Market(1, UNIVERSE, Office())
    even = NOW // 1920 * 1920
    for frame in (even, even + 959):
        batch = hours.records(SOURCE, parts(frame)[0])
        assert np.all(batch.instruments % 2 == 0)
        assert len(set(batch.instruments.tolist())) > 200
        said, other = facts(batch), facts(market.records(SOURCE, parts(frame)[0]))
        both = said.keys() & other.keys()
        assert len(both) > 500
        assert {at: said[at] for at in both} == {at: other[at] for at in both}


def test_the_exchanges_own_hours_decide_what_is_told_of_on_a_weekday_and_on_a_sunday() -> None:
    hours = Market(1, UNIVERSE, Hours(UNIVERSE))
    session = NOW + 4 * 3600 * 16  # Tuesday 16:00 UTC: all stocks and pairs are open
    made = {type(record) for record in hours.records(SOURCE, parts(session, 20_000)[0]).records}
    assert made == {Forex, Stock, News}
    night = NOW - 4 * 3600 * 16  # 8:00 UTC: currencies only
    told = hours.records(SOURCE, parts(night, 20_000, (0.5, 0.0, 0.5))[0])
    codes = {currency.code for currency in UNIVERSE.currencies}
    assert {symbol(record)[:3] in codes for record in told.records} == {True}


def test_with_all_closed_rows_are_about_any(market: Market) -> None:
    # The schedule asks for none then; but whatever is asked for has an answer.
    hours = Market(1, UNIVERSE, Office())
    odd = NOW // 1920 * 1920 + 960
    assert hours.records(SOURCE, parts(odd)[0]).records == market.records(SOURCE, parts(odd)[0]).records


# Ahead of time


def test_what_is_made_ahead_is_what_would_be_made_at_once() -> None:
    steady = Market(1, UNIVERSE)
    for frame in range(NOW - 64, NOW + 70):
        data = encoded(steady, SOURCE, *parts(frame, 4000))
        if frame % 16 == 0:
            assert data == encoded(Market(1, UNIVERSE), SOURCE, *parts(frame, 4000))


def test_a_market_that_is_at_work_at_several_times_makes_the_same_of_each() -> None:
    busy = Market(1, UNIVERSE)
    times = [NOW, NOW - 10**8, NOW + 10**9, NOW - 64]
    made = dict.fromkeys(times, b"")
    for row in range(0, 128, 3):
        for time in times:
            made[time] += encoded(busy, SOURCE, *parts(time + row, 1000))
    for time in times:
        quiet = Market(1, UNIVERSE)
        assert made[time] == b"".join(
            encoded(quiet, SOURCE, *parts(time + row, 1000)) for row in range(0, 128, 3)
        )


def test_a_market_without_news_or_forex_is_quiet_about_them(market: Market) -> None:
    segment = Segment(NOW, 0, Rates(0, 16_000_000, 0), "digest")
    (part,) = Timeline([segment]).parts(NOW)
    assert {type(record) for record in market.records(SOURCE, part).records} == {Stock}
