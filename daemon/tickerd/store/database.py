"""One database while the daemon runs: its engine, its version, what is read from it and written to it.

Every method may raise one of `connection.ERRORS`; what follows from that is store.py's business.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from sqlalchemy import URL, Connection, inspect, text

from tickerd.market.universe import Universe
from tickerd.settings import Settings
from tickerd.store import catalogue, retention, writing
from tickerd.store.connection import address, check_place, engine_of, shown, tokens
from tickerd.store.faults import Fault, FileError, SchemaError, fault_of
from tickerd.store.migrations import upgrade
from tickerd.store.reading import DatabaseHistory
from tickerd.store.stretches import Stretch
from tickerd.store.tables import SCHEMA

WRITE_S = 10.0  # the longest that a piece may take, lost connections included

log = logging.getLogger(__name__)


class Database:
    """The database of the settings; `market` says whose rows are read. `open` connects to nothing yet."""

    def __init__(self, settings: Settings, state: Path, market: Callable[[], str] = lambda: "") -> None:
        self._settings, self._market = settings, market
        self.url = address(settings, state)
        self.shown = shown(self.url)
        self._stack = AsyncExitStack()
        self._file: tuple[int, int] | None = None  # device and inode of the embedded file when it was checked

    async def open(self) -> None:
        """Have an engine; AddressError when the settings are wrong."""
        token = await self._stack.enter_async_context(tokens(self._settings, self.url))
        self.engine = engine_of(self._settings, self.url, token)
        self._stack.push_async_callback(self.engine.dispose)
        self.history = DatabaseHistory(self.engine, self._market)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._stack.aclose()

    async def disconnect(self) -> None:
        """Forget all connections: the next ones look up the host anew, which after a fail-over is another."""
        await self.engine.dispose()

    def fault(self, error: BaseException) -> Fault:
        """What an error means, for people."""
        return fault_of(error, self.shown)

    @property
    def embedded(self) -> bool:
        """Whether it is a file of this host's own."""
        return self.url.get_backend_name() == "sqlite"

    async def check(self) -> None:
        """SchemaError unless the tables are this version's; a file of our own is led there first."""
        async with asyncio.timeout(WRITE_S):
            if self.embedded:
                await self.disconnect()  # from whatever file lay there before
            version = await self.version()
            if self.embedded and (version is None or version < SCHEMA):
                await self.upgrade()
                _protect(Path(str(self.url.database)))
                version = await self.version()
            if self.embedded:
                self._file = await asyncio.to_thread(_identity, self.url)
        if version != SCHEMA:
            found = f"has version {version} of the tables" if version else "has no tables yet"
            remedy = "run `tickerd db upgrade`"
            if version and version > SCHEMA:
                remedy = "it was upgraded by a newer tickerd: install that one"
            raise SchemaError(f"database {self.shown}: {found}, this tickerd needs {SCHEMA}; {remedy}")

    async def check_file(self) -> None:
        """FileError when the embedded file is no more the one that `check` saw.

        SQLite would go on writing to a file that nobody finds any more.
        """
        if not self.embedded:
            return
        found = await asyncio.to_thread(_identity, self.url)
        if found is None or found != self._file:
            raise FileError(
                "no_database",
                f"database {self.shown}: the file was removed or replaced while it was in use; "
                "whatever lies there now is opened, or a new one made",
            )

    async def version(self) -> str | None:
        """The migration that the database is at; None where there are no tables."""
        if self.embedded:
            await asyncio.to_thread(check_place, self.url)
        async with self.engine.connect() as connection:
            if not await connection.run_sync(_has_versions):
                return None
            found: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
            return found

    async def upgrade(self) -> None:
        """Lead the tables to this version."""
        async with self.engine.connect() as connection:
            await connection.run_sync(upgrade)
            await connection.commit()

    async def universe(self, name: str, base: Callable[[], Universe]) -> Universe | None:
        """The universe `name` as its rows say; None where there are none. UniverseError: they do not fit."""
        if await self.version() is None:
            return None
        async with self.engine.connect() as connection:
            rows = await catalogue.read(connection, name)
        return await asyncio.to_thread(lambda: catalogue.universe_of(rows, base())) if rows else None

    async def seed(self, name: str, universe: Universe) -> catalogue.Seeded:
        """Add the instruments of a universe that are missing."""
        async with self.engine.begin() as connection:
            return await catalogue.seed(connection, name, universe)

    async def held(self, market: str, until_ms: int) -> writing.Held | None:
        """The snapshots of a market that are stored, of this moment or before."""
        async with asyncio.timeout(WRITE_S), self.engine.connect() as connection:
            return await writing.held(connection, market, until_ms)

    async def store(self, stretch: Stretch) -> dict[str, int]:
        """Store all of a stretch, or nothing; the rows that were new, by table."""
        async with asyncio.timeout(WRITE_S):
            return await writing.store(self.engine, stretch)

    async def remove_older(self, before_ms: int) -> None:
        """Remove all rows from before a moment."""
        await retention.remove_older(self.engine, before_ms)


def _identity(url: URL) -> tuple[int, int] | None:
    """Device and inode of SQLite's file; None where there is none."""
    try:
        found = Path(str(url.database)).stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _protect(file: Path) -> None:
    file.chmod(0o640)  # as all else in the state directory


def _has_versions(connection: Connection) -> bool:
    return inspect(connection).has_table("alembic_version")
