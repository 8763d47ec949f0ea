"""The catalogue of instruments: currencies, pairs of them, stocks and the wording of news.

It promises that names are unique and complete, and says how often each instrument is chosen and how much it
moves over a year. It knows no price of any time. Which columns the files have is catalogue.py's business.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickerd.market.catalogue import Currency, Headline, Pair, Phrase, Stock, UniverseError, read
from tickerd.market.headlines import MACRO, Grammar, phrase_fault, template_fault
from tickerd.market.hours import EXCHANGES
from tickerd.records import FEEDS

__all__ = ["Currency", "Headline", "Pair", "Phrase", "Stock", "Universe", "UniverseError"]

CHOICES = 65_536
"""Slots that the instruments of a feed share among them: 16 bits of a hash choose one."""
MACRO_CHANCE = 0.1
"""Share of the news feed's records that are about currencies."""
STOCKS_MAX = 20_000
TICKS_MAX, SPREAD_TICKS_MAX = 2_500_000_000, 10_000_000
"""Of a reference price, and of an ordinary spread: what 64 bits hold however far prices move."""

FACTOR_VOL = 0.06
"""Annual volatility of each of the common factors of currencies: europe, commodity, asia."""
MARKET_VOL = 0.14
"""Annual volatility of all stocks together."""
SECTOR_VOL = 0.10
"""Annual volatility of a sector beside the market."""

FILES = ("currencies.csv", "pairs.csv", "stocks.csv", "headlines.csv", "phrases.csv")


class Fault(NamedTuple):
    """A row that does not fit the others."""

    file: str
    row: int
    reason: str


class Universe:
    """All instruments, in the order of the files.

    `instruments` are the partition keys: currency pairs, then stock symbols, then currency codes (for macro
    news). `chances` ([feeds, instruments]) are how many of `CHOICES` slots each instrument has. A catalogue
    that does not fit together is a `UniverseError`.
    """

    def __init__(
        self,
        currencies: Sequence[Currency],
        pairs: Sequence[Pair],
        stocks: Sequence[Stock],
        headlines: Sequence[Headline],
        phrases: Sequence[Phrase] = (),
        places: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`places` says by file where each row stands, for errors."""
        self.currencies, self.pairs = tuple(currencies), tuple(pairs)
        self.stocks, self.headlines = tuple(stocks), tuple(headlines)
        self.phrases = tuple(phrases)
        for file, row, reason in self._faults():
            place = places[file][row] if places else f"{file} row {row + 1}"
            raise UniverseError(f"universe: {place}: {reason}")
        self._check_whole()
        self.instruments: tuple[str, ...] = (
            *(pair.pair for pair in self.pairs),
            *(stock.symbol for stock in self.stocks),
            *(currency.code for currency in self.currencies),
        )
        rows = [self.currencies, self.pairs, self.stocks, self.headlines, self.phrases]
        content = json.dumps(msgspec.to_builtins(rows)).encode()
        self.digest = hashlib.sha256(content).hexdigest()[:16]
        self.chances = self._chances()
        self.headline = Grammar(self.headlines, self.phrases).headline
        """(macro, sentiment, name, 64 random bits) -> (text, category); see headlines.py."""

    @classmethod
    def load(cls, name: str = "default") -> "Universe":
        """The universe "default" or "large" (5,000 stocks) in the package, or one from the directory `name`.

        A directory holds any of `FILES`; those that it does not hold are the default universe's.
        """
        default = files("tickerd.market") / "universe"
        directories: list[Traversable] = [default]
        if name != "default":
            directories.insert(0, default / "large" if name == "large" else Path(name))
            _check_directory(directories[0])
        at = {file: next(each / file for each in directories if (each / file).is_file()) for file in FILES}
        currencies = read(at["currencies.csv"], Currency)
        pairs = read(at["pairs.csv"], Pair)
        stocks = read(at["stocks.csv"], Stock)
        headlines = read(at["headlines.csv"], Headline)
        phrases = read(at["phrases.csv"], Phrase)
        every = (currencies.places, pairs.places, stocks.places, headlines.places, phrases.places)
        places = dict(zip(FILES, every, strict=True))
        return cls(currencies.rows, pairs.rows, stocks.rows, headlines.rows, phrases.rows, places)

    def shares(self, mix: tuple[float, float, float]) -> NDArray[np.float64]:
        """The expected share of each instrument in all records for weights of the feeds: [instruments]."""
        weights = _unit(mix)
        forex, stock, news = self.chances * weights[:, None] / CHOICES
        shares: NDArray[np.float64] = forex + stock + news
        return shares

    def annual_vols(self) -> NDArray[np.float64]:
        """[pairs + stocks] standard deviation of a year's change of the log price, with all common parts."""
        rows = {currency.code: currency for currency in self.currencies}
        pairs = [_pair_variance(rows, pair) for pair in self.pairs]
        stocks = [_squares(s.beta * MARKET_VOL, SECTOR_VOL, s.annual_vol) for s in self.stocks]
        vols: NDArray[np.float64] = np.sqrt(np.array(pairs + stocks))
        return vols

    def _faults(self) -> Iterator[Fault]:
        yield from self._repetitions()
        yield from self._strangers()
        yield from self._extremes()
        for row, phrase in enumerate(self.phrases):
            if reason := phrase_fault(phrase):
                yield Fault("phrases.csv", row, reason)
        slots = {phrase.slot for phrase in self.phrases}
        for row, headline in enumerate(self.headlines):
            if reason := template_fault(headline, slots):
                yield Fault("headlines.csv", row, reason)

    def _repetitions(self) -> Iterator[Fault]:
        seen: set[str] = set()
        symbols = (
            ("currencies.csv", [currency.code for currency in self.currencies]),
            ("pairs.csv", [pair.pair for pair in self.pairs]),
            ("stocks.csv", [stock.symbol for stock in self.stocks]),
        )
        for file, names in symbols:
            for row, name in enumerate(names):
                if name in seen:
                    yield Fault(file, row, f"{name} is listed twice; every instrument needs its own name")
                seen.add(name)

    def _strangers(self) -> Iterator[Fault]:
        """Rows that speak of what no other row holds."""
        pegs = {currency.code: currency.peg for currency in self.currencies}
        for row, currency in enumerate(self.currencies):
            if currency.peg and pegs.get(currency.peg) != "":
                reason = (
                    f"{currency.code} is pegged to {currency.peg}, which is no listed currency that floats"
                )
                yield Fault("currencies.csv", row, reason)
            if currency.peg_band and not currency.peg:
                yield Fault("currencies.csv", row, f"{currency.code} has a peg_band and no peg")
        for row, pair in enumerate(self.pairs):
            unknown = [code for code in (pair.base, pair.quote) if code not in pegs]
            if unknown:
                yield Fault("pairs.csv", row, f"{pair.pair}: {unknown[0]} is no currency of currencies.csv")
            if pair.base == pair.quote:
                yield Fault("pairs.csv", row, f"{pair.pair} needs two different currencies")
        for row, stock in enumerate(self.stocks):
            if stock.exchange not in EXCHANGES:
                reason = f"exchange = {stock.exchange!r}: expected one of {', '.join(EXCHANGES)}"
                yield Fault("stocks.csv", row, reason)

    def _extremes(self) -> Iterator[Fault]:
        """Prices that are too large or too small for their decimals."""
        usd = {currency.code: currency.usd_value for currency in self.currencies}
        for row, pair in enumerate(self.pairs):
            rate = usd[pair.base] / usd[pair.quote]
            if reason := _out_of_range(rate, pair.decimals, pair.spread_ticks):
                yield Fault("pairs.csv", row, f"{pair.pair}: {reason}")
        for row, stock in enumerate(self.stocks):
            if reason := _out_of_range(stock.price, stock.decimals, stock.spread_ticks):
                yield Fault("stocks.csv", row, f"{stock.symbol}: {reason}")

    def _check_whole(self) -> None:
        if not self.pairs or not self.stocks:
            raise UniverseError("universe: pairs.csv and stocks.csv need at least one row each")
        if len(self.stocks) > STOCKS_MAX:
            raise UniverseError(f"universe: {len(self.stocks)} stocks are more than {STOCKS_MAX}")
        neutral = {each.category == MACRO for each in self.headlines if each.low == each.high == 0}
        if neutral != {True, False}:
            raise UniverseError(
                "universe: headlines.csv needs neutral templates (low = high = 0), both for macro and others"
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


def _check_directory(directory: Traversable) -> None:
    """A directory must hold some of `FILES`, and no other CSV file, whose name may be mistyped."""
    try:
        names = sorted(entry.name for entry in directory.iterdir())
    except OSError as error:
        raise UniverseError(f"universe: cannot read {directory}: {error.strerror}") from None
    other = [name for name in names if name.endswith(".csv") and name not in FILES]
    if other or set(FILES).isdisjoint(names):
        fault = f"{other[0]} is none of" if other else "has none of"
        raise UniverseError(f"universe: {directory}: {fault} {', '.join(FILES)}")


def _out_of_range(price: float, decimals: int, spread_ticks: float) -> str:
    """What is wrong with a reference price and its decimals, or nothing."""
    ticks = price * float(10**decimals)
    if ticks < 1:
        return f"{price:g} is less than one unit of its last decimal; give more than {decimals} decimals"
    if ticks > TICKS_MAX or spread_ticks > SPREAD_TICKS_MAX:
        return f"{price:g} or its spread has too many units of its last decimal; give fewer than {decimals}"
    return ""


def _pair_variance(rows: Mapping[str, Currency], pair: Pair) -> float:
    """The annual variance of a pair's log rate: own parts and common factors, pegs followed."""
    own: dict[str, float] = {}
    factors = [0.0, 0.0, 0.0]
    for code, sign in ((pair.base, 1.0), (pair.quote, -1.0)):
        for row in (rows[code], rows.get(rows[code].peg)):
            if row is not None:
                own[row.code] = own.get(row.code, 0.0) + sign
                loadings = (row.europe, row.commodity, row.asia)
                factors = [f + sign * loading for f, loading in zip(factors, loadings, strict=True)]
    parts = [weight * rows[code].annual_vol for code, weight in own.items()]
    return _squares(*parts, *(factor * FACTOR_VOL for factor in factors))


def _squares(*parts: float) -> float:
    return math.fsum(part * part for part in parts)  # not **: its last bit is the C library's


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
