"""PostgreSQL's partitions of a day: made before they are needed, dropped when they are too old.

Hosts that share the database agree by one of its advisory locks, and never wait long for a table's.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tickerd.store.stretches import DAY_MS
from tickerd.store.tables import PARTITIONED

PARTITIONS_LOCK = 7_310_002
AHEAD_DAYS = 2
LOCK_TIMEOUT = (
    "SET LOCAL lock_timeout = '1s'"  # readers come and go; whoever holds a table longer is let go on
)

log = logging.getLogger(__name__)


async def make_partitions(connection: AsyncConnection, times_ms: Sequence[int]) -> None:
    """Make what is missing for these times and the days after them, in a transaction of its own."""
    first = _day(times_ms[0])
    days = [first + timedelta(days=n) for n in range((_day(times_ms[-1]) - first).days + 1 + AHEAD_DAYS)]
    there = set(await _partitions(connection))
    missing = [(table.name, day) for day in days for table in PARTITIONED if (table.name, day) not in there]
    if missing:
        await connection.execute(text(LOCK_TIMEOUT))
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": PARTITIONS_LOCK})
        for table, day in missing:
            create = (
                f"CREATE TABLE IF NOT EXISTS {_name(table, day)} PARTITION OF {table} "
                f"FOR VALUES FROM ('{day}T00:00Z') TO ('{day + timedelta(days=1)}T00:00Z')"
            )
            await connection.execute(text(create))
    await connection.commit()


async def drop_partitions(engine: AsyncEngine, before_ms: int) -> int:
    """Drop those of which all rows are older; how many. None while another host is at it."""
    dropped = 0
    async with engine.begin() as connection:
        if not await connection.scalar(
            text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": PARTITIONS_LOCK}
        ):
            return 0
        await connection.execute(text(LOCK_TIMEOUT))
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
