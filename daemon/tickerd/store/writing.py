"""Puts rows into the tables in bulk, one transaction a stretch: all of it is stored, or nothing.

Rows that are there already, written by another host or before an acknowledgement was lost, stay as they are.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Table, select, text
from sqlalchemy import func as sql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tickerd.store.partitions import make_partitions
from tickerd.store.stretches import Columns, Stretch
from tickerd.store.tables import OF_MARKET, Milliseconds, moment, stock_prices


class Held(NamedTuple):
    """The first and the last stored snapshot; all between them are stored too, as are the stories."""

    first_ms: int
    last_ms: int


async def held(connection: AsyncConnection, market: str, until_ms: int) -> Held | None:
    """The snapshots of a market that are stored, up to `until_ms`; None: there are none.

    Later ones, of a host whose clock is ahead, do not count.
    """
    these = (stock_prices.c.market == market, stock_prices.c.time <= until_ms)
    # Apart, so that each is a look at one end of the primary key.
    last: int | None = await connection.scalar(select(sql.max(stock_prices.c.time)).where(*these))
    if last is None:
        return None
    first: int | None = await connection.scalar(select(sql.min(stock_prices.c.time)).where(*these))
    return Held(last if first is None else first, last)


async def store(engine: AsyncEngine, stretch: Stretch) -> dict[str, int]:
    """Store a stretch; how many rows were new, by table."""
    new = {}
    async with engine.connect() as connection:
        postgresql = engine.dialect.name == "postgresql"
        if postgresql:
            await make_partitions(connection, stretch.times_ms)
        else:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
        for table, rows in zip(OF_MARKET, (stretch.forex, stretch.stock, stretch.news), strict=True):
            insert = _copy if postgresql else _insert_or_ignore
            new[table.name] = await insert(connection, table, rows) if rows else 0
        await connection.commit()
    return new


async def _insert_or_ignore(connection: AsyncConnection, table: Table, rows: Sequence[Columns]) -> int:
    driver: Any = (await connection.get_raw_connection()).driver_connection
    marks = ", ".join("?" * len(table.columns))
    statement = f"INSERT OR IGNORE INTO {table.name} VALUES ({marks})"  # noqa: S608 - no text of others
    cursor = await driver.executemany(statement, rows)
    new: int = cursor.rowcount
    await cursor.close()
    return new


async def _copy(connection: AsyncConnection, table: Table, rows: Sequence[Columns]) -> int:
    """By COPY into a temporary table: COPY itself knows no conflicts."""
    incoming = f"incoming_{table.name}"
    create = f"CREATE TEMPORARY TABLE {incoming} (LIKE {table.name}) ON COMMIT DROP"
    await connection.execute(text(create))  # and with it the transaction begins
    driver: Any = (await connection.get_raw_connection()).driver_connection
    at = next(n for n, column in enumerate(table.columns) if isinstance(column.type, Milliseconds))
    records = [(*row[:at], moment(row[at]), *row[at + 1 :]) for row in rows]  # type: ignore[arg-type]
    await driver.copy_records_to_table(incoming, records=records)
    insert = f"INSERT INTO {table.name} SELECT * FROM {incoming} ON CONFLICT DO NOTHING"  # noqa: S608
    result = await connection.execute(text(insert))
    return result.rowcount
