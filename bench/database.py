"""What does the database cost: one snapshot of all instruments written, and pages read out of many rows?

SQLite in a file and PostgreSQL on this machine, through the daemon's own code: snapshots one by one, then
pages of each kind among `--rows`. CPU is that of the client, and of PostgreSQL apart (`server_ms`).
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop
from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # who starts PostgreSQL

from databases import AnyDatabase, Told
from postgres import server
from recorded import record
from tickerd.history import Query
from tickerd.snapshots import Snapshots
from tickerd.store.database import Database
from tickerd.store.partitions import make_partitions
from tickerd.store.stretches import Wanted, made

MARKET = "0123456789abcdef"
EVERY_MS = 60_000
LAST_MS = 1_795_694_400_000
AT_ONCE = 60  # minutes copied by one statement
PRICED = (
    ("forex_exchange_rates", "currency_pair", "rate, bid, ask"),
    ("stock_prices", "stock_symbol", "price, size, bid, ask"),
)
COPY = {
    "postgresql": "INSERT INTO {table} (market, time, {instrument}, {columns}) "
    "SELECT market, time - make_interval(mins => n), {instrument}, {columns} "
    "FROM {table}, generate_series(CAST(:first AS integer), CAST(:end AS integer) - 1) n "
    "WHERE market = :market AND time = to_timestamp(CAST(:last AS double precision) / 1000) "
    "ORDER BY 2, 3",
    "sqlite": "INSERT INTO {table} (market, time, {instrument}, {columns}) "
    "WITH RECURSIVE minutes(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM minutes WHERE n < :end - 1) "
    "SELECT market, time - n * 60000, {instrument}, {columns} FROM {table}, minutes "
    "WHERE market = :market AND time = :last ORDER BY 2, 3",
}


async def write_one_by_one(
    database: Database, snapshots: Snapshots, count: int, server_s: Callable[[], float]
) -> dict[str, float]:
    """CPU of one snapshot, the making of it apart; and how long it takes."""
    made_s = stored_s = took_s = 0.0
    before_s = server_s()
    for number in range(count):
        ms = LAST_MS + (number + 1) * EVERY_MS
        began_s = time.process_time()
        stretch = made(snapshots, MARKET, Wanted(range(ms, ms + 1), ms - EVERY_MS, 0))
        made_s += time.process_time() - began_s
        began_s, then_s = time.process_time(), time.monotonic()
        await database.store(stretch)
        stored_s += time.process_time() - began_s
        took_s += time.monotonic() - then_s
    return {
        "made_ms": round(made_s / count * 1000, 2),
        "stored_ms": round(stored_s / count * 1000, 2),
        "server_ms": round((server_s() - before_s) / count * 1000, 2),
        "took_ms": round(took_s / count * 1000, 2),
    }


async def fill(database: Database, snapshots: Snapshots, rows: int) -> int:
    """So many rows of prices and rates, up to LAST_MS, and the stories; how many snapshots that are.

    All snapshots have the numbers of the last one, copied by the database itself.
    """
    count = -(-rows // (len(snapshots.pairs) + len(snapshots.stocks)))
    stories_after_ms = LAST_MS - count * EVERY_MS
    await database.store(made(snapshots, MARKET, Wanted(range(LAST_MS, LAST_MS + 1), stories_after_ms, 0)))
    copy = COPY[database.engine.dialect.name]
    for first in range(1, count, AT_ONCE):
        end = min(first + AT_ONCE, count)
        async with database.engine.connect() as connection:
            if not database.embedded:
                await make_partitions(connection, [LAST_MS - end * EVERY_MS, LAST_MS])
            for table, instrument, columns in PRICED:
                statement = copy.format(table=table, instrument=instrument, columns=columns)
                await connection.execute(
                    text(statement), {"market": MARKET, "first": first, "end": end, "last": LAST_MS}
                )
            await connection.commit()
    return count


async def read(
    database: Database, snapshots: Snapshots, count: int, pages: int, server_s: Callable[[], float]
) -> None:
    """Pages of each kind from random times; one row of results a kind."""
    chance = random.Random(1)
    first_ms = LAST_MS - (count - 1) * EVERY_MS
    kinds: dict[str, Callable[[int], Query]] = {
        "an instrument's hour": lambda ms: Query(
            "stock", chance.choice(snapshots.stocks), ms, ms + 60 * EVERY_MS, 60
        ),
        "an instrument, 500 rows": lambda ms: Query(
            "forex", chance.choice(snapshots.pairs), ms, LAST_MS, 500
        ),
        "all stocks of a minute": lambda ms: Query("stock", None, ms, ms + EVERY_MS, 500),
        "all feeds, 500 rows": lambda ms: Query(None, None, ms, LAST_MS, 500),
        "news of a day": lambda ms: Query("news", None, ms, ms + 1440 * EVERY_MS, 500),
    }
    for kind, query in kinds.items():
        took: list[float] = []
        rows = 0
        client_s, server_before_s = time.process_time(), server_s()
        for _ in range(pages):
            ms = first_ms + chance.randrange(max(1, count - 500)) * EVERY_MS
            began_s = time.monotonic()
            page = await database.history.page(query(ms))
            took.append((time.monotonic() - began_s) * 1000)
            rows += page.rows.count
        took.sort()
        record(
            "database_reading",
            kind=kind,
            database=database.engine.dialect.name,
            stored=count * (len(snapshots.pairs) + len(snapshots.stocks)),
            rows_a_page=round(rows / pages),
            p50_ms=round(took[len(took) // 2], 2),
            p99_ms=round(took[len(took) * 99 // 100], 2),
            client_ms=round((time.process_time() - client_s) / pages * 1000, 2),
            server_ms=round((server_s() - server_before_s) / pages * 1000, 2),
        )


async def measure(database: AnyDatabase, count: int, rows: int, pages: int) -> None:
    """All of one database."""
    snapshots = Told(database.settings()).snapshots
    server_s = database.server.cpu_s if database.server else lambda: 0.0
    async with database.opened(market=MARKET) as opened:
        await write_one_by_one(opened, snapshots, 5, server_s)  # plans, caches, partitions
        cost = await write_one_by_one(opened, snapshots, count, server_s)
        instruments = len(snapshots.pairs) + len(snapshots.stocks)
        record("database_writing", database=database.kind, instruments=instruments, **cost)
        began_s = time.monotonic()
        snapshots_stored = await fill(opened, snapshots, rows)
        print(f"  {rows:,} rows filled in {time.monotonic() - began_s:.0f} s", flush=True)
        if database.server:
            await asyncio.to_thread(database.rows, "ANALYZE")
        await read(opened, snapshots, snapshots_stored, pages, server_s)


def main() -> None:
    """Measure both, and print their rows."""
    parser = argparse.ArgumentParser(description="the database: writing a snapshot, reading pages")
    parser.add_argument("--snapshots", type=int, default=200, help="written one by one")
    parser.add_argument("--rows", type=int, default=10_000_000, help="of which pages are read (PostgreSQL)")
    parser.add_argument("--sqlite-rows", type=int, default=1_000_000, help="the same (SQLite)")
    parser.add_argument("--pages", type=int, default=300)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, server() as postgres:
        databases = ((None, chosen.sqlite_rows), (postgres, chosen.rows))
        for running, rows in databases:
            database = AnyDatabase(Path(directory), running)
            uvloop.run(measure(database, chosen.snapshots, rows, chosen.pages))


if __name__ == "__main__":
    main()
