"""The catalogue: what the default one holds, how shares add up, and what is refused."""

import csv
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from random import Random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickerd.market.catalogue import BYTES_MAX, Headline, Stock
from tickerd.market.hours import EXCHANGES
from tickerd.market.market import Market
from tickerd.market.universe import CHOICES, FILES, Universe, UniverseError

MIX = (0.3, 0.65, 0.05)
UNIVERSE = Universe.load()
LARGE = Universe.load("large")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of the default universe's files."""
    for name in FILES:
        text = (files("tickerd.market") / "universe" / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_the_instruments_are_pairs_then_stocks_then_currencies_in_the_order_of_the_files() -> None:
    pairs, stocks, currencies = UNIVERSE.pairs, UNIVERSE.stocks, UNIVERSE.currencies
    assert UNIVERSE.instruments == (
        *(pair.pair for pair in pairs),
        *(stock.symbol for stock in stocks),
        *(currency.code for currency in currencies),
    )
    assert len(pairs) >= 60
    assert (len(stocks), len(LARGE.stocks)) == (500, 5000)


@pytest.mark.parametrize("universe", [UNIVERSE, LARGE], ids=["default", "large"])
def test_every_name_can_be_a_partition_key(universe: Universe) -> None:
    assert len(set(universe.instruments)) == len(universe.instruments)
    assert all(1 <= len(name) <= 256 and name.isascii() for name in universe.instruments)


@pytest.mark.parametrize("universe", [UNIVERSE, LARGE], ids=["default", "large"])
def test_the_companies_are_invented_and_trade_where_hours_are_known(universe: Universe) -> None:
    assert not any(stock.real for stock in universe.stocks)
    assert len({stock.name for stock in universe.stocks}) == len(universe.stocks)
    assert {stock.exchange for stock in universe.stocks} <= set(EXCHANGES)


def test_the_large_universe_has_the_same_currencies_and_pairs_and_begins_with_the_same_stocks() -> None:
    assert (LARGE.currencies, LARGE.pairs) == (UNIVERSE.currencies, UNIVERSE.pairs)
    assert LARGE.stocks[:500] == UNIVERSE.stocks
    assert LARGE.digest != UNIVERSE.digest


@pytest.mark.parametrize("universe", [UNIVERSE, LARGE], ids=["default", "large"])
def test_with_the_default_mix_the_hottest_key_is_the_euro_in_dollars(universe: Universe) -> None:
    shares = dict(zip(universe.instruments, universe.shares(MIX).tolist(), strict=True))
    hottest = sorted(shares, key=lambda symbol: -shares[symbol])[:3]
    assert hottest == ["EUR/USD", "USD/JPY", "GBP/USD"]
    assert [round(shares[symbol] / 0.3, 4) for symbol in hottest] == [0.227, 0.135, 0.095]
    assert max(universe.shares((0.0, 1.0, 0.0))) < 0.04


@pytest.mark.parametrize("mix", [MIX, (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (3.0, 6.5, 0.5)])
def test_shares_add_up_to_one_for_any_weights(mix: tuple[float, float, float]) -> None:
    assert UNIVERSE.shares(mix).sum() == pytest.approx(1, abs=1e-12)
    assert UNIVERSE.chances.sum(axis=1).tolist() == [CHOICES] * 3


@pytest.mark.parametrize("universe", [UNIVERSE, LARGE], ids=["default", "large"])
def test_every_instrument_is_chosen_by_some_feed_that_it_belongs_to(universe: Universe) -> None:
    pairs, stocks = len(universe.pairs), len(universe.pairs) + len(universe.stocks)
    assert np.all(universe.chances[0, :pairs] > 0)
    assert np.all(universe.chances[1:, pairs:stocks] > 0)
    assert not universe.chances[0, pairs:].any()
    assert not universe.chances[1, :pairs].any()


def test_volatilities_over_a_year_are_those_of_the_markets_that_they_stand_for() -> None:
    daily = dict(zip(UNIVERSE.instruments, UNIVERSE.annual_vols() / np.sqrt(252) * 100, strict=False))
    assert 0.40 < daily["EUR/USD"] < 0.50
    assert 0.45 < daily["USD/JPY"] < 0.65
    assert 0.25 < daily["EUR/GBP"] < 0.40
    assert daily["USD/HKD"] < 0.05
    assert daily["EUR/DKK"] < 0.05
    stocks = [daily[stock.symbol] for stock in UNIVERSE.stocks]
    assert 1.1 < np.quantile(stocks, 0.05) < np.quantile(stocks, 0.95) < 3.5


def test_a_pair_of_currencies_without_common_parts_moves_as_both_together() -> None:
    sar, aed = (next(c for c in UNIVERSE.currencies if c.code == code) for code in ("SAR", "AED"))
    pair = msgspec.structs.replace(UNIVERSE.pairs[0], pair="SAR/AED")
    universe = Universe(UNIVERSE.currencies, [pair], UNIVERSE.stocks, UNIVERSE.headlines, UNIVERSE.phrases)
    assert universe.annual_vols()[0] == pytest.approx((sar.annual_vol**2 + aed.annual_vol**2) ** 0.5)


def test_a_directory_with_the_same_content_is_the_same_universe(directory: Path) -> None:
    text = (directory / "stocks.csv").read_text(encoding="utf-8")
    (directory / "stocks.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    copy = Universe.load(str(directory))
    assert (copy.digest, copy.instruments) == (UNIVERSE.digest, UNIVERSE.instruments)


@pytest.mark.parametrize("missing", FILES)
def test_files_that_a_directory_does_not_hold_are_the_default_ones(directory: Path, missing: str) -> None:
    (directory / missing).unlink()
    assert Universe.load(str(directory)).digest == UNIVERSE.digest


def test_any_change_of_the_content_changes_the_digest() -> None:
    def digest(**changes: object) -> str:
        content: dict[str, object] = {
            "currencies": UNIVERSE.currencies,
            "pairs": UNIVERSE.pairs,
            "stocks": UNIVERSE.stocks,
            "headlines": UNIVERSE.headlines,
            "phrases": UNIVERSE.phrases,
        }
        return Universe(**{**content, **changes}).digest  # type: ignore[arg-type]  # the fields above

    cheaper = msgspec.structs.replace(UNIVERSE.stocks[3], price=UNIVERSE.stocks[3].price - 0.01)
    digests = {
        digest(),
        digest(pairs=UNIVERSE.pairs[::-1]),
        digest(stocks=(*UNIVERSE.stocks[:3], cheaper, *UNIVERSE.stocks[4:])),
        digest(headlines=UNIVERSE.headlines[1:]),
        digest(phrases=UNIVERSE.phrases[:-1]),
        digest(currencies=(*UNIVERSE.currencies[1:], UNIVERSE.currencies[0])),
    }
    assert digest() == UNIVERSE.digest
    assert len(digests) == 6
    assert all(len(each) == 16 for each in digests)


def lines(file: str) -> int:
    """How many lines a file of the package has: the number of one that is appended, less one."""
    return (files("tickerd.market") / "universe" / file).read_text(encoding="utf-8").count("\n")


STOCK = "QRVB,Quorvb Steel,Materials,XNYS,20,1,0.3,1,4,100,yes"
CURRENCY = "XTS,Test,2,1,asia,0,0,0,0.1,,0"


@pytest.mark.parametrize(
    ("file", "row", "complaint"),
    [
        ("pairs.csv", "EUR/XXX,5,1,1.0", "EUR/XXX: XXX is no currency of currencies.csv"),
        ("pairs.csv", "EUR/EUR,5,1,1.0", "EUR/EUR needs two different currencies"),
        ("pairs.csv", "EUR/USD,5,1,1.0", "EUR/USD is listed twice"),
        ("pairs.csv", "DKK/NOK,5,0,1.0", "spread_pips = '0': expected a number >= 0.01"),
        ("pairs.csv", "DKK/NOK,five,1,1.0", "decimals = 'five': expected a whole number"),
        ("pairs.csv", "DKK/NOK,5,1,1.0,more", "has 5 cells, not 4"),
        ("pairs.csv", "DKK/NOK,5,1", "has 3 cells, not 4"),
        ("pairs.csv", "DKK/NOK,5,1,", "share = '': expected a number"),
        ("pairs.csv", '"DKK/NOK,5,1,1', "is not CSV"),
        ("pairs.csv", "DKK/NOK,6,10000,1e999", "share = '1e999': Number out of range"),
        (
            "pairs.csv",
            "IDR/EUR,4,1,1",
            "IDR/EUR: 5.79724e-05 is less than one unit of its last decimal; give more",
        ),
        (
            "pairs.csv",
            "KWD/VND,6,1,1",
            "KWD/VND: 82951.7 or its spread has too many units of its last decimal",
        ),
        ("stocks.csv", STOCK + ",6", "has 12 cells, not 11"),
        ("stocks.csv", STOCK.replace("QRVB", "USD"), "USD is listed twice"),
        ("stocks.csv", STOCK.replace("QRVB", "QRVA"), "QRVA is listed twice"),
        ("stocks.csv", STOCK.replace("QRVB", "QR VB"), "symbol = 'QR VB'"),
        ("stocks.csv", STOCK.replace("QRVB", ""), "symbol = ''"),
        ("stocks.csv", STOCK.replace("QRVB", "Q" * 33), "symbol = 'QQQ"),
        ("stocks.csv", STOCK.replace("Quorvb Steel", "Quorvb\x07"), "name has characters that cannot be"),
        ("stocks.csv", STOCK.replace("XNYS", "XMOO"), "exchange = 'XMOO': expected one of XNYS, "),
        ("stocks.csv", STOCK.replace("0.3", "-0.3"), "annual_vol = '-0.3': expected a number >= 0.0"),
        ("stocks.csv", STOCK.replace("0.3", "nan"), "annual_vol = 'nan'"),
        ("stocks.csv", STOCK.replace(",20,", ",inf,"), "price = 'inf'"),
        ("stocks.csv", STOCK.replace("yes", "maybe"), "invented = 'maybe'"),
        ("currencies.csv", CURRENCY.replace(",,", ",DKK,"), "XTS is pegged to DKK"),
        ("currencies.csv", CURRENCY.replace(",,", ",XXX,"), "XTS is pegged to XXX"),
        ("currencies.csv", CURRENCY.replace(",,0", ",,0.1"), "XTS has a peg_band and no peg"),
        ("currencies.csv", CURRENCY.replace("asia", "mars"), "session = 'mars'"),
        ("currencies.csv", CURRENCY.replace("0.1", "-0.1"), "annual_vol = '-0.1': expected a number >= 0.0"),
        ("headlines.csv", "deal,0,0.5,{company} buys", "there are no phrases for {company}"),
        ("headlines.csv", "deal,0,0.5,{name} buys {", "a brace that is part of no {slot}"),
        ("headlines.csv", "deal,0,0.5,somebody buys", "{name} is missing"),
        ("headlines.csv", "deal,0,1.5,{name} buys", "high = '1.5'"),
        ("headlines.csv", "deal,0.5,0.1,{name} buys", "low = 0.5 is above high = 0.1"),
        ("phrases.csv", "number,many", "{number} needs no phrases"),
        ("phrases.csv", "region,{name}", "a phrase has no slots of its own"),
    ],
)
def test_a_wrong_row_is_refused_with_file_line_and_reason(
    directory: Path, file: str, row: str, complaint: str
) -> None:
    with (directory / file).open("a", encoding="utf-8") as text:
        text.write(row + "\n")
    with pytest.raises(UniverseError) as refused:
        Universe.load(str(directory))
    said = str(refused.value)
    assert said.startswith(f"universe: {directory / file} line {lines(file) + 1}: ")
    assert complaint in said
    assert said.isprintable()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "line 1: column pair is missing; the columns are pair,decimals,spread_pips,share"),
        (b"pair,decimals,spread_pips\n", "line 1: column share is missing"),
        (b"pair;decimals;spread_pips;share\n", "line 1: column pair is missing"),
        (b"pair,decimals,spread_pips,share,more\n", "line 1: there is no column 'more'"),
        (b"pair,decimals,spread_pips,share,pair\n", "line 1: a column is there twice"),
        (b"pair,decimals,spread_pips,share\n", "has no rows"),
        (b"pair,decimals,spread_pips,share\n\n\n", "has no rows"),
        (b"pair,decimals\n\xff\xfe", "line 2: is not UTF-8"),
        (b"pair,decimals,spread_pips,share\nEUR/USD,5,1,\x00", "line 2"),
        (b"x" * 200_000, "line 1: is not CSV (field larger than"),
        (b"x" * (BYTES_MAX + 1), "is larger than 16 MB"),
    ],
)
def test_a_file_that_is_no_table_of_pairs_is_refused(directory: Path, content: bytes, complaint: str) -> None:
    (directory / "pairs.csv").write_bytes(content)
    with pytest.raises(UniverseError, match=re.escape(complaint)) as refused:
        Universe.load(str(directory))
    assert str(directory / "pairs.csv") in str(refused.value)
    assert str(refused.value).isprintable()


WEIRD = [
    "",
    " ",
    "nan",
    "-inf",
    "1e308",
    "-1",
    "0",
    "5e-324",
    "\ufeff",
    "é",
    "\u202e",
    "\x00",
    '"',
    '""',
    ",",
    "\r",
]


@settings(max_examples=150)
@given(
    file=st.sampled_from(FILES),
    line=st.integers(0, 3),
    column=st.integers(0, 10),
    cell=st.one_of(st.sampled_from(WEIRD), st.text(max_size=12), st.floats().map(repr)),
)
def test_any_cell_makes_a_market_or_is_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, file: str, line: int, column: int, cell: str
) -> None:
    directory = tmp_path_factory.mktemp("universe")
    for name in FILES:
        text = (files("tickerd.market") / "universe" / name).read_text(encoding="utf-8").splitlines()
        rows = text[:5] if name == "stocks.csv" else text
        if name == file:
            cells = rows[line].split(",")
            cells[column % len(cells)] = cell
            rows[line] = ",".join(cells)
        content = "\n".join(rows) + "\n"
        (directory / name).write_bytes(content.encode("utf-8", errors="surrogatepass"))
    universe = loaded_or_refused_in_one_line(directory)
    if universe is not None:
        # Warnings are errors here: nothing may come of it that is no number.
        quotes = Market(1, universe).quotes(1_800_000_000_000)
        assert np.all((quotes.bid > 0) & (quotes.bid < quotes.ask) & np.isfinite(quotes.ask))


@settings(max_examples=100)
@given(
    file=st.sampled_from(FILES),
    cut=st.integers(0, 3000),
    inserted=st.one_of(
        st.binary(max_size=8), st.sampled_from([b"\xff", b"\x00", b"\r", b'"', b"\n\n", b";"])
    ),
    length=st.one_of(st.just(10**6), st.integers(0, 400)),
)
def test_any_bytes_are_a_universe_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, file: str, cut: int, inserted: bytes, length: int
) -> None:
    directory = tmp_path_factory.mktemp("universe")
    whole = (files("tickerd.market") / "universe" / file).read_bytes()
    (directory / file).write_bytes((whole[:cut] + inserted + whole[cut:])[:length])
    loaded_or_refused_in_one_line(directory)


def loaded_or_refused_in_one_line(directory: Path) -> Universe | None:
    try:
        return Universe.load(str(directory))
    except UniverseError as error:
        said = str(error)
    assert said.startswith("universe: ")
    assert said.isprintable()
    return None


def test_what_does_not_move_at_all_has_prices_too() -> None:
    stocks = [msgspec.structs.replace(stock, annual_vol=0.0, beta=0.0) for stock in UNIVERSE.stocks[:3]]
    currencies = [
        msgspec.structs.replace(each, annual_vol=0.0, europe=0.0, commodity=0.0, asia=0.0)
        for each in UNIVERSE.currencies
    ]
    universe = Universe(currencies, UNIVERSE.pairs[:3], stocks, UNIVERSE.headlines, UNIVERSE.phrases)
    market = Market(1, universe)
    for ms in (0, 1_800_000_000_000):
        quotes = market.quotes(ms)
        assert np.all((quotes.bid > 0) & (quotes.bid < quotes.ask))
        assert quotes.price[0] == pytest.approx(currencies[1].usd_value, abs=1e-5)  # EUR/USD


def test_prices_at_the_bounds_of_what_is_allowed_are_quoted_soundly() -> None:
    first = UNIVERSE.stocks[0]
    stocks = [
        msgspec.structs.replace(first, symbol="DEAR", price=1e6, decimals=3, annual_vol=1.0, beta=4.0),
        msgspec.structs.replace(first, symbol="WIDE", price=1e6, spread_bp=1000.0, annual_vol=1.0),
        msgspec.structs.replace(first, symbol="CENT", price=0.01, spread_bp=1000.0, annual_vol=1.0),
    ]
    universe = Universe(UNIVERSE.currencies, UNIVERSE.pairs[:1], stocks, UNIVERSE.headlines, UNIVERSE.phrases)
    market = Market(1, universe)
    for ms in range(0, 4 * 10**12, 10**11):
        quotes = market.quotes(ms)
        assert np.all((quotes.bid > 0) & (quotes.bid < quotes.ask) & (quotes.ask < 1e10))
        assert 1e4 < quotes.bid[1] < 1e8
    dearer = msgspec.structs.replace(first, price=1e6, decimals=4)
    with pytest.raises(UniverseError, match=r"QRVA: 1e\+06 or its spread has too many units"):
        Universe(UNIVERSE.currencies, UNIVERSE.pairs, [dearer], UNIVERSE.headlines, UNIVERSE.phrases)


def test_a_directory_that_is_missing_or_holds_other_files_is_refused(directory: Path) -> None:
    with pytest.raises(UniverseError, match=r"cannot read .*nowhere: No such file"):
        Universe.load(str(directory / "nowhere"))
    with pytest.raises(UniverseError, match=r"cannot read .*pairs.csv: Not a directory"):
        Universe.load(str(directory / "pairs.csv"))
    (directory / "empty").mkdir()
    with pytest.raises(UniverseError, match=r"empty: has none of currencies.csv, pairs.csv"):
        Universe.load(str(directory / "empty"))
    shutil.copy(directory / "stocks.csv", directory / "stock.csv")
    with pytest.raises(UniverseError, match=r"stock.csv is none of currencies.csv"):
        Universe.load(str(directory))


def test_rows_that_are_given_directly_are_named_by_their_number() -> None:
    twice = (*UNIVERSE.stocks, UNIVERSE.stocks[0])
    with pytest.raises(UniverseError, match=r"universe: stocks.csv row 501: QRVA is listed twice"):
        Universe(UNIVERSE.currencies, UNIVERSE.pairs, twice, UNIVERSE.headlines, UNIVERSE.phrases)


def test_a_universe_without_stocks_pairs_or_neutral_headlines_is_refused() -> None:
    loud = [headline for headline in UNIVERSE.headlines if headline.low != headline.high]
    macro = [headline for headline in UNIVERSE.headlines if headline.category == "macro"]
    for pairs, stocks, headlines, complaint in (
        ((), UNIVERSE.stocks, UNIVERSE.headlines, "need at least one row each"),
        (UNIVERSE.pairs, (), UNIVERSE.headlines, "need at least one row each"),
        (UNIVERSE.pairs, UNIVERSE.stocks, loud, "needs neutral templates"),
        (UNIVERSE.pairs, UNIVERSE.stocks, macro, "needs neutral templates"),
    ):
        with pytest.raises(UniverseError, match=complaint):
            Universe(UNIVERSE.currencies, pairs, stocks, headlines, UNIVERSE.phrases)


def test_a_users_own_tickers_need_few_columns_and_are_real_unless_marked(tmp_path: Path) -> None:
    (tmp_path / "stocks.csv").write_text(
        "symbol,name,sector,price,beta,annual_vol,share,invented\n"
        "BRK.B,Some Holding,Financials,450,0.9,0.2,2,\n"
        "0700.HK,Some Network,Technology,380,1.1,0.3,1,no\n"
        "MINE,Mine,Technology,20,1,0.3,1,yes\n"
    )
    universe = Universe.load(str(tmp_path))
    assert [(stock.symbol, stock.real) for stock in universe.stocks] == [
        ("BRK.B", True),
        ("0700.HK", True),
        ("MINE", False),
    ]
    assert (universe.stocks[0].exchange, universe.stocks[0].lot) == ("XNYS", 100)
    assert universe.pairs == UNIVERSE.pairs


def headlines(count: int, *, macro: bool, names: int) -> list[tuple[str, str]]:
    draw = Random(20261123)
    return [
        UNIVERSE.headline(macro, draw.randint(-100, 100) / 100, f"N{n % names}", draw.getrandbits(64))
        for n in range(count)
    ]


def test_10_000_headlines_about_one_company_are_at_least_3_000_different_ones() -> None:
    assert len(set(headlines(10_000, macro=False, names=1))) >= 3000


def test_macro_headlines_are_about_currencies_and_others_never_macro() -> None:
    assert {category for _, category in headlines(500, macro=True, names=1)} == {"macro"}
    categories = {category for _, category in headlines(2000, macro=False, names=1)}
    assert {"earnings", "guidance", "deal", "analyst", "legal", "management", "product"} <= categories
    assert "macro" not in categories


def test_headlines_are_text_without_slots_that_begin_with_a_capital_and_name_whom_they_are_about() -> None:
    for text, _ in headlines(3000, macro=False, names=7) + headlines(1000, macro=True, names=7):
        assert not set("{}") & set(text)
        assert text[0] == text[0].upper()
        assert re.search(r"\bN\d\b", text)
        assert "  " not in text
        assert text.isprintable()


def test_a_headline_has_the_tone_of_its_sentiment() -> None:
    by_text: dict[str, Headline] = {headline.text: headline for headline in UNIVERSE.headlines}
    assert len(by_text) == len(UNIVERSE.headlines)
    for hundredths in range(-100, 101):
        fitting = [
            headline
            for headline in UNIVERSE.headlines
            if headline.low <= hundredths / 100 <= headline.high and headline.category != "macro"
        ]
        assert fitting, f"nothing fits {hundredths}"
    good = {UNIVERSE.headline(False, 0.9, "N", n * 7919)[0] for n in range(3000)}
    bad = {UNIVERSE.headline(False, -0.9, "N", n * 7919)[0] for n in range(3000)}
    assert not good & bad


def test_nothing_but_neutral_news_is_written_at_sentiment_0() -> None:
    assert {UNIVERSE.headline(False, 0.0, "N", n * 7919)[1] for n in range(2000)} == {"market"}
    wording = " ".join(UNIVERSE.headline(False, 0.0, "N", n * 7919)[0] for n in range(2000)).lower()
    for claim in ("cuts", "raises", "profit", "loss", "deal", "recall", "inquiry", "chief"):
        assert claim not in wording


def test_the_companies_are_the_ones_that_the_script_in_bench_makes() -> None:
    script = Path(__file__).parents[1] / "bench" / "universe_stocks.py"
    made = subprocess.run(
        [sys.executable, "-c", f"import runpy; m = runpy.run_path({str(script)!r}); print(m['rows'](500))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    text = (files("tickerd.market") / "universe" / "stocks.csv").read_text(encoding="utf-8")
    rows = [msgspec.convert(row, Stock, strict=False) for row in csv.DictReader(text.splitlines())]
    assert made.count("'yes'") == 500
    assert all(repr(stock.symbol) in made and repr(stock.name) in made for stock in rows)


@pytest.mark.parametrize("command", [["check"], ["run"], ["generate", "--records", "1"]])
def test_a_universe_that_cannot_be_used_ends_a_command_with_78_and_one_line(
    directory: Path, command: list[str]
) -> None:
    with (directory / "pairs.csv").open("a") as text:
        text.write("EUR/XXX,5,1,1\n")
    settings = ["--set", f"market.universe={directory}", "--set", f"state.directory={directory / 'state'}"]
    ended = subprocess.run(
        [sys.executable, "-m", "tickerd", *command, *settings],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    place = f"{directory}/pairs.csv line {lines('pairs.csv') + 1}"
    assert ended.stderr == (
        f"tickerd: market.universe: {place}: EUR/XXX: XXX is no currency of currencies.csv\n"
    )
    assert (ended.returncode, ended.stdout) == (78, "")
