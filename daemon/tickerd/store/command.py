"""`tickerd db upgrade` and `tickerd db seed`: what is done to a database by hand."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from tickerd.config import state_directory
from tickerd.market.universe import Universe
from tickerd.settings import Settings
from tickerd.store.connection import ERRORS, check_place
from tickerd.store.database import Database
from tickerd.store.faults import AddressError
from tickerd.store.tables import SCHEMA


class DatabaseError(Exception):
    """The database cannot be used; the message is one line."""


def upgrade(settings: Settings) -> str:
    """Lead the tables to this version; what to tell."""
    return asyncio.run(_with_database(settings, _upgrade))


def seed(settings: Settings) -> str:
    """Add the instruments of `market.universe` that the database does not have; what to tell."""
    universe = Universe.load(settings.market.universe)

    async def add(database: Database) -> str:
        await database.check()
        name = settings.market.universe
        added, there = await database.seed(name, universe)
        return f"instruments of {name}: {added} added, {there} were there and stay as they are"

    return asyncio.run(_with_database(settings, add))


def look(settings: Settings) -> tuple[bool, str]:
    """Whether the daemon could use the database now, and a line that says so; nothing is written."""

    async def version(database: Database) -> str:
        if database.embedded and not Path(str(database.url.database)).exists():  # noqa: ASYNC240
            check_place(database.url)
            return f"database: {database.shown} is made when the daemon starts"
        if database.embedded and (await database.version() or "") < SCHEMA:
            return f"database: {database.shown} is led to version {SCHEMA} when the daemon starts"
        await database.check()
        return f"database: {database.shown} answers, its tables have version {SCHEMA}"

    try:
        return True, asyncio.run(_with_database(settings, version))
    except DatabaseError as error:
        return False, str(error)


async def _upgrade(database: Database) -> str:
    before = await database.version()
    if before is not None and before > SCHEMA:
        await database.check()  # which says what to do
    await database.upgrade()
    was = f"was {before}" if before else "had no tables"
    return f"database {database.shown}: the tables have version {SCHEMA}, it {was}"


async def _with_database(settings: Settings, work: Callable[[Database], Awaitable[str]]) -> str:
    if not settings.database.url:
        raise DatabaseError("database.url: is empty, so there is no database; set one")
    state = state_directory(settings)
    try:
        database = Database(settings, state)
        if database.embedded:
            state.mkdir(mode=0o750, parents=True, exist_ok=True)
        await database.open()
    except AddressError as error:
        raise DatabaseError(str(error)) from error
    try:
        return await work(database)
    except ERRORS as error:
        raise DatabaseError(database.fault(error).message) from error
    finally:
        await database.aclose()
