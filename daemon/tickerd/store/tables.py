"""The tables, for both kinds of database, and their version.

Rows are the market's, not copies of records: no source, no seq, and a primary key that lets hosts share one
database. What the tables were made of in the order of time stands in migrations/.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Double,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    TypeDecorator,
)

SCHEMA = "0001"
"""The newest migration: what `tickerd db upgrade` leads to, and what this version reads and writes."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(ms: int) -> datetime:
    """Milliseconds since 1970 as PostgreSQL's driver wants them."""
    return EPOCH + timedelta(milliseconds=ms)


class Milliseconds(TypeDecorator[int]):
    """Milliseconds since 1970: `timestamptz` in PostgreSQL, an integer in SQLite."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """The type of the column."""
        kind = DateTime(timezone=True) if dialect.name == "postgresql" else BigInteger()
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """What the driver is given."""
        return value if value is None or dialect.name != "postgresql" else moment(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """What it gave."""
        if value is None or dialect.name != "postgresql":
            return value  # type: ignore[no-any-return]
        return (value - EPOCH) // timedelta(milliseconds=1)  # type: ignore[no-any-return]


def text(length: int | None = None) -> Any:
    """Text that sorts by its bytes, so that pages are cut in the same places everywhere."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "ck": "%(table_name)s_%(constraint_name)s",
    }
)


def _of_market(name: str, instrument: str, *columns: Column[Any]) -> Table:
    """A table of what an instrument is worth; of a day in each partition, where there are such."""
    table = Table(
        name,
        metadata,
        Column("market", text(16), nullable=False),  # recipe.py: market_digest
        Column("time", Milliseconds, nullable=False),
        Column(instrument, text(32), nullable=False),
        *columns,
        PrimaryKeyConstraint("market", "time", instrument),
        postgresql_partition_by="RANGE (time)",
        sqlite_with_rowid=False,
    )
    Index(None, table.c[instrument], table.c.time)
    # Of long stretches across all instruments a day's few pages of it say where they are.
    Index(f"{name}_time_brin", table.c.time, postgresql_using="brin").ddl_if(dialect="postgresql")
    return table


forex_exchange_rates = _of_market(
    "forex_exchange_rates",
    "currency_pair",
    Column("rate", Double, nullable=False),
    Column("bid", Double, nullable=False),
    Column("ask", Double, nullable=False),
)

stock_prices = _of_market(
    "stock_prices",
    "stock_symbol",
    Column("price", Double, nullable=False),
    Column("size", Integer, nullable=False),
    Column("bid", Double, nullable=False),
    Column("ask", Double, nullable=False),
)

stock_news_feed = Table(
    "stock_news_feed",
    metadata,
    Column("market", text(16), nullable=False),
    Column("story_id", BigInteger, nullable=False, autoincrement=False),
    Column("stock_symbol", text(32), nullable=False),
    Column("news_item", String, nullable=False),
    Column("category", String(32), nullable=False),
    Column("sentiment", Double, nullable=False),
    Column("time", Milliseconds, nullable=False),
    PrimaryKeyConstraint("market", "story_id"),
    sqlite_with_rowid=False,
)
Index(None, stock_news_feed.c.market, stock_news_feed.c.time)
Index(None, stock_news_feed.c.stock_symbol, stock_news_feed.c.time)

instruments = Table(
    "instruments",
    metadata,
    # `market.universe` of the settings: hosts with different ones share a database.
    Column("universe", text(), nullable=False),
    Column("symbol", text(32), nullable=False),
    Column(
        "kind", String(8), CheckConstraint("kind IN ('currency', 'pair', 'stock')", "kind"), nullable=False
    ),
    Column("active", Boolean, nullable=False, server_default="1"),
    Column("position", Integer),  # in the order of the catalogue; those without one come last, by symbol
    # What the universe's files have in their columns; which of them a kind has, market/catalogue.py says.
    Column("name", String(200)),
    Column("share", Double),
    Column("decimals", Integer),
    Column("annual_vol", Double),
    Column("minor_unit", Integer),
    Column("usd_value", Double),
    Column("session", String(16)),
    Column("europe", Double),
    Column("commodity", Double),
    Column("asia", Double),
    Column("peg", String(3)),
    Column("peg_band", Double),
    Column("spread_pips", Double),
    Column("sector", String(200)),
    Column("price", Double),
    Column("beta", Double),
    Column("exchange", String(4)),
    Column("spread_bp", Double),
    Column("lot", Integer),
    Column("invented", String(3)),
    PrimaryKeyConstraint("universe", "symbol"),
)

PARTITIONED = (forex_exchange_rates, stock_prices)
OF_MARKET = (*PARTITIONED, stock_news_feed)
"""The tables that the writer fills."""
