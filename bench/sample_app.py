"""The way that samples of such a server are written: Flask, SQLAlchemy's ORM and SQLite, asked every time.

Not a bench: bench/http_ratio.py runs it under gunicorn and holds tickerd's `/logs` against it.
`SAMPLE_DATABASE` names the SQLite file, `SAMPLE_ROWS` the JSON that it is filled with: a body of `/logs`.
"""

import json
import os
from pathlib import Path
from typing import Any

from flask import Flask, jsonify
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    """The tables."""


class ForexExchangeRate(Base):
    """A row of the forex feed."""

    __tablename__ = "forex_exchange_rates"
    id: Mapped[int] = mapped_column(primary_key=True)
    currency_pair: Mapped[str]
    rate: Mapped[float]
    bid: Mapped[float]
    ask: Mapped[float]
    time: Mapped[str]


class StockPrice(Base):
    """A row of the stock feed."""

    __tablename__ = "stock_prices"
    id: Mapped[int] = mapped_column(primary_key=True)
    stock_symbol: Mapped[str]
    price: Mapped[float]
    size: Mapped[int]
    bid: Mapped[float]
    ask: Mapped[float]
    time: Mapped[str]


class StockNews(Base):
    """A row of the news feed."""

    __tablename__ = "stock_news_feed"
    id: Mapped[int] = mapped_column(primary_key=True)
    stock_symbol: Mapped[str]
    news_item: Mapped[str]
    category: Mapped[str]
    sentiment: Mapped[float]
    story_id: Mapped[int]
    time: Mapped[str]


TABLES: dict[str, type[Base]] = {
    table.__tablename__: table for table in (ForexExchangeRate, StockPrice, StockNews)
}


def create_app() -> Flask:
    """The application, its database filled."""
    engine = create_engine(f"sqlite:///{os.environ['SAMPLE_DATABASE']}")
    Base.metadata.create_all(engine)
    rows = json.loads(Path(os.environ["SAMPLE_ROWS"]).read_text())
    with Session(engine) as session:
        for name, table in TABLES.items():
            session.add_all(table(**row) for row in rows[name])
        session.commit()
    app = Flask(__name__)
    app.json.sort_keys = False  # type: ignore[attr-defined]

    @app.get("/logs")
    def logs() -> Any:
        with Session(engine) as session:
            return jsonify({name: _rows(session, table) for name, table in TABLES.items()})

    return app


def _rows(session: Session, table: type[Base]) -> list[dict[str, Any]]:
    fields = [column.name for column in table.__table__.columns if column.name != "id"]
    return [{field: getattr(row, field) for field in fields} for row in session.scalars(select(table))]
