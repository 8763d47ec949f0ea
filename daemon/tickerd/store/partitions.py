"""PostgreSQL's partitions of a day: made before they are needed, dropped when they are too old.

Hosts that share the database agree by one of its advisory locks, and never wait long for a table's.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tickerd.store.stretches import DAY_MS
from tickerd.store.tables import PARTITIONED

PARTITIONS_LOCK = 7_310_002
AHEAD_DAYS = 2
LOCK_NOT_AVAILABLE = "55P03"  # SQLSTATE
# Readers come and go. Whoever waits for a table's lock holds up those who come after, so nobody waits long.
MAKE_WAITS = "SET LOCAL lock_timeout = '1s'"
DROP_WAITS = "SET LOCAL lock_timeout = '200ms'"


async def make_partitions(connection: AsyncConnection, times_ms: Sequence[int]) -> None:
    """Make what is missing for these times and the days after them, in a transaction of its own."""
    first, last = _day(times_ms[0]), _day(times_ms[-1])
    days = [first + timedelta(days=n) for n in range((last - first).days + 1 + AHEAD_DAYS)]
    there = set(await _partitions(connection))
    missing = [(table.name, day) for day in days for table in PARTITIONED if (table.name, day) not in there]
    try:
        if missing:
            await _make(connection, missing)
        await connection.commit()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", "") != LOCK_NOT_AVAILABLE or missing[0][1] <= last:
            raise
        await connection.rollback()  # none of them is needed yet: there is another time


async def _make(connection: AsyncConnection, missing: Sequence[tuple[str, date]]) -> None:
    await connection.execute(text(MAKE_WAITS))
    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": PARTITIONS_LOCK})
    for table, day in missing:
        create = (
            f"CREATE TABLE IF NOT EXISTS {_name(table, day)} PARTITION OF {table} "
            f"FOR VALUES FROM ('{day}T00:00Z') TO ('{day + timedelta(days=1)}T00:00Z')"
        )
        await connection.execute(text(create))


async def drop_partitions(engine: AsyncEngine, before_ms: int) -> int:
    """Drop those of which all rows are older; how many. None while another host is at it."""
    dropped = 0
    async with engine.begin() as connection:
        if not await connection.scalar(
            text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": PARTITIONS_LOCK}
        ):
            return 0
        await connection.execute(text(DROP_WAITS))
        for table, day in await _partitions(connection):
            if (day - date(1970, 1, 1)).days * DAY_MS + DAY_MS <= before_ms:
                await connection.execute(text(f"DROP TABLE {_name(table, day)}"))
                dropped += 1
    return dropped


async def _partitions(connection: AsyncConnection) -> list[tuple[str, date]]:
    """Tables and days, of the partitions that this program has made."""
    found = await connection.execute(
        text(
            "SELECT parent.relname, child.relname FROM pg_inherits "
            "JOIN pg_class parent ON parent.oid = inhparent JOIN pg_class child ON child.oid = inhrelid "
            "WHERE inhparent = ANY (ARRAY[CAST(:forex AS regclass), CAST(:stock AS regclass)]) "
            "ORDER BY child.relname"
        ),
        {"forex": PARTITIONED[0].name, "stock": PARTITIONED[1].name},
    )
    named = [(table, name.removeprefix(f"{table}_")) for table, name in found]
    return [(table, date.fromisoformat(day)) for table, day in named if day.isdigit() and len(day) == 8]


def _name(table: str, day: date) -> str:
    return f"{table}_{day:%Y%m%d}"


def _day(ms: int) -> date:
    return datetime.fromtimestamp(ms / 1000, UTC).date()
