"""The table `instruments` as a universe: what `tickerd db seed` puts there and operators edit.

A row has the columns of the universe's files (market/catalogue.py); a cell without a value has the default
of those. Rows that do not fit are a `UniverseError` that names the instrument. How news is worded stays with
the files.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import fields
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tickerd.market.catalogue import Currency, Pair, Stock, UniverseError
from tickerd.market.universe import Universe
from tickerd.store.tables import instruments

Entry = TypeVar("Entry", Currency, Pair, Stock)


class Kind(NamedTuple):
    """A kind of instrument: its type, the field that holds its symbol, the file that its rows are of."""

    row_type: type[Currency] | type[Pair] | type[Stock]
    symbol: str
    file: str


KINDS = {
    "currency": Kind(Currency, "code", "currencies.csv"),
    "pair": Kind(Pair, "pair", "pairs.csv"),
    "stock": Kind(Stock, "symbol", "stocks.csv"),
}


async def read(connection: AsyncConnection, name: str) -> Sequence[Mapping[str, Any]]:
    """The rows of the universe `name` that are switched on, in the order of the catalogue.

    None of them only where it has no rows at all: UniverseError when all are switched off.
    """
    order = (instruments.c.position.is_(None), instruments.c.position, instruments.c.symbol)
    wanted = select(instruments).where(instruments.c.universe == name).order_by(*order)
    rows = [dict(row) for row in (await connection.execute(wanted)).mappings()]
    active = [row for row in rows if row["active"]]
    if rows and not active:
        raise UniverseError(
            f"universe: instruments: no instrument of {name!r} is switched on; set active = true for some"
        )
    return active


def universe_of(rows: Sequence[Mapping[str, Any]], base: Universe) -> Universe:
    """The universe of these rows, with the wording of `base`; UniverseError when they do not fit."""
    converted = {kind: [_entry(kind, row) for row in rows if row["kind"] == kind] for kind in KINDS}
    places = {
        each.file: [f"instruments: {kind} {row['symbol']}" for row in rows if row["kind"] == kind]
        for kind, each in KINDS.items()
    }
    places |= {"headlines.csv": ["headlines.csv"] * len(base.headlines)}
    places |= {"phrases.csv": ["phrases.csv"] * len(base.phrases)}
    currencies, pairs, stocks = converted.values()
    return Universe(currencies, pairs, stocks, base.headlines, base.phrases, places)


def _entry(kind: str, row: Mapping[str, Any]) -> Any:
    row_type, symbol, _ = KINDS[kind]
    place = f"universe: instruments: {kind} {str(row['symbol'])[:40]!r}"
    given = {}
    for field in fields(row_type):
        value = row["symbol"] if field.name == symbol else row[field.name]
        if value is None and kind == "currency" and field.name == "peg":
            value = ""
        if value is None:
            if field.required:
                raise UniverseError(f"{place}: {field.name} is missing")
            continue
        if isinstance(value, str) and (not value.isprintable() or value != value.strip()):
            raise UniverseError(
                f"{place}: {field.name} has characters that cannot be printed, or spaces around"
            )
        given[field.name] = value
    try:
        return msgspec.convert(given, row_type)
    except msgspec.ValidationError as error:
        reason, _, column = str(error).replace("`", "").partition(" - at $.")
        reason = re.sub(r"^Expected (str|float|int)\b", _words, reason)
        raise UniverseError(f"{place}: {column} = {str(given[column])[:80]!r}: {reason}") from None


def _words(match: re.Match[str]) -> str:
    return f"expected {({'str': 'text', 'float': 'a number', 'int': 'a whole number'})[match[1]]}"


class Seeded(NamedTuple):
    """What `seed` found and did."""

    added: int
    there: int


async def seed(connection: AsyncConnection, name: str, universe: Universe) -> Seeded:
    """Add the instruments of the universe `name` that are missing; those that are there stay as they are."""
    known = select(instruments.c.symbol).where(instruments.c.universe == name)
    there = set((await connection.scalars(known)).all())
    rows = [
        {"universe": name, "kind": kind, "position": position, "active": True} | _cells(kind, entry)
        for kind, entries in zip(KINDS, (universe.currencies, universe.pairs, universe.stocks), strict=True)
        for position, entry in enumerate(entries)
    ]
    missing = [row for row in rows if row["symbol"] not in there]
    for kind in KINDS:  # rows of one statement have the same columns
        same = [row for row in missing if row["kind"] == kind]
        if same:
            await connection.execute(insert(instruments), same)
    return Seeded(len(missing), len(there))


def _cells(kind: str, entry: msgspec.Struct) -> dict[str, Any]:
    cells = dict(_items(entry))
    return {"symbol": cells.pop(KINDS[kind].symbol)} | cells


def _items(entry: msgspec.Struct) -> Iterable[tuple[str, Any]]:
    return zip(entry.__struct_fields__, msgspec.structs.astuple(entry), strict=True)
