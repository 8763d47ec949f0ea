"""A database of either kind for a test, SQLite in a file or PostgreSQL, and a store at its work."""

import asyncio
import contextlib
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from postgres import PostgreSQL
from tickerd.config import load
from tickerd.market.universe import Universe
from tickerd.recipe import market_of, recipe_of
from tickerd.settings import Settings
from tickerd.snapshots import Snapshots
from tickerd.store.database import Database
from tickerd.store.store import Store

TABLES = ("forex_exchange_rates", "stock_prices", "stock_news_feed")
MINUTE_MS = 60_000


class AnyDatabase:
    """One database: its URL, and what stands in it."""

    def __init__(self, directory: Path, server: PostgreSQL | None) -> None:
        self.directory, self.server = directory, server
        self.name = f"test_{uuid.uuid4().hex[:12]}"
        self.url = server.create(self.name) if server else "sqlite:///history.db"

    @property
    def kind(self) -> str:
        return "postgresql" if self.server else "sqlite"

    @property
    def file(self) -> Path:
        return self.directory / "history.db"

    def settings(self, *sets: str) -> Settings:
        """Settings with this database, the file lying in the directory."""
        ours = [f"database.url={self.url}", f"state.directory={self.directory}"]
        return load(None, [*ours, *sets], {}).settings

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What a statement answers; what it changes is committed."""
        if self.server:
            return self.server.rows(self.name, statement)
        with contextlib.closing(sqlite3.connect(self.file, timeout=5)) as file:
            rows = file.execute(statement).fetchall()
            file.commit()
            return rows

    def count(self, table: str) -> int:
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608

    def times_ms(self, table: str = "stock_prices") -> list[int]:
        """The snapshots that are there, each once."""
        time = "CAST(extract(epoch FROM time) * 1000 AS bigint)" if self.server else "time"
        return [row[0] for row in self.rows(f"SELECT DISTINCT {time} FROM {table} ORDER BY 1")]  # noqa: S608

    @contextlib.asynccontextmanager
    async def opened(self, *sets: str, market: str = "") -> AsyncIterator[Database]:
        """The database as the daemon opens it, with its tables."""
        database = Database(self.settings(*sets), self.directory, lambda: market)
        await database.open()
        try:
            if database.embedded:
                await database.check()
            elif await database.version() is None:
                await database.upgrade()
            yield database
        finally:
            await database.aclose()


class Told:
    """The market of some settings, as the supervisor tells it to the store."""

    def __init__(self, settings: Settings) -> None:
        self.universe = Universe.load(settings.market.universe)
        self.recipe = recipe_of(settings, self.universe)
        self.snapshots = Snapshots(market_of(self.recipe, self.universe))

    def __call__(self) -> Any:
        return self.recipe, self.universe


@contextlib.asynccontextmanager
async def following(settings: Settings, state: Path) -> AsyncIterator[Store]:
    """A store at its work."""
    store = Store(settings, state)
    store.follow(Told(settings))
    try:
        yield store
    finally:
        await store.aclose()


async def until(what: str, holds: Callable[[], object], within_s: float = 60.0) -> None:
    """Wait until it holds; asked in a thread, as it may wait for a lock of the store that it asks about."""
    deadline = time.monotonic() + within_s
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, f"{what} did not come"
        await asyncio.sleep(0.02)


def run(story: Coroutine[Any, Any, None]) -> None:
    """On an event loop as the daemon's."""
    uvloop.run(story)
