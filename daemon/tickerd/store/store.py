"""The supervisor's side of the database: when it is opened, written and given up for a while, and how it is.

Streaming never waits for it. What is to be written is made from the market itself, from the last stored
snapshot on: nothing queues up while the database is away, and what is missing is filled in afterwards.
"""

import asyncio
import contextlib
import importlib
import logging
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tickerd.checkpoint import Recipe
from tickerd.checks import redacted
from tickerd.history import HistoryUnavailableError, Page, Query
from tickerd.market.catalogue import UniverseError
from tickerd.market.universe import Universe
from tickerd.recipe import market_digest, market_of
from tickerd.settings import Settings
from tickerd.snapshots import Snapshots
from tickerd.store import kept
from tickerd.store.condition import Condition
from tickerd.store.faults import AddressError
from tickerd.store.stretches import DAY_MS, made, wanted

if TYPE_CHECKING:
    from tickerd.store.database import Database
    from tickerd.store.writing import Held

START_S = 4.0  # that the start of the daemon, or a reload, waits for the catalogue
CLOSE_S = 3.0
PAUSE_MIN_S, PAUSE_MAX_S = 0.1, 10.0  # between attempts to come back
JITTER_MAX_S = 2.0  # hosts that share a database do not all come at once
RETENTION_EVERY_S, RETENTION_AGAIN_S = 3600.0, 10.0
FILL_REST = 1.0  # while filling in, so much rest for the time that a piece took

log = logging.getLogger(__name__)

MarketNow = Callable[[], tuple[Recipe, Universe]]


class Told(NamedTuple):
    """A market, by its digest, as it is written."""

    recipe: Recipe
    digest: str
    snapshots: Snapshots


class Store:
    """The database of these settings. `follow` begins the work, `aclose` ends it."""

    def __init__(self, settings: Settings, state: Path) -> None:
        self._settings, self._state_path = settings, state
        self._database: Database | None = None
        self._market: MarketNow | None = None
        self._told: Told | None = None
        self._task: asyncio.Task[None] | None = None
        self._errors: tuple[type[BaseException], ...] = ()
        self._remove_at_s = float("-inf")
        self.condition = Condition("waiting" if settings.database.url else "off")
        self.rows_written: Counter[str] = Counter()
        self.snapshots_written = 0
        self.snapshots_skipped = 0
        self.held: Held | None = None
        self.catalogue = "settings"

    def follow(self, market: MarketNow) -> None:
        """Begin: from now on the snapshots of that market are stored. `market` is asked again and again."""
        self._market = market
        if self._settings.database.url and self._task is None:
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._ended)

    async def aclose(self) -> None:
        """End the work and close the connections; what is not stored yet is filled in by the next start."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._task
        if self._database is not None:
            with contextlib.suppress(*self._errors):  # whoever does not answer is left
                async with asyncio.timeout(CLOSE_S):
                    await self._database.aclose()

    # What is read.

    def holds_until_ms(self, query: Query) -> int | None:
        """Before which moment the database has all that is asked for; None: it has not the begin of it."""
        held, begin_ms = self.held, query.from_ms
        if query.after is not None:
            begin_ms = max(begin_ms, query.after.ms)
        if self.condition.state != "up" or held is None:
            return None
        kept_ms = time.time_ns() // 1_000_000 - self._settings.database.keep_days * DAY_MS
        return held.last_ms + 1 if max(held.first_ms, kept_ms) <= begin_ms <= held.last_ms else None

    async def page(self, query: Query) -> Page:
        """A page of the market's past (history.py); HistoryUnavailableError while the database is not up."""
        if self.condition.state != "up" or self._database is None:
            raise HistoryUnavailableError(f"there is no database now ({self.condition.state}); see /status")
        return await self._database.history.page(query)

    def describe(self) -> dict[str, Any]:
        """What `/status` shows."""
        return {
            "state": self.condition.state,
            "message": self.condition.message,
            "since": _time(self.condition.since_s),
            "url": redacted(self._settings.database.url),
            "market": self._told.digest if self._told else None,
            "catalogue": self.catalogue,
            "first_snapshot": self.held and _time(self.held.first_ms / 1000),
            "last_snapshot": self.held and _time(self.held.last_ms / 1000),
            "rows_written": sum(self.rows_written.values()),
            "snapshots_skipped": self.snapshots_skipped,
        }

    # The catalogue.

    async def catalogued(self, settings: Settings) -> Settings:
        """The settings with the catalogue that the database has for `market.universe`, if it has its own.

        While the database is down, or has lost its rows: with the last one that it gave. UniverseError when
        its rows do not fit.
        """
        if not self._settings.database.url:
            return settings
        base = await asyncio.to_thread(Universe.load, settings.market.universe)
        return await self._catalogued(settings, base)

    async def _catalogued(self, settings: Settings, base: Universe) -> Settings:
        name = settings.market.universe
        try:
            database = await self._opened() if await asyncio.to_thread(self._may_have_catalogue) else None
            universe = None
            if database is not None:
                async with asyncio.timeout(START_S):
                    universe = await database.universe(name, lambda: base)
        except AddressError:  # which the work will tell about
            return self._with_kept(settings)
        except self._errors as error:
            assert self._database is not None
            self.condition.down(self._database.fault(error))
            return self._with_kept(settings)
        if universe is None:
            settings = self._with_kept(settings)
            if self.catalogue == "kept":
                log.warning(
                    "the database has no instruments of %s any more, the last catalogue that it gave is "
                    "used; `tickerd db seed` puts those of market.universe there",
                    name,
                )
            return settings
        own = universe if universe.digest != base.digest else None
        directory = await asyncio.to_thread(kept.keep, self._state_path, name, own)
        self.catalogue = "database" if directory else "settings"
        return kept.with_universe(settings, directory)

    def _with_kept(self, settings: Settings) -> Settings:
        """The settings with the last catalogue that the database gave; as they are where it never did."""
        directory = kept.last(self._state_path, settings.market.universe)
        self.catalogue = "kept" if directory else "settings"
        return kept.with_universe(settings, directory)

    async def catalogued_at_start(self, settings: Settings) -> Settings:
        """The same, but rows that do not fit are told in a line, and the last catalogue that did is taken."""
        if not self._settings.database.url:
            return settings
        try:
            base = await asyncio.to_thread(Universe.load, settings.market.universe)
        except (UniverseError, OSError):
            return settings  # whoever makes the market tells
        try:
            return await self._catalogued(settings, base)
        except (UniverseError, OSError) as error:
            settings = self._with_kept(settings)
            is_kept = self.catalogue == "kept"
            instead = "the last catalogue that did" if is_kept else "market.universe of the settings"
            log.error("the database's catalogue does not fit, %s is used: %s", instead, error)
            return settings

    def _may_have_catalogue(self) -> bool:
        """Whether it is worth opening: most SQLite files have no instruments, and a start is to be quick."""
        url = self._settings.database.url
        if not url.startswith("sqlite"):
            return True
        path = self._state_path / url.partition(":///")[2]
        if not path.is_file():
            return False
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=0.2)) as file:
                return file.execute("SELECT 1 FROM instruments LIMIT 1").fetchone() is not None
        except sqlite3.Error as error:
            return "no such table" not in str(error)

    # What is written.

    async def _run(self) -> None:
        pause_s = PAUSE_MIN_S
        try:
            database = await self._opened()
        except AddressError as error:
            self.condition.unusable(str(error))
            log.error("%s; the daemon goes on without a database", error)
            return
        while True:
            try:
                await database.check()
                self.condition.up()
                while True:
                    await self._write(database)
                    pause_s = PAUSE_MIN_S
                    await asyncio.sleep(self._until_next_s())
            except self._errors as error:
                self.condition.down(database.fault(error))
                with contextlib.suppress(*self._errors):
                    await database.disconnect()
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _opened(self) -> "Database":
        if self._database is None:
            # Imported here, so that neither a worker nor the daemon's start takes the time for it.
            for module in ("sqlalchemy.ext.asyncio", "tickerd.store.database"):
                await asyncio.to_thread(importlib.import_module, module)
            from tickerd.store.connection import ERRORS  # noqa: PLC0415
            from tickerd.store.database import Database  # noqa: PLC0415

            database = Database(
                self._settings, self._state_path, lambda: self._told.digest if self._told else ""
            )
            await database.open()
            self._database, self._errors = database, ERRORS
        return self._database

    async def _write(self, database: "Database") -> None:
        """Store what is due and not there, piece by piece; then what is too old goes."""
        every_ms = self._settings.database.snapshot_every_s * 1000
        keep_ms = self._settings.database.keep_days * DAY_MS
        while True:
            market = await self._market_now()
            await database.check_file()
            now_ms = time.time_ns() // 1_000_000
            self.held = await database.held(market.digest, now_ms)
            next_ = wanted(self.held and self.held.last_ms, now_ms, every_ms, keep_ms)
            if not next_.times_ms:
                break
            began_s = time.monotonic()
            stretch = await asyncio.to_thread(made, market.snapshots, market.digest, next_)
            self.rows_written.update(await database.store(stretch))
            self.snapshots_written += len(next_.times_ms)
            if next_.skipped:
                self.snapshots_skipped += next_.skipped
                log.warning(
                    "%d snapshots are older than database.keep_days and are not stored", next_.skipped
                )
            await asyncio.sleep(FILL_REST * (time.monotonic() - began_s))
        if time.monotonic() >= self._remove_at_s:
            await self._remove(database, now_ms - keep_ms)

    async def _remove(self, database: "Database", before_ms: int) -> None:
        """Remove what is too old; tables that somebody reads for long are left for later."""
        self._remove_at_s = time.monotonic() + RETENTION_AGAIN_S
        try:
            await database.remove_older(before_ms)
        except self._errors as error:
            fault = database.fault(error)
            if fault.code != "locked":
                raise
            self.condition.errors[fault.code] += 1
            return
        self._remove_at_s = time.monotonic() + RETENTION_EVERY_S

    async def _market_now(self) -> Told:
        """The market that is generated now; made anew when it is another one."""
        assert self._market is not None
        recipe, universe = self._market()
        if self._told is None or self._told.recipe != recipe:
            self.held = None
            market = await asyncio.to_thread(market_of, recipe, universe)
            digest = market_digest(recipe, self._settings.database.snapshot_every_s)
            self._told = Told(recipe, digest, Snapshots(market))
        return self._told

    def _until_next_s(self) -> float:
        """Until the next snapshot is due, and a little more."""
        every_s = self._settings.database.snapshot_every_s
        return every_s - time.time() % every_s + random.uniform(0, min(JITTER_MAX_S, every_s / 4))

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("the work on the database ended by a bug of tickerd", exc_info=task.exception())
            self.condition.unusable("ended by a bug of tickerd; see the log")


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
