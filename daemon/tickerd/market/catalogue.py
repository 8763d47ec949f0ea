"""The rows of a universe's files, and how the files are read: CSV in UTF-8 with a header line.

It promises rows whose every cell has its type and range; what does not fit is a `UniverseError` that names
file, line, cell and reason. How the rows fit together is universe.py's business.
"""

import csv
import io
import re
from importlib.resources.abc import Traversable
from typing import Annotated, Generic, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta
from msgspec.structs import fields

BYTES_MAX = 16 << 20  # of a file: 5,000 stocks take 0.4 MB

Text = Annotated[str, Meta(min_length=1, max_length=200)]
SYMBOL = "[A-Za-z0-9][A-Za-z0-9.=_/-]{0,31}"  # a partition key as it stands
Symbol = Annotated[str, Meta(pattern=f"^{SYMBOL}$")]
Positive = Annotated[float, Meta(gt=0, le=1e9)]  # every float has bounds, which keep out nan and inf
Loading = Annotated[float, Meta(ge=-3, le=3)]


class UniverseError(ValueError):
    """A universe cannot be used; the message is one line, "universe: file line: reason"."""


class Currency(msgspec.Struct, frozen=True):
    """A currency by its ISO 4217 code: what it is worth, and what moves its value."""

    code: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
    name: Text
    minor_unit: Annotated[int, Meta(ge=0, le=4)]  # decimals of an amount of it
    usd_value: Positive
    session: Literal["asia", "europe", "america"]  # when it is traded most
    europe: Loading  # how much of each common factor its value takes over
    commodity: Loading
    asia: Loading
    annual_vol: Annotated[float, Meta(ge=0, le=0.5)]  # of its own part: sd of the log value over a year
    peg: str  # the currency that it follows, or empty
    peg_band: Annotated[float, Meta(ge=0, le=0.2)]  # farthest from the peg, in log; 0: no bound


class Pair(msgspec.Struct, frozen=True):
    """A currency pair, "base/quote": its rate is the base's value in units of the quote."""

    pair: Annotated[str, Meta(pattern=r"^[A-Z]{3}/[A-Z]{3}$")]
    decimals: Annotated[int, Meta(ge=0, le=6)]
    spread_pips: Annotated[float, Meta(ge=0.01, le=10_000)]  # as it is on an ordinary day
    share: Positive  # of the forex feed, in any unit

    @property
    def base(self) -> str:
        """The code of the currency that is priced."""
        return self.pair[:3]

    @property
    def quote(self) -> str:
        """The code of the currency that it is priced in."""
        return self.pair[4:]

    @property
    def spread_ticks(self) -> float:
        """The ordinary spread in units of the last decimal, of which a pip has ten."""
        return 10 * self.spread_pips


class Stock(msgspec.Struct, frozen=True):
    """A stock: `beta` is its share in the market's moves, `annual_vol` that of its own moves."""

    symbol: Symbol
    name: Text
    sector: Text
    price: Annotated[float, Meta(ge=0.01, le=1_000_000)]  # the middle around which it moves
    beta: Annotated[float, Meta(ge=-3, le=4)]
    annual_vol: Annotated[float, Meta(ge=0, le=1)]
    share: Positive  # of the stock feed, in any unit
    exchange: str = "XNYS"  # ISO 10383 code, one of hours.EXCHANGES
    decimals: Annotated[int, Meta(ge=0, le=6)] = 2
    spread_bp: Annotated[float, Meta(ge=0.01, le=1000)] = 4.0  # hundredths of a percent of the price
    lot: Annotated[int, Meta(ge=1, le=100_000)] = 100
    invented: Literal["yes", "no"] = "no"

    @property
    def spread_ticks(self) -> float:
        """The ordinary spread at the reference price, in units of the last decimal."""
        return self.price * self.spread_bp * 1e-4 * float(10**self.decimals)

    @property
    def real(self) -> bool:
        """Whether there may be such a company: then nothing but neutral news is made up about it."""
        return self.invented == "no"


class Headline(msgspec.Struct, frozen=True):
    """A template of news for sentiments from `low` to `high`; `{slots}` are filled from the phrases."""

    category: Annotated[str, Meta(pattern=r"^[a-z]{1,32}$")]  # "macro" is about currencies, others stocks
    low: Annotated[float, Meta(ge=-1, le=1)]
    high: Annotated[float, Meta(ge=-1, le=1)]
    text: Text


class Phrase(msgspec.Struct, frozen=True):
    """One of the texts that may stand in a slot."""

    slot: Annotated[str, Meta(pattern=r"^[a-z_]{1,32}$")]
    text: Text


Row = TypeVar("Row", bound=msgspec.Struct)


class Table(NamedTuple, Generic[Row]):
    """The rows of a file, and where each of them stands, for errors."""

    rows: tuple[Row, ...]
    places: tuple[str, ...]


def read(file: Traversable, row_type: type[Row]) -> Table[Row]:
    """The rows of a CSV file; UniverseError for the first thing that is wrong with it."""
    rows, places = [], []
    reader = csv.reader(io.StringIO(_text(file), newline=""), strict=True)
    try:
        columns = _columns(f"{file}", next(reader, []), row_type)
        for cells in reader:
            if cells:  # blank lines are no rows
                places.append(f"{file} line {reader.line_num}")
                rows.append(_row(places[-1], columns, cells, row_type))
    except csv.Error as error:
        raise UniverseError(f"universe: {file} line {reader.line_num}: is not CSV ({error})") from None
    if not rows:
        raise UniverseError(f"universe: {file} has no rows; it needs at least one below its header")
    return Table(tuple(rows), tuple(places))


def _text(file: Traversable) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(BYTES_MAX + 1)
    except OSError as error:
        raise UniverseError(f"universe: cannot read {file}: {error.strerror}") from None
    if len(content) > BYTES_MAX:
        raise UniverseError(f"universe: {file} is larger than {BYTES_MAX >> 20} MB")
    try:
        return content.decode("utf-8-sig")  # as spreadsheets write it
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UniverseError(f"universe: {file} line {line}: is not UTF-8 text") from None


def _columns(file: str, header: list[str], row_type: type[msgspec.Struct]) -> list[str]:
    """The header's names, when they are the row type's: those without a default all, and no others."""
    columns = [name.strip() for name in header]
    known = [field.name for field in fields(row_type)]
    missing = [field.name for field in fields(row_type) if field.required and field.name not in columns]
    other = [name for name in columns if name not in known]
    if missing:
        fault = f"column {missing[0]} is missing"
    elif other:
        fault = f"there is no column {other[0]!r}"
    elif len(set(columns)) < len(columns):
        fault = "a column is there twice"
    else:
        return columns
    raise UniverseError(f"universe: {file} line 1: {fault}; the columns are {','.join(known)}")


def _row(place: str, columns: list[str], cells: list[str], row_type: type[Row]) -> Row:
    if len(cells) != len(columns):
        raise UniverseError(f"universe: {place}: has {len(cells)} cells, not {len(columns)} as its header")
    for column, cell in zip(columns, cells, strict=True):
        if not cell.isprintable():
            raise UniverseError(f"universe: {place}: {column} has characters that cannot be printed")
    optional = {field.name for field in fields(row_type) if not field.required}
    given = {
        column: cell.strip()
        for column, cell in zip(columns, cells, strict=True)
        if cell.strip() or column not in optional
    }
    try:
        return msgspec.convert(given, row_type, strict=False)
    except msgspec.ValidationError as error:
        reason, _, column = str(error).replace("`", "").partition(" - at $.")
        reason = re.sub(r"^Expected (str|float|int)\b", _words, reason)
        raise UniverseError(f"universe: {place}: {column} = {given[column][:80]!r}: {reason}") from None


def _words(match: re.Match[str]) -> str:
    kinds = {"str": "text", "float": "a number", "int": "a whole number"}
    return f"expected {kinds[match[1]]}"
