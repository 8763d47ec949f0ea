"""The catalogue: what the default one holds, how shares add up, and what is refused."""

import shutil
from importlib.resources import files
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tickerd.market.prices import Prices
from tickerd.market.universe import CHOICES, Universe

MIX = (0.3, 0.65, 0.05)
UNIVERSE = Universe.load()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of the default universe's files."""
    for name in ("currencies.csv", "pairs.csv", "stocks.csv", "headlines.csv"):
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
    assert len(pairs) >= 28
    assert len(stocks) >= 100
    assert len(set(UNIVERSE.instruments)) == len(UNIVERSE.instruments)


def test_with_the_default_mix_the_hottest_key_is_the_euro_in_dollars() -> None:
    shares = dict(zip(UNIVERSE.instruments, UNIVERSE.shares(MIX).tolist(), strict=True))
    hottest = sorted(shares, key=lambda symbol: -shares[symbol])[:3]
    assert hottest == ["EUR/USD", "USD/JPY", "GBP/USD"]
    assert [round(shares[symbol] / 0.3, 4) for symbol in hottest] == [0.227, 0.135, 0.095]
    assert max(UNIVERSE.shares((0.0, 1.0, 0.0))) < 0.04


@pytest.mark.parametrize("mix", [MIX, (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (3.0, 6.5, 0.5)])
def test_shares_add_up_to_one_for_any_weights(mix: tuple[float, float, float]) -> None:
    assert UNIVERSE.shares(mix).sum() == pytest.approx(1, abs=1e-12)
    assert UNIVERSE.chances.sum(axis=1).tolist() == [CHOICES] * 3


def test_every_instrument_is_chosen_by_some_feed_that_it_belongs_to() -> None:
    pairs, stocks = len(UNIVERSE.pairs), len(UNIVERSE.pairs) + len(UNIVERSE.stocks)
    assert np.all(UNIVERSE.chances[0, :pairs] > 0)
    assert np.all(UNIVERSE.chances[1:, pairs:stocks] > 0)
    assert np.all(UNIVERSE.chances[2, stocks:] > 0)
    assert not UNIVERSE.chances[0, pairs:].any()
    assert not UNIVERSE.chances[1, :pairs].any()


def test_a_directory_with_the_same_content_is_the_same_universe(directory: Path) -> None:
    text = (directory / "stocks.csv").read_text(encoding="utf-8")
    (directory / "stocks.csv").write_bytes(text.replace("\n", "\r\n").encode())
    copy = Universe.load(str(directory))
    assert (copy.digest, copy.instruments) == (UNIVERSE.digest, UNIVERSE.instruments)


def test_any_change_of_the_content_changes_the_digest() -> None:
    def digest(**changes: object) -> str:
        content: dict[str, object] = {
            "currencies": UNIVERSE.currencies,
            "pairs": UNIVERSE.pairs,
            "stocks": UNIVERSE.stocks,
            "headlines": UNIVERSE.headlines,
        }
        return Universe(**{**content, **changes}).digest  # type: ignore[arg-type]  # the fields above

    cheaper = msgspec.structs.replace(UNIVERSE.stocks[3], price=UNIVERSE.stocks[3].price - 0.01)
    digests = {
        digest(),
        digest(pairs=UNIVERSE.pairs[::-1]),
        digest(stocks=(*UNIVERSE.stocks[:3], cheaper, *UNIVERSE.stocks[4:])),
        digest(headlines=UNIVERSE.headlines[1:]),
        digest(currencies=(*UNIVERSE.currencies[1:], UNIVERSE.currencies[0])),
    }
    assert digest() == UNIVERSE.digest
    assert len(digests) == 5
    assert all(len(each) == 16 for each in digests)


@pytest.mark.parametrize(
    ("file", "row", "complaint"),
    [
        ("pairs.csv", "EUR/XXX,5,1,1.0", "EUR/XXX is no pair of two listed currencies"),
        ("pairs.csv", "EUR/EUR,5,1,1.0", "EUR/EUR is no pair of two listed currencies"),
        ("pairs.csv", "EUR/USD,5,1,1.0", "EUR/USD is listed twice"),
        ("pairs.csv", "SEK/NOK,5,0,1.0", "pairs.csv line 56: .*spread_ticks"),
        ("pairs.csv", "SEK/NOK,five,1,1.0", "pairs.csv line 56: .*decimals"),
        ("pairs.csv", "SEK/NOK,5,1,1.0,more", "pairs.csv line 56: "),
        ("pairs.csv", "SEK/NOK,5,1", "pairs.csv line 56: .*share"),
        ("stocks.csv", "USD,Usdinor Steel,Materials,20,1,0.3,1,1", "USD is listed twice"),
        ("stocks.csv", "qrvb,Quorvb,Materials,20,1,0.3,1,1", "stocks.csv line 120: .*symbol"),
        ("stocks.csv", "QRVB,Quorvb,Materials,20,1,0.3,1,-1", "stocks.csv line 120: .*share"),
        ("stocks.csv", "QRVB,Quorvb,Materials,20,1,nan,1,1", "stocks.csv line 120: .*annual_vol"),
        ("stocks.csv", "QRVB,Quorvb,Materials,20,1,0.3,1,inf", "stocks.csv line 120: .*share"),
        ("currencies.csv", "XTS,Test,1,0.1,DKK", "XTS is pegged to DKK"),
        ("currencies.csv", "XTS,Test,1,0.1,XXX", "XTS is pegged to XXX"),
        ("headlines.csv", "deal,0.5,{company} buys", "may hold {name} and {number}"),
        ("headlines.csv", "deal,1.5,{name} buys", "headlines.csv line 54: .*sentiment"),
    ],
)
def test_a_wrong_row_is_refused_with_one_line(directory: Path, file: str, row: str, complaint: str) -> None:
    with (directory / file).open("a", encoding="utf-8") as text:
        text.write(row + "\n")
    with pytest.raises(ValueError, match=complaint) as refused:
        Universe.load(str(directory))
    assert str(refused.value).startswith("universe: ")
    assert "\n" not in str(refused.value)


def test_a_missing_directory_and_files_that_are_not_text_are_refused(directory: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*currencies.csv: No such file"):
        Universe.load(str(directory / "nowhere"))
    (directory / "pairs.csv").write_bytes(b"pair,decimals\n\xff\xfe")
    with pytest.raises(ValueError, match=r"pairs.csv is not UTF-8"):
        Universe.load(str(directory))
    shutil.copy(directory / "headlines.csv", directory / "pairs.csv")
    with pytest.raises(ValueError, match=r"pairs.csv line 2"):
        Universe.load(str(directory))


def test_a_universe_without_stocks_pairs_or_macro_headlines_is_refused() -> None:
    company = [headline for headline in UNIVERSE.headlines if headline.category != "macro"]
    for pairs, stocks, headlines in (
        ((), UNIVERSE.stocks, UNIVERSE.headlines),
        (UNIVERSE.pairs, (), UNIVERSE.headlines),
        (UNIVERSE.pairs, UNIVERSE.stocks, company),
    ):
        with pytest.raises(ValueError, match="need at least one row each"):
            Universe(UNIVERSE.currencies, pairs, stocks, headlines)


def test_a_stock_whose_bid_might_fall_to_nothing_is_refused() -> None:
    cheap = msgspec.structs.replace(UNIVERSE.stocks[0], symbol="QQCH", price=1.0, annual_vol=0.8)
    universe = Universe(UNIVERSE.currencies, UNIVERSE.pairs, [cheap], UNIVERSE.headlines)
    with pytest.raises(ValueError, match="QQCH may fall below its spread"):
        Prices(1, universe)
