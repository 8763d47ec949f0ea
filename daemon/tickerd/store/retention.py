"""Takes away what is older than `database.keep_days`: whole partitions, or rows in slices.

A slice is small enough that the writer of the same file waits for some milliseconds only.
"""

import asyncio

from sqlalchemy import Table, delete, select, tuple_
from sqlalchemy import func as sql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tickerd.store.partitions import drop_partitions
from tickerd.store.tables import OF_MARKET, stock_news_feed

SLICE_ROWS = 5_000
BETWEEN_S = 0.05


async def remove_older(engine: AsyncEngine, before_ms: int) -> None:
    """Remove all rows from before this moment, of whichever market."""
    if engine.dialect.name == "postgresql":
        await drop_partitions(engine, before_ms)
        async with engine.begin() as connection:
            await connection.execute(delete(stock_news_feed).where(stock_news_feed.c.time < before_ms))
        return
    for table in OF_MARKET:
        market = ""
        while (market := await _next_market(engine, table, market)) != "":
            deleted = SLICE_ROWS
            while deleted == SLICE_ROWS:
                deleted = await _delete_slice(engine, table, market, before_ms)
                await asyncio.sleep(BETWEEN_S if deleted else 0)


async def _next_market(engine: AsyncEngine, table: Table, after: str) -> str:
    """The first market after this one that has rows; found by the primary key, not by looking at all rows."""
    async with engine.connect() as connection:
        found = await connection.scalar(select(sql.min(table.c.market)).where(table.c.market > after))
    return found or ""


async def _delete_slice(engine: AsyncEngine, table: Table, market: str, before_ms: int) -> int:
    key = tuple_(*table.primary_key.columns)
    oldest = (
        select(*table.primary_key.columns)
        .where(table.c.market == market, table.c.time < before_ms)
        .order_by(table.c.time)
        .limit(SLICE_ROWS)
    )
    async with engine.connect() as connection:
        await _begin(connection)
        deleted = await connection.execute(delete(table).where(key.in_(oldest)))
        await connection.commit()
    return deleted.rowcount


async def _begin(connection: AsyncConnection) -> None:
    # Its driver begins by reading, and a reader whose rows have changed since may not write any more.
    await connection.exec_driver_sql("BEGIN IMMEDIATE")
