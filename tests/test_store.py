"""The database, the same for SQLite and PostgreSQL: tables, what is written, what is read, what goes."""

import asyncio
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from databases import MINUTE_MS, TABLES, AnyDatabase, Told, following, run, until
from tickerd.computed import ComputedHistory
from tickerd.history import Cursor, HistoryUnavailableError, Query, Rows
from tickerd.recipe import market_digest
from tickerd.settings import Settings
from tickerd.snapshots import Snapshots
from tickerd.store.answering import Answers
from tickerd.store.connection import READERS_MAX
from tickerd.store.database import Database
from tickerd.store.faults import SchemaError
from tickerd.store.store import Store
from tickerd.store.stretches import DAY_MS, Wanted, made
from tickerd.store.tables import SCHEMA, metadata

HOUR_MS = 60 * MINUTE_MS
NOON_MS = 1_795_694_400_000  # 2026-11-26
MARKET = "0123456789abcdef"


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Snapshots:
    return Told(AnyDatabase(tmp_path_factory.mktemp("market"), None).settings()).snapshots


def market_of(settings: Settings) -> str:
    """What the rows of these settings are stored under."""
    return market_digest(Told(settings).recipe, settings.database.snapshot_every_s)


async def store_hours(database: Database, snapshots: Snapshots, hours: int, market: str = MARKET) -> None:
    """Hourly snapshots up to noon, and the stories between them."""
    for hour in range(1 - hours, 1):
        ms = NOON_MS + hour * HOUR_MS
        await database.store(made(snapshots, market, Wanted(range(ms, ms + 1), ms - HOUR_MS, 0)))


def differences(connection: Connection) -> Sequence[object]:
    """What the tables lack of those that the program knows; partitions and PostgreSQL's BRIN aside."""

    def ours(_item: object, name: str | None, *_: object) -> bool:
        brin = connection.dialect.name == "sqlite" and (name or "").endswith("_brin")
        return not brin and not (name or "")[-8:].isdigit()

    context = MigrationContext.configure(connection, opts={"include_object": ours, "compare_type": True})
    found: Sequence[object] = compare_metadata(context, metadata)
    return found


def test_the_migrations_lead_to_the_tables_that_the_program_knows(database: AnyDatabase) -> None:
    async def story() -> None:
        async with database.opened() as opened:
            assert await opened.version() == SCHEMA
            await opened.upgrade()  # again: nothing happens
            await opened.check()
            async with opened.engine.connect() as connection:
                assert await connection.run_sync(differences) == []

    run(story())


def test_tables_of_a_newer_version_are_refused_in_one_line(database: AnyDatabase) -> None:
    async def story() -> None:
        async with database.opened():
            pass
        database.rows("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(
            SchemaError, match=r"version 9999 of the tables, this tickerd needs 0001; it was upg"
        ):
            async with database.opened() as opened:
                await opened.check()

    run(story())


def test_what_is_stored_is_the_market_to_the_tick(database: AnyDatabase, snapshots: Snapshots) -> None:
    async def story() -> None:
        async with database.opened() as opened:
            new = await opened.store(
                made(snapshots, MARKET, Wanted(range(NOON_MS, NOON_MS + 1), NOON_MS - HOUR_MS, 0))
            )
            assert new["forex_exchange_rates"] == 79
            assert new["stock_prices"] == 500
        rows = snapshots.at(NOON_MS)
        forex = database.rows("SELECT currency_pair, rate, bid, ask FROM forex_exchange_rates")
        assert sorted(forex) == sorted(
            (row.currency_pair, row.rate, row.bid, row.ask) for row in rows.forex_exchange_rates
        )
        stocks = database.rows("SELECT stock_symbol, price, size, bid, ask FROM stock_prices")
        assert sorted(stocks) == sorted(
            (row.stock_symbol, row.price, row.size, row.bid, row.ask) for row in rows.stock_prices
        )

    run(story())


def test_each_story_is_stored_once(database: AnyDatabase, snapshots: Snapshots) -> None:
    async def story() -> None:
        async with database.opened() as opened:
            await store_hours(opened, snapshots, 24)
            await store_hours(opened, snapshots, 5)  # again
        told = snapshots.stories(NOON_MS - 24 * HOUR_MS + 1, NOON_MS + 1)
        assert len(told) > 100
        stored = database.rows(
            "SELECT story_id, stock_symbol, news_item, category, sentiment FROM stock_news_feed"
        )
        assert sorted(stored) == sorted(
            (row.story_id, row.stock_symbol, row.news_item, row.category, row.sentiment) for _, row in told
        )

    run(story())


def test_what_is_there_already_stays_and_is_not_counted_as_new(
    database: AnyDatabase, snapshots: Snapshots
) -> None:
    async def story() -> None:
        async with database.opened() as opened:
            stretch = made(snapshots, MARKET, Wanted(range(NOON_MS, NOON_MS + 1), NOON_MS - HOUR_MS, 0))
            first, again = await opened.store(stretch), await opened.store(stretch)
        assert set(again.values()) == {0}
        assert {table: database.count(table) for table in TABLES} == first

    run(story())


def test_what_is_missing_is_filled_in_from_the_last_snapshot_on(
    database: AnyDatabase, snapshots: Snapshots
) -> None:
    settings = database.settings("database.snapshot_every_s=5")
    market = market_of(settings)
    last_ms = (time.time_ns() // 1_000_000 - 150_000) // 5000 * 5000

    async def story() -> None:
        async with database.opened() as opened:
            await opened.store(
                made(snapshots, market, Wanted(range(last_ms, last_ms + 1), last_ms - 5000, 0))
            )
        async with following(settings, database.directory) as store:
            await until("thirty snapshots", lambda: store.snapshots_written >= 30)

    run(story())
    times = database.times_ms()
    assert times == list(range(last_ms, times[-1] + 1, 5000))
    assert len(times) > 30
    assert database.count("stock_prices") == 500 * len(times)
    told = snapshots.stories(last_ms - 4999, times[-1] + 1)
    assert database.count("stock_news_feed") == len(told)


def test_what_is_older_than_is_kept_is_neither_filled_in_nor_kept(
    database: AnyDatabase, snapshots: Snapshots
) -> None:
    settings = database.settings("database.snapshot_every_s=3600", "database.keep_days=1")
    market = market_of(settings)
    hour_ms = time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS
    old_ms = hour_ms - 72 * HOUR_MS

    async def story() -> None:
        async with database.opened() as opened:
            await opened.store(made(snapshots, market, Wanted(range(old_ms, old_ms + 1), old_ms - DAY_MS, 0)))
            await opened.store(
                made(snapshots, "another", Wanted(range(old_ms, old_ms + 1), old_ms - DAY_MS, 0))
            )
        async with following(settings, database.directory) as store:
            await until(
                "what is old to go",
                lambda: all(database.times_ms(table)[0] > old_ms for table in TABLES),
            )
            assert store.snapshots_skipped in {47, 48}
            assert store.condition.state == "up"

    run(story())
    times = database.times_ms()
    assert times[0] > hour_ms - 25 * HOUR_MS
    assert times == list(range(times[0], hour_ms + 1, HOUR_MS))
    assert database.times_ms("stock_news_feed")[0] >= hour_ms - DAY_MS


def test_hosts_share_a_database_without_doubled_or_missing_rows(
    database: AnyDatabase, snapshots: Snapshots
) -> None:
    settings = database.settings("database.snapshot_every_s=1")
    market = market_of(settings)
    last_ms = time.time_ns() // 1_000_000 // 1000 * 1000 - 60_000

    async def story() -> None:
        async with database.opened() as opened:
            await opened.store(
                made(snapshots, market, Wanted(range(last_ms, last_ms + 1), last_ms - 1000, 0))
            )
        async with following(settings, database.directory) as one:
            async with following(settings, database.directory) as other:
                await until("both to write", lambda: one.snapshots_written and other.snapshots_written)
                await until("all of it", lambda: one.snapshots_written + other.snapshots_written > 65)
                assert one.condition.state == other.condition.state == "up"
                new = one.rows_written + other.rows_written
        assert database.count("stock_prices") >= new["stock_prices"] + 500 - 2 * 8 * 500

    run(story())
    times = database.times_ms()
    assert times == list(range(last_ms, times[-1] + 1, 1000))
    assert database.count("stock_prices") == 500 * len(times)
    assert database.count("forex_exchange_rates") == 79 * len(times)


def test_snapshots_of_another_step_are_a_set_of_their_own(
    database: AnyDatabase, snapshots: Snapshots
) -> None:
    """So that what was stored every 20 s is not taken for all that is asked for at every 5 s."""
    coarse, fine = (database.settings(f"database.snapshot_every_s={step_s}") for step_s in (20, 5))
    now_ms = time.time_ns() // 1_000_000
    first_ms = now_ms // 20_000 * 20_000 - 120_000

    async def story() -> None:
        async with database.opened() as opened:
            times = range(first_ms, now_ms, 20_000)
            await opened.store(made(snapshots, market_of(coarse), Wanted(times, first_ms - 20_000, 0)))
        with ThreadPoolExecutor(1) as pool:
            for settings in (fine, coarse):
                step_s = settings.database.snapshot_every_s
                computed = ComputedHistory(pool, lambda: snapshots, step_s)
                async with following(settings, database.directory) as store:
                    answers = Answers(store, computed)
                    await until("what is held", lambda: store.condition.state == "up" and store.held)
                    for from_ms in (first_ms, now_ms - 30_000, now_ms - 3000):
                        query = Query("stock", "QRVA", from_ms, now_ms, 1000)
                        page, expected = await answers.page(query), await computed.page(query)
                        assert page == expected, query
                    assert store.describe()["market"] == market_of(settings)

    run(story())


def test_a_host_whose_clock_is_ahead_keeps_no_other_from_writing(
    database: AnyDatabase, snapshots: Snapshots
) -> None:
    settings = database.settings("database.snapshot_every_s=1")
    market = market_of(settings)
    ahead_ms = time.time_ns() // 1_000_000 // 1000 * 1000 + DAY_MS

    async def story() -> None:
        async with database.opened() as opened:
            await opened.store(
                made(snapshots, market, Wanted(range(ahead_ms, ahead_ms + 1), ahead_ms - 1000, 0))
            )
        async with following(settings, database.directory) as store:
            await until("three snapshots", lambda: store.snapshots_written >= 3)

    run(story())


# What is read.


def in_order(snapshots: Snapshots, hours: int) -> list[tuple[Cursor, object]]:
    """All that `store_hours` stores, made from the market itself."""
    rows: list[tuple[Cursor, object]] = []
    for hour in range(1 - hours, 1):
        ms = NOON_MS + hour * HOUR_MS
        at = snapshots.at(ms)
        rows += [(Cursor(ms, 0, row.currency_pair), row) for row in at.forex_exchange_rates]
        rows += [(Cursor(ms, 1, row.stock_symbol), row) for row in at.stock_prices]
    rows += [
        (Cursor(ms, 2, f"{row.stock_symbol} {row.story_id:016}"), row)
        for ms, row in snapshots.stories(NOON_MS - hours * HOUR_MS + 1, NOON_MS + 1)
    ]
    return sorted(rows, key=lambda each: each[0])


def matching(rows: list[tuple[Cursor, object]], query: Query) -> list[tuple[Cursor, object]]:
    feeds = {"forex": 0, "stock": 1, "news": 2}
    return [
        (place, row)
        for place, row in rows
        if query.from_ms <= place.ms < query.to_ms
        and (query.feed is None or feeds[query.feed] == place.feed)
        and (query.instrument is None or place.name.partition(" ")[0] == query.instrument)
        and (query.after is None or place > query.after)
    ]


def shown(chosen: Sequence[tuple[Cursor, object]]) -> Rows:
    return Rows(*[[row for place, row in chosen if place.feed == feed] for feed in range(3)])  # type: ignore[arg-type]


def test_pages_are_what_the_market_says_wherever_they_are_cut(
    database: AnyDatabase, snapshots: Snapshots
) -> None:
    rows = in_order(snapshots, 4)
    chance = random.Random(7)

    async def story() -> None:
        async with database.opened(market=MARKET) as opened:
            await store_hours(opened, snapshots, 4)
            await store_hours(opened, snapshots, 2, market="of another seed")
            whole = await opened.history.page(Query(None, None, 0, 2 * NOON_MS, 10_000))
            assert whole == (shown(rows), None)
            for _ in range(150):
                place = chance.choice(rows)[0]
                query = Query(
                    chance.choice([None, "forex", "stock", "news"]),
                    chance.choice([None, None, place.name.partition(" ")[0], "EUR/USD", "NOSUCH"]),
                    NOON_MS - chance.randrange(5 * HOUR_MS),
                    NOON_MS + 1 - chance.choice([0, chance.randrange(3 * HOUR_MS)]),
                    chance.choice([1, 2, 78, 79, 80, 578, 579, 580, 2000]),
                    chance.choice([None, place, Cursor(NOON_MS - HOUR_MS, 1, "")]),
                )
                expected = matching(rows, query)
                page = await opened.history.page(query)
                assert page.rows == shown(expected[: query.limit]), query
                more = len(expected) > query.limit
                assert page.next == (expected[query.limit - 1][0] if more else None), query

    run(story())


def test_page_by_page_everything_comes_once(database: AnyDatabase, snapshots: Snapshots) -> None:
    rows = in_order(snapshots, 2)

    async def story() -> None:
        async with database.opened(market=MARKET) as opened:
            await store_hours(opened, snapshots, 2)
            query = Query(None, None, 0, 2 * NOON_MS, 97)
            forex, stocks, news = [], [], []
            while True:
                page = await opened.history.page(query)
                forex += page.rows.forex_exchange_rates
                stocks += page.rows.stock_prices
                news += page.rows.stock_news_feed
                if page.next is None:
                    break
                query = query._replace(after=page.next)
            assert Rows(forex, stocks, news) == shown(rows)

    run(story())


@pytest.mark.parametrize(
    "evil",
    [
        "'; DROP TABLE stock_prices; --",
        "x' OR '1'='1",
        "\\'; SELECT 1",
        "%",
        "EUR/USD\0",
        "\ud800",
        "🦀" * 5000,
    ],
)
def test_sql_in_parameters_is_a_name_that_no_instrument_has(
    database: AnyDatabase, snapshots: Snapshots, evil: str
) -> None:
    async def story() -> None:
        async with database.opened(market=MARKET) as opened:
            await store_hours(opened, snapshots, 1)
            query = Query(None, evil, 0, 2 * NOON_MS, 100)
            asked = [query, query._replace(instrument=None, after=Cursor(NOON_MS, 2, f"{evil} 12"))]
            for each in asked:
                page = await opened.history.page(each)
                assert not page.rows.forex_exchange_rates
                assert not page.rows.stock_prices

    run(story())
    assert database.count("stock_prices") == 500


@pytest.mark.parametrize("ms", [-(2**62), -1, 0, 2**53, 2**62, 10**30])
def test_absurd_times_are_times_at_which_nothing_was(
    database: AnyDatabase, snapshots: Snapshots, ms: int
) -> None:
    async def story() -> None:
        async with database.opened(market=MARKET) as opened:
            await store_hours(opened, snapshots, 1)
            page = await opened.history.page(Query(None, None, ms, ms + 1, 10))
            assert page.rows.count == 0

    run(story())


def test_many_readers_take_turns(database: AnyDatabase, snapshots: Snapshots) -> None:
    async def story() -> None:
        async with database.opened(market=MARKET) as opened:
            await store_hours(opened, snapshots, 1)
            query = Query(None, None, 0, 2 * NOON_MS, 100)
            pages = await asyncio.gather(*[opened.history.page(query) for _ in range(10 * READERS_MAX)])
            assert {page.rows.count for page in pages} == {100}

    run(story())


def test_without_a_database_history_says_so(database: AnyDatabase) -> None:
    async def story() -> None:
        store = Store(database.settings("database.url="), database.directory)
        with pytest.raises(HistoryUnavailableError, match="off"):
            await store.page(Query(None, None, 0, 1, 1))
        await store.aclose()

    run(story())


# The database and the market together.


def test_the_database_answers_what_it_holds_and_the_market_the_rest(
    database: AnyDatabase, snapshots: Snapshots
) -> None:
    settings = database.settings("database.snapshot_every_s=60")
    market = market_of(settings)
    now_ms = time.time_ns() // 1_000_000
    first_ms = now_ms // MINUTE_MS * MINUTE_MS - 30 * MINUTE_MS
    chance = random.Random(3)

    async def story() -> None:
        async with database.opened() as opened:
            await opened.store(
                made(snapshots, market, Wanted(range(first_ms, first_ms + 1), first_ms - MINUTE_MS, 0))
            )
        with ThreadPoolExecutor(1) as pool:
            computed = ComputedHistory(pool, lambda: snapshots, 60)
            async with following(settings, database.directory) as store:
                answers = Answers(store, computed)
                await until("all of it", lambda: store.snapshots_written >= 30 and store.held)
                await until("the last", lambda: store.held and store.held.last_ms > now_ms - MINUTE_MS)
                held_until_ms = store.held.last_ms + 1 if store.held else 0
                begin_ms = first_ms - 5 * MINUTE_MS
                for begins_ms, limit in ((begin_ms, 10), (first_ms, 10), (held_until_ms - 1, 579)):
                    asked = Query(None, None, begins_ms, now_ms + MINUTE_MS, limit)
                    holds = store.holds_until_ms(asked)
                    assert holds == (held_until_ms if begins_ms >= first_ms else None)
                for _ in range(60):
                    query = Query(
                        chance.choice([None, "forex", "stock", "news"]),
                        chance.choice([None, None, "EUR/USD", "QRVA"]),
                        begin_ms + chance.randrange(30 * MINUTE_MS),
                        chance.choice([now_ms + 3 * MINUTE_MS, now_ms, now_ms - 10 * MINUTE_MS]),
                        chance.choice([1, 7, 579, 1000]),
                    )
                    pages = 0
                    while query is not None and pages < 5:
                        page, expected = await answers.page(query), await computed.page(query)
                        assert page.rows == expected.rows, query
                        assert (page.next is None) == (expected.next is None), query
                        if page.next is None:
                            break
                        query = query._replace(after=page.next)
                        pages += 1

    run(story())
