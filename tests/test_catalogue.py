"""The catalogue in the database: seeded, edited, refused, kept for when the database is down."""

import asyncio
import signal
from pathlib import Path

import pytest

from databases import AnyDatabase, run
from postgres import PostgreSQL
from tickerd.market.universe import Universe, UniverseError
from tickerd.settings import Settings
from tickerd.store.catalogue import Seeded
from tickerd.store.store import Store

EDITS = {
    "switched off": "UPDATE instruments SET active = false WHERE symbol = 'QRVA'",
    "another price": "UPDATE instruments SET price = 250.5 WHERE symbol = 'QRVA'",
    "another weight": "UPDATE instruments SET share = 3.25 WHERE symbol = 'EUR/USD'",
    "a new stock": """INSERT INTO instruments
        (universe, symbol, kind, name, sector, price, beta, annual_vol, share, invented)
        VALUES ('default', 'ZZNEW', 'stock', 'Zeta New', 'Technology', 12.5, 1.1, 0.3, 1, 'yes')""",
}

FAULTS = {
    "UPDATE instruments SET price = -3 WHERE symbol = 'QRVA'": "'QRVA': price = '-3.0': expected a number >=",
    "UPDATE instruments SET price = NULL WHERE symbol = 'QRVA'": "stock 'QRVA': price is missing",
    "UPDATE instruments SET exchange = 'NOWH' WHERE symbol = 'QRVA'": "QRVA: exchange = 'NOWH': expected one",
    "UPDATE instruments SET active = false WHERE symbol = 'EUR'": "DKK is pegged to EUR, which is no listed",
    "UPDATE instruments SET active = false": "no instrument of 'default' is switched on; set active = true",
    "UPDATE instruments SET session = 'moon' WHERE symbol = 'EUR'": "currency 'EUR': session = 'moon'",
    "UPDATE instruments SET name = ' Padded' WHERE symbol = 'QRVA'": "stock 'QRVA': name has",
    "UPDATE instruments SET active = false WHERE kind = 'stock'": "at least one row each",
}


async def seed(database: AnyDatabase) -> Seeded:
    async with database.opened() as opened:
        return await opened.seed("default", Universe.load())


async def catalogued(database: AnyDatabase, settings: Settings | None = None) -> tuple[str, Universe]:
    """`market.universe` as the daemon would have it, and what is there."""
    store = Store(database.settings(), database.directory)
    try:
        found = await store.catalogued(settings or database.settings())
    finally:
        await store.aclose()
    return store.catalogue, Universe.load(found.market.universe)


def test_seeding_adds_what_is_missing_and_changes_nothing_else(database: AnyDatabase) -> None:
    async def story() -> None:
        universe = Universe.load()
        rows = len(universe.instruments)
        assert await seed(database) == (rows, 0)
        await asyncio.to_thread(database.rows, EDITS["another price"])
        await asyncio.to_thread(database.rows, "DELETE FROM instruments WHERE symbol = 'EUR/USD'")
        assert await seed(database) == (1, rows - 1)
        prices = await asyncio.to_thread(database.rows, "SELECT price FROM instruments WHERE symbol = 'QRVA'")
        assert prices == [(250.5,)]

    run(story())


def test_what_nobody_edited_is_the_universe_of_the_settings(database: AnyDatabase) -> None:
    async def story() -> None:
        assert (await catalogued(database))[0] == "settings"
        await seed(database)
        where, universe = await catalogued(database)
        assert (where, universe.digest) == ("settings", Universe.load().digest)
        assert not (database.directory / "catalogue").exists()

    run(story())


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_makes_another_universe_and_leaves_the_rest_as_it_was(
    database: AnyDatabase, edit: str
) -> None:
    async def story() -> None:
        await seed(database)
        await asyncio.to_thread(database.rows, EDITS[edit])
        where, universe = await catalogued(database)
        before = Universe.load()
        assert where == "database"
        assert universe.digest != before.digest
        assert (universe.headlines, universe.phrases) == (before.headlines, before.phrases)
        changed = set(universe.stocks) ^ set(before.stocks) | set(universe.pairs) ^ set(before.pairs)
        assert {getattr(row, "symbol", getattr(row, "pair", "")) for row in changed} <= {
            "QRVA",
            "EUR/USD",
            "ZZNEW",
        }
        assert 1 <= len(changed) <= 2

    run(story())


@pytest.mark.parametrize("fault", FAULTS)
def test_rows_that_do_not_fit_are_refused_with_a_line_that_names_them(
    database: AnyDatabase, fault: str
) -> None:
    async def story() -> None:
        await seed(database)
        await asyncio.to_thread(database.rows, fault)
        with pytest.raises(UniverseError) as refused:
            await catalogued(database)
        assert FAULTS[fault] in str(refused.value)
        assert "\n" not in str(refused.value)

    run(story())


def test_rows_that_do_not_fit_at_the_start_leave_the_last_catalogue_that_did(
    database: AnyDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        await seed(database)
        await asyncio.to_thread(database.rows, EDITS["a new stock"])
        _, last = await catalogued(database)
        await asyncio.to_thread(database.rows, "UPDATE instruments SET price = 0 WHERE symbol = 'ZZNEW'")
        store = Store(database.settings(), database.directory)
        settings = await store.catalogued_at_start(database.settings())
        await store.aclose()
        assert Universe.load(settings.market.universe).digest == last.digest
        assert store.catalogue == "kept"
        assert "stock 'ZZNEW': price = '0.0'" in caplog.text

    run(story())


@pytest.mark.parametrize("lost", ["the rows", "the tables", "the database"])
@pytest.mark.parametrize("at", ["a start", "a reload"])
def test_a_catalogue_that_is_lost_leaves_the_last_one_and_says_so(
    database: AnyDatabase, caplog: pytest.LogCaptureFixture, at: str, lost: str
) -> None:
    async def story() -> None:
        await seed(database)
        await asyncio.to_thread(database.rows, EDITS["a new stock"])
        _, last = await catalogued(database)
        if lost == "the rows":
            await asyncio.to_thread(database.rows, "DELETE FROM instruments")
        elif lost == "the tables":
            await asyncio.to_thread(database.rows, "DROP TABLE alembic_version")
            await asyncio.to_thread(database.rows, "DROP TABLE instruments")
        elif database.server:
            database.url = database.server.create(f"{database.name}_anew")
        else:
            database.file.unlink()
        caplog.clear()
        for _ in range(2):  # and the kept one is not forgotten by that
            store = Store(database.settings(), database.directory)
            take = store.catalogued if at == "a reload" else store.catalogued_at_start
            settings = await take(database.settings())
            await store.aclose()
            assert Universe.load(settings.market.universe).digest == last.digest
            assert store.describe()["catalogue"] == "kept"
        warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert len(warnings) == 2
        assert "has no instruments of default any more, the last catalogue" in warnings[0]
        assert "`tickerd db seed`" in warnings[0]

    run(story())


def test_a_url_that_is_wrong_leaves_the_last_catalogue(database: AnyDatabase) -> None:
    async def story() -> None:
        await seed(database)
        await asyncio.to_thread(database.rows, EDITS["a new stock"])
        _, last = await catalogued(database)
        wrong = database.settings("database.url=postgresql://h:99999/d")
        store = Store(wrong, database.directory)
        settings = await store.catalogued_at_start(wrong)
        await store.aclose()
        assert Universe.load(settings.market.universe).digest == last.digest

    run(story())


def test_seeding_what_was_lost_leads_back_to_the_universe_of_the_settings(database: AnyDatabase) -> None:
    async def story() -> None:
        await seed(database)
        await asyncio.to_thread(database.rows, EDITS["a new stock"])
        assert (await catalogued(database))[0] == "database"
        await asyncio.to_thread(database.rows, "DELETE FROM instruments")
        await seed(database)
        assert (await catalogued(database))[0] == "settings"
        await asyncio.to_thread(database.rows, "DELETE FROM instruments")
        assert (await catalogued(database))[0] == "settings"

    run(story())


def test_the_rows_of_another_universe_do_not_matter(database: AnyDatabase) -> None:
    async def story() -> None:
        await seed(database)
        await asyncio.to_thread(database.rows, EDITS["switched off"])
        where, universe = await catalogued(database, database.settings("market.universe=large"))
        assert (where, universe.digest) == ("settings", Universe.load("large").digest)

    run(story())


def test_while_the_database_is_down_the_last_catalogue_holds(tmp_path: Path) -> None:
    server = PostgreSQL()
    database = AnyDatabase(tmp_path, server)

    async def story() -> None:
        await seed(database)
        await asyncio.to_thread(database.rows, EDITS["switched off"])
        _, last = await catalogued(database)
        server.stop()
        where, universe = await catalogued(database)
        assert (where, universe.digest) == ("kept", last.digest)
        server.start()
        server.freeze(signal.SIGSTOP)  # it takes connections and says nothing
        try:
            where, universe = await catalogued(database)
        finally:
            server.freeze(signal.SIGCONT)
        assert (where, universe.digest) == ("kept", last.digest)
        await asyncio.to_thread(database.rows, "UPDATE instruments SET active = true")
        assert (await catalogued(database))[0] == "settings"
        server.stop()
        assert (await catalogued(database))[0] == "settings"

    try:
        run(story())
    finally:
        server.close()
