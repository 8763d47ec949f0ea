"""Prices, rates, news and the catalogue of instruments.

What was shipped stays as it is here: later changes are migrations of their own.
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the four tables and their indices."""
    postgresql = op.get_bind().dialect.name == "postgresql"

    def text(length: int | None = None) -> sa.String:
        return sa.String(length, collation="C") if postgresql else sa.String(length)

    time = sa.DateTime(timezone=True) if postgresql else sa.BigInteger()
    _of_market("forex_exchange_rates", text, time, "currency_pair", "rate")
    _of_market(
        "stock_prices", text, time, "stock_symbol", "price", sa.Column("size", sa.Integer, nullable=False)
    )
    op.create_table(
        "stock_news_feed",
        sa.Column("market", text(16), nullable=False),
        sa.Column("story_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("stock_symbol", text(32), nullable=False),
        sa.Column("news_item", sa.String, nullable=False),
        sa.Column("category", sa.String(32), nullable=False),
        sa.Column("sentiment", sa.Double, nullable=False),
        sa.Column("time", time, nullable=False),
        sa.PrimaryKeyConstraint("market", "story_id", name="stock_news_feed_pk"),
        sqlite_with_rowid=False,
    )
    op.create_index("stock_news_feed_market_time", "stock_news_feed", ["market", "time"])
    op.create_index("stock_news_feed_stock_symbol_time", "stock_news_feed", ["stock_symbol", "time"])
    doubles = ("share", "annual_vol", "usd_value", "europe", "commodity", "asia", "peg_band", "spread_pips")
    op.create_table(
        "instruments",
        sa.Column("universe", text(), nullable=False),
        sa.Column("symbol", text(32), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("active", sa.Boolean, nullable=False, server_default="1"),
        *[sa.Column(name, sa.Integer) for name in ("position", "decimals", "minor_unit", "lot")],
        *[sa.Column(name, sa.Double) for name in (*doubles, "price", "beta", "spread_bp")],
        *[sa.Column(name, sa.String(200)) for name in ("name", "sector")],
        sa.Column("session", sa.String(16)),
        sa.Column("exchange", sa.String(4)),
        *[sa.Column(name, sa.String(3)) for name in ("peg", "invented")],
        sa.CheckConstraint("kind IN ('currency', 'pair', 'stock')", name="instruments_kind"),
        sa.PrimaryKeyConstraint("universe", "symbol", name="instruments_pk"),
    )


def _of_market(
    name: str,
    text: Callable[[int], sa.String],
    time: sa.types.TypeEngine[Any],
    instrument: str,
    value: str,
    *more: sa.Column[Any],
) -> None:
    op.create_table(
        name,
        sa.Column("market", text(16), nullable=False),
        sa.Column("time", time, nullable=False),
        sa.Column(instrument, text(32), nullable=False),
        sa.Column(value, sa.Double, nullable=False),
        *more,
        sa.Column("bid", sa.Double, nullable=False),
        sa.Column("ask", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("market", "time", instrument, name=f"{name}_pk"),
        postgresql_partition_by="RANGE (time)",
        sqlite_with_rowid=False,
    )
    op.create_index(f"{name}_{instrument}_time", name, [instrument, "time"])
    if op.get_bind().dialect.name == "postgresql":
        op.create_index(f"{name}_time_brin", name, ["time"], postgresql_using="brin")
