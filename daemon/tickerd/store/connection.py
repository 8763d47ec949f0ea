"""Connections to the database of the settings: where it is, how it is spoken to, what it may take.

SQLite in WAL mode; PostgreSQL by asyncpg, its certificate and name checked where `database.tls_ca_file` is
set, with a token of the instance's role for each new connection where `database.iam` is.
"""

import contextlib
import re
import sqlite3
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tickerd.checks import escaped, redacted
from tickerd.settings import Settings
from tickerd.store.faults import AddressError, FileError, SchemaError, TokenError

CONNECT_S = 3.0
STATEMENT_S = 5.0
BUSY_S = 2.0  # that SQLite waits for another writer
READERS_MAX = 4
RECYCLE_S = 1800

ERRORS = (
    *(SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, sqlite3.Error),
    *(OSError, TimeoutError, FileError, SchemaError, TokenError),
)
"""What a database's trouble is raised as."""

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""What libpq's sslmode may be, and asyncpg's."""
VERIFYING = ("verify-ca", "verify-full")

Token = Callable[[], Awaitable[str]]


def address(settings: Settings, state: Path) -> URL:
    """The database of the settings; a relative path of SQLite lies in the state directory.

    AddressError when the URL can be no database's.
    """
    try:
        url = make_url(settings.database.url)
    except (ArgumentError, ValueError):
        raise AddressError(
            'database.url: is no URL such as "postgresql://user:password@host:5432/name"'
        ) from None
    if url.get_backend_name() == "sqlite":
        return url.set(drivername="sqlite+aiosqlite", database=str(state / (url.database or "")))
    unknown = sorted(set(url.query) - {"sslmode", "host"})
    if unknown:
        raise AddressError(f"database.url: there is no option {unknown[0]}; sslmode and host are known")
    mode = url.query.get("sslmode")
    if mode is not None and mode not in SSL_MODES:
        raise AddressError(
            f"database.url: sslmode = {str(mode)[:40]!r}: right is one of {', '.join(SSL_MODES)}"
        )
    if mode in VERIFYING and not settings.database.tls_ca_file:
        raise AddressError(
            f"database.url: sslmode = {mode!r} needs database.tls_ca_file, the path of the authorities; "
            "RDS: of its global-bundle.pem"
        )
    for port in _ports(url):
        if not 1 <= port <= 65_535:
            raise AddressError(f"database.url: port {port}: right is a number from 1 to 65535")
    return url.set(drivername="postgresql+asyncpg")


def _ports(url: URL) -> Iterator[int]:
    """All that the URL names: of its host, and of those that ?host= lists."""
    if url.port is not None:
        yield url.port
    for hosts in url.normalized_query.get("host", ()):
        for host in hosts.split(","):
            named = re.fullmatch(r"[^:]*:(-?\d+)", host)
            if named:
                yield int(named[1])


def check_place(url: URL) -> None:
    """FileError where SQLite could neither open nor make its file; looked at before a thread is begun."""
    file = Path(str(url.database))
    if file.is_dir():
        raise FileError("permission", f"database {file}: is a directory; database.url names a file")
    if not file.parent.is_dir():
        raise FileError("permission", f"database {file}: there is no directory {file.parent}; make it")


def shown(url: URL) -> str:
    """The address without its password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return redacted(url.render_as_string(hide_password=True).replace("+asyncpg", "", 1))


def engine_of(settings: Settings, url: URL, token: Token | None = None) -> AsyncEngine:
    """An engine with a connection for the writer and some for readers; nothing is opened yet.

    AddressError when the file of certificates cannot be used.
    """
    sizes = {"pool_size": READERS_MAX + 1, "max_overflow": 0, "pool_timeout": STATEMENT_S}
    if url.get_backend_name() == "sqlite":
        engine = create_async_engine(url, connect_args={"timeout": BUSY_S}, **sizes)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        return engine
    options: dict[str, Any] = {
        "timeout": CONNECT_S,
        "command_timeout": STATEMENT_S,
        "server_settings": {"application_name": "tickerd"},
    }
    mode = url.query.get("sslmode")
    if settings.database.tls_ca_file:
        options["ssl"] = _verifying(settings.database.tls_ca_file)
    elif mode:
        options["ssl"] = mode
    if token is not None:
        options["password"] = token
    url = url.difference_update_query(["sslmode"])
    return create_async_engine(url, connect_args=options, pool_recycle=RECYCLE_S, **sizes)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _verifying(file: str) -> ssl.SSLContext:
    """TLS as libpq's verify-full: the chain and the host's name."""
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or "is no PEM file"
        raise AddressError(
            f"database.tls_ca_file: {file} cannot be used ({reason}); RDS: the path of its global-bundle.pem"
        ) from None


@contextlib.asynccontextmanager
async def tokens(settings: Settings, url: URL) -> AsyncIterator[Token | None]:
    """What makes the password of each new connection, where `database.iam` asks for it.

    Signed here, by whatever credentials the AWS chain has then; a token lives for 15 minutes.
    """
    if not settings.database.iam:
        yield None
        return
    from aiobotocore.session import get_session  # noqa: PLC0415 - takes a while to import
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    host, port = url.host or "", url.port or 5432
    region = re.search(r"\.([a-z0-9-]+)\.rds\.amazonaws\.com(\.cn)?$", host)
    named = region[1] if region else settings.kinesis.region or None
    try:
        async with get_session().create_client("rds", region_name=named) as client:

            async def token() -> str:
                try:
                    made: str = await client.generate_db_auth_token(
                        DBHostname=host, Port=port, DBUsername=url.username or ""
                    )
                except BotoCoreError as error:
                    raise TokenError(f"database.iam: no token for {host}: {escaped(str(error))}") from error
                return made

            yield token
    except BotoCoreError as error:  # no region
        raise AddressError(f"database.iam: {escaped(str(error))}") from error
