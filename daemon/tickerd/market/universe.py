"""The catalogue of instruments: currencies, pairs of them, stocks and headlines, read from CSV files.

It promises that names are unique and complete, and says how often each instrument is chosen. It knows no
price of any time.
"""

import csv
import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from tickerd.records import FEEDS

CHOICES = 65_536
"""Slots that the instruments of a feed share among them: 16 bits of a hash choose one."""
MACRO_CHANCE = 0.1
"""Share of the news feed's records that are about currencies."""

Symbol = Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9./-]*$")]
Positive = Annotated[float, Meta(gt=0, le=1e9)]  # a bound, because inf is greater than 0 too


class Currency(msgspec.Struct, frozen=True):
    """A currency by its ISO 4217 code; with `peg`, its value follows that of another one."""

    code: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
    name: str
    usd_value: Positive
    annual_vol: Annotated[float, Meta(ge=0, le=0.5)]  # standard deviation of the log value over a year
    peg: str


class Pair(msgspec.Struct, frozen=True):
    """A currency pair, "base/quote": its rate is the base's value in units of the quote."""

    pair: Annotated[str, Meta(pattern=r"^[A-Z]{3}/[A-Z]{3}$")]
    decimals: Annotated[int, Meta(ge=0, le=6)]
    spread_ticks: Annotated[int, Meta(ge=1, le=10_000)]
    share: Positive

    @property
    def base(self) -> str:
        """The code of the currency that is priced."""
        return self.pair[:3]

    @property
    def quote(self) -> str:
        """The code of the currency that it is priced in."""
        return self.pair[4:]


class Stock(msgspec.Struct, frozen=True):
    """A stock: `beta` is its share in the market's moves, `annual_vol` that of its own moves."""

    symbol: Symbol
    name: str
    sector: str
    price: Annotated[float, Meta(ge=1, le=100_000)]
    beta: Annotated[float, Meta(ge=-2, le=3)]
    annual_vol: Annotated[float, Meta(ge=0, le=0.8)]
    spread_ticks: Annotated[int, Meta(ge=1, le=1000)]
    share: Positive


class Headline(msgspec.Struct, frozen=True):
    """A template of news: `{name}` is the company or currency, `{number}` a small number."""

    category: str  # "macro" is about currencies, all others are about stocks
    sentiment: Annotated[float, Meta(ge=-1, le=1)]
    text: str


class Universe:
    """All instruments, in the order of the files.

    `instruments` are the partition keys: currency pairs, then stock symbols, then currency codes (for macro
    news). `chances` ([feeds, instruments]) are how many of `CHOICES` slots each instrument has. A catalogue
    that does not fit together is a ValueError.
    """

    def __init__(
        self,
        currencies: Sequence[Currency],
        pairs: Sequence[Pair],
        stocks: Sequence[Stock],
        headlines: Sequence[Headline],
    ) -> None:
        self.currencies, self.pairs = tuple(currencies), tuple(pairs)
        self.stocks, self.headlines = tuple(stocks), tuple(headlines)
        self.instruments: tuple[str, ...] = (
            *(pair.pair for pair in self.pairs),
            *(stock.symbol for stock in self.stocks),
            *(currency.code for currency in self.currencies),
        )
        self._check()
        content = msgspec.to_builtins([self.currencies, self.pairs, self.stocks, self.headlines])
        self.digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
        self.chances = self._chances()

    @classmethod
    def load(cls, name: str = "default") -> "Universe":
        """The universe in the package, or one from the directory `name` with files of the same names."""
        source = files("tickerd.market") / "universe" if name == "default" else Path(name)
        return cls(
            _read(source / "currencies.csv", Currency),
            _read(source / "pairs.csv", Pair),
            _read(source / "stocks.csv", Stock),
            _read(source / "headlines.csv", Headline),
        )

    def shares(self, mix: tuple[float, float, float]) -> NDArray[np.float64]:
        """The expected share of each instrument in all records for weights of the feeds: [instruments]."""
        weights = _unit(mix)
        forex, stock, news = self.chances * weights[:, None] / CHOICES
        shares: NDArray[np.float64] = forex + stock + news
        return shares

    def _check(self) -> None:
        repeated = [name for name, count in Counter(self.instruments).items() if count > 1]
        if repeated:
            raise ValueError(f"universe: {repeated[0]} is listed twice; every instrument needs its own name")
        pegs = {currency.code: currency.peg for currency in self.currencies}
        for code, peg in pegs.items():
            if peg and pegs.get(peg) != "":
                raise ValueError(f"universe: {code} is pegged to {peg}, which is no currency that floats")
        for pair in self.pairs:
            if pair.base == pair.quote or not {pair.base, pair.quote} <= pegs.keys():
                raise ValueError(f"universe: {pair.pair} is no pair of two listed currencies")
        for headline in self.headlines:
            try:
                headline.text.format(name="", number=2)
            except (LookupError, ValueError, AttributeError):
                raise ValueError(
                    f"universe: headline {headline.text!r} may hold {{name}} and {{number}}, no other braces"
                ) from None
        macro = {headline.category == "macro" for headline in self.headlines}
        if not self.pairs or not self.stocks or macro != {True, False}:
            raise ValueError(
                'universe: pairs, stocks, "macro" headlines and others need at least one row each'
            )

    def _chances(self) -> NDArray[np.int64]:
        """[feeds, instruments] slots: a feed's add up to `CHOICES`."""
        used = {currency.code: 0.0 for currency in self.currencies}
        for pair in self.pairs:
            used[pair.base] += pair.share
            used[pair.quote] += pair.share
        pairs = _unit([pair.share for pair in self.pairs])
        stocks = _unit([stock.share for stock in self.stocks])
        currencies = _unit(list(used.values()))
        shares = np.zeros((len(FEEDS), len(self.instruments)))
        shares[0, : len(pairs)] = pairs
        shares[1, len(pairs) : -len(currencies)] = stocks
        shares[2, len(pairs) : -len(currencies)] = (1 - MACRO_CHANCE) * stocks
        shares[2, -len(currencies) :] = MACRO_CHANCE * currencies
        return np.stack([_apportion(each) for each in shares])


def _unit(weights: Sequence[float]) -> NDArray[np.float64]:
    # fsum is exact, where the last bit of sum depends on Python's version.
    return np.array(weights) / math.fsum(weights)


def _apportion(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole slots by largest remainder; ties go to the first."""
    wanted = shares * CHOICES
    slots = np.floor(wanted).astype(np.int64)
    by_remainder = np.argsort(slots - wanted, kind="stable")
    slots[by_remainder[: CHOICES - int(np.cumsum(slots)[-1])]] += 1
    return slots


Row = TypeVar("Row")


def _read(file: Traversable, row_type: type[Row]) -> list[Row]:
    """The rows of a CSV file; ValueError with file and line for what does not fit `row_type`."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"universe: cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"universe: {file} is not UTF-8 text") from None
    rows = []
    reader = csv.DictReader(text.splitlines())
    for fields in reader:
        try:
            rows.append(msgspec.convert(fields, row_type, strict=False))
        except msgspec.ValidationError as error:
            raise ValueError(f"universe: {file.name} line {reader.line_num}: {error}") from None
    return rows
