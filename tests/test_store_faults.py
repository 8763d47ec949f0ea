"""What goes wrong with a database: each is one line without passwords, and none ends the work for good."""

import asyncio
import signal
import sqlite3
import ssl
import stat
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import event

from daemon import Host
from databases import AnyDatabase, Told, following, run, until
from postgres import CLEARTEXT_USER, PASSWORD, PASSWORD_IN_URL, USER, PostgreSQL
from tickerd.history import HistoryUnavailableError, Query
from tickerd.store.faults import CODES
from tickerd.store.store import Store
from tickerd.store.stretches import DAY_MS, Wanted, made

EVERY_SECOND = "database.snapshot_every_s=1"


@pytest.fixture
def sqlite(tmp_path: Path) -> AnyDatabase:
    return AnyDatabase(tmp_path, None)


@pytest.fixture
def postgresql(tmp_path: Path, postgres: PostgreSQL) -> AnyDatabase:
    return AnyDatabase(tmp_path, postgres)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[PostgreSQL]:
    """A server that the test may stop."""
    server = PostgreSQL()
    yield server
    server.close()


async def until_down(store: Store, code: str, *words: str) -> str:
    """Wait for the fault; its message is one line, names what is wrong and holds no password."""
    assert code in CODES
    await until(code, lambda: store.condition.state == "down" and store.condition.errors[code])
    message = store.condition.message
    assert all(word in message for word in words), message
    assert PASSWORD not in message
    assert PASSWORD_IN_URL not in message
    assert "\n" not in message
    with pytest.raises(HistoryUnavailableError, match="no database now"):
        await store.page(Query(None, None, 0, 1, 1))
    return message


def end_connections(database: AnyDatabase) -> None:
    """Have the server end all connections to the database but this one."""
    assert database.server
    database.server.rows(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
        database.name,
    )


async def until_up(store: Store) -> None:
    stored = store.snapshots_written
    await until("the database", lambda: store.condition.state == "up" and store.snapshots_written > stored)


# SQLite.


def test_a_file_that_another_program_has_locked_is_waited_for(sqlite: AnyDatabase) -> None:
    async def story() -> None:
        async with following(sqlite.settings(EVERY_SECOND), sqlite.directory) as store:
            await until_up(store)
            other = sqlite3.connect(sqlite.file, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            await until_down(store, "locked", str(sqlite.file), "another program")
            other.execute("ROLLBACK")
            other.close()
            await until_up(store)

    run(story())
    times = sqlite.times_ms()
    assert times == list(range(times[0], times[-1] + 1, 1000))


def test_a_full_disk_is_told_and_what_did_not_fit_comes_later(sqlite: AnyDatabase) -> None:
    async def story() -> None:
        async with following(sqlite.settings(EVERY_SECOND), sqlite.directory) as store:
            await until_up(store)
            pages = sqlite.rows("PRAGMA page_count")[0][0]

            database = store._database  # its file is made small
            assert database is not None

            def limit(pages: int) -> None:
                event.listen(
                    database.engine.sync_engine,
                    "begin",
                    lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}"),
                )

            limit(pages)
            await until_down(store, "full", "make room")
            limit(1_000_000)
            await until_up(store)

    run(story())
    times = sqlite.times_ms()
    assert times == list(range(times[0], times[-1] + 1, 1000))


def test_a_file_that_is_no_database_is_told(sqlite: AnyDatabase) -> None:
    sqlite.file.write_text("this is a letter, and no database, however long it may be" * 100)

    async def story() -> None:
        async with following(sqlite.settings(EVERY_SECOND), sqlite.directory) as store:
            await until_down(store, "other", "no SQLite database")
            sqlite.file.unlink()
            await until_up(store)

    run(story())


def test_a_directory_that_is_not_there_is_told(sqlite: AnyDatabase) -> None:
    directory = sqlite.directory / "later"

    async def story() -> None:
        settings = sqlite.settings(EVERY_SECOND, f"database.url=sqlite:///{directory}/history.db")
        async with following(settings, sqlite.directory) as store:
            await until_down(store, "permission", str(directory))
            directory.mkdir()
            await until_up(store)

    run(story())
    assert stat.S_IMODE((directory / "history.db").stat().st_mode) == 0o640


@pytest.mark.parametrize("files", ["history.db", "history.db*"])
def test_a_file_that_is_gone_while_it_is_in_use_is_told_and_made_anew(
    sqlite: AnyDatabase, files: str
) -> None:
    async def story() -> None:
        async with following(sqlite.settings(EVERY_SECOND), sqlite.directory) as store:
            await until_up(store)
            for file in sqlite.directory.glob(files):
                file.unlink()
            removed_ms = time.time_ns() // 1_000_000
            await until("the fault", lambda: store.condition.errors["no_database"])
            await until_up(store)
            await until_up(store)
            assert store.condition.errors.total() == 1
            assert store.held
            assert store.held.first_ms > removed_ms - 1000, "it says to hold what went with the file"

    run(story())
    times = sqlite.times_ms()
    assert times == list(range(times[0], times[-1] + 1, 1000))
    assert len(times) >= 2
    assert sqlite.rows("PRAGMA integrity_check") == [("ok",)]
    assert stat.S_IMODE(sqlite.file.stat().st_mode) == 0o640


def test_a_path_that_is_a_directory_is_told(sqlite: AnyDatabase) -> None:
    sqlite.file.mkdir()

    async def story() -> None:
        async with following(sqlite.settings(EVERY_SECOND), sqlite.directory) as store:
            await until_down(store, "permission", str(sqlite.file), "is a directory")
            sqlite.file.rmdir()
            await until_up(store)

    run(story())


@pytest.mark.parametrize(("path", "wrong"), [("", "is a directory"), ("/no/x.db", "there is no directory")])
@pytest.mark.parametrize("command", [["db", "upgrade"], ["db", "seed"]])
def test_a_path_that_cannot_be_a_file_is_one_line_of_the_command(
    host: Host, command: list[str], path: str, wrong: str
) -> None:
    url = f"database.url=sqlite:///{host.directory}{path}"
    ran = host.tickerd(*command, "--set", url, "--set", f"state.directory={host.state}")
    assert ran.returncode == 1
    assert wrong in ran.stderr
    assert len(ran.stderr.splitlines()) == 1, ran.stderr


# PostgreSQL.


@pytest.mark.parametrize(
    ("url", "told"),
    {
        "postgresql://h:99999/d": "port 99999: right is a number from 1 to 65535",
        "postgresql://h:-1/d": "port -1: right is",
        "postgresql://h:0/d": "port 0: right is",
        "postgresql:///d?host=a:5432,b:99999": "port 99999: right is",
        "postgresql:///d?host=a&host=b:0": "port 0: right is",
        "postgresql://h/d?sslmode=bogus": "sslmode = 'bogus': right is one of disable, allow, prefer, requ",
        "postgresql://h/d?sslmode=verify-full": "sslmode = 'verify-full' needs database.tls_ca_file",
        "postgresql://h/d?sslmode=require&sslmode=disable": "right is one of disable",
    }.items(),
)
def test_a_url_that_can_be_no_servers_turns_the_database_off(
    sqlite: AnyDatabase, url: str, told: str
) -> None:
    async def story() -> None:
        async with following(sqlite.settings(f"database.url={url}"), sqlite.directory) as store:
            await until("the fault", lambda: store.condition.state == "unusable", within_s=10)
            assert store.condition.message.startswith("database.url: ")
            assert told in store.condition.message

    run(story())


def test_a_wrong_password_is_told_without_it(postgresql: AnyDatabase) -> None:
    assert postgresql.server
    url = postgresql.server.url(postgresql.name, password="wr0ng")  # noqa: S106

    async def story() -> None:
        async with following(postgresql.settings(f"database.url={url}"), postgresql.directory) as store:
            message = await until_down(store, "login", "password authentication failed", "database.url")
            assert "wr0ng" not in message
            assert "wr0ng" not in str(store.describe())

    run(story())


def test_a_database_that_is_not_there_is_told(postgresql: AnyDatabase) -> None:
    assert postgresql.server
    url = postgresql.server.url("nosuch")

    async def story() -> None:
        async with following(postgresql.settings(f"database.url={url}"), postgresql.directory) as store:
            await until_down(store, "no_database", "nosuch", "create it")

    run(story())


def test_a_server_that_is_not_there_is_told(sqlite: AnyDatabase) -> None:
    async def story() -> None:
        url = f"postgresql://me:{PASSWORD_IN_URL}@127.0.0.1:1/x"
        async with following(sqlite.settings(f"database.url={url}"), sqlite.directory) as store:
            await until_down(store, "unreachable", "127.0.0.1:1")

    run(story())


def test_without_tables_it_says_which_command_makes_them_and_goes_on_after_it(
    postgresql: AnyDatabase,
) -> None:
    async def story() -> None:
        async with following(postgresql.settings(EVERY_SECOND), postgresql.directory) as store:
            await until_down(store, "schema", "has no tables yet", "run `tickerd db upgrade`")
            async with postgresql.opened():
                pass
            await until_up(store)

    run(story())


def test_a_standby_is_left_for_the_server_that_takes_writes(postgresql: AnyDatabase) -> None:
    async def story() -> None:
        async with postgresql.opened():
            pass
        async with following(postgresql.settings(EVERY_SECOND), postgresql.directory) as store:
            await until_up(store)
            read_only = f"ALTER DATABASE {postgresql.name} SET default_transaction_read_only = "
            await asyncio.to_thread(postgresql.rows, read_only + "on")
            await asyncio.to_thread(end_connections, postgresql)
            await until_down(store, "read_only", "takes no writes")
            assert postgresql.server
            await asyncio.to_thread(postgresql.server.rows, "postgres", read_only + "off")
            await until_up(store)

    run(story())
    times = postgresql.times_ms()
    assert times == list(range(times[0], times[-1] + 1, 1000))


def test_a_table_that_somebody_reads_for_long_is_written_all_the_same(postgresql: AnyDatabase) -> None:
    settings = postgresql.settings(EVERY_SECOND, "database.keep_days=1")
    told = Told(settings)
    old_ms = time.time_ns() // 1_000_000 - 3 * DAY_MS

    async def story() -> None:
        async with postgresql.opened() as opened:
            now_ms = old_ms + 3 * DAY_MS
            for ms in (old_ms, now_ms):  # so that today's partitions are there too
                await opened.store(made(told.snapshots, "another", Wanted(range(ms, ms + 1), ms, 0)))
        assert postgresql.server
        reader = await asyncpg.connect(
            host="127.0.0.1",
            port=postgresql.server.port,
            user=USER,
            password=PASSWORD,
            database=postgresql.name,
        )
        reading = reader.transaction()
        await reading.start()
        await reader.fetch("SELECT count(*) FROM stock_prices")
        await reader.fetch("SELECT count(*) FROM forex_exchange_rates")
        async with following(settings, postgresql.directory) as store:
            await until("what cannot be removed", lambda: store.condition.errors["locked"])
            await until_up(store)
            await until_up(store)
            assert postgresql.times_ms()[0] == old_ms
            await reading.rollback()
            await reader.close()
            await until("what is old to go", lambda: postgresql.times_ms()[0] > old_ms)

    run(story())


def test_a_server_that_does_not_answer_is_given_up_in_time(own_server: PostgreSQL, tmp_path: Path) -> None:
    database = AnyDatabase(tmp_path, own_server)

    async def story() -> None:
        async with database.opened():
            pass
        async with following(database.settings(EVERY_SECOND), tmp_path) as store:
            await until_up(store)
            own_server.freeze(signal.SIGSTOP)
            try:
                began_s = time.monotonic()
                asked = [store.page(Query(None, None, 0, 2**40, 10)) for _ in range(20)]
                answers = await asyncio.gather(*asked, return_exceptions=True)
                took_s = time.monotonic() - began_s
                assert {type(answer) for answer in answers} == {HistoryUnavailableError}
                assert took_s < 6
                await until_down(store, "timeout", "no answer in time")
            finally:
                own_server.freeze(signal.SIGCONT)
            await until_up(store)

    run(story())
    times = database.times_ms()
    assert times == list(range(times[0], times[-1] + 1, 1000))


@asynccontextmanager
async def proxy(port: int, swallow: list[bytes]) -> AsyncIterator[int]:
    """Passes bytes on, until a client sends what is to be swallowed: the answer to that never arrives."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", port)
        lost = asyncio.Event()

        async def forth() -> None:
            while data := await reader.read(1 << 16):
                if swallow and swallow[0] in data:
                    lost.set()
                    swallow.pop(0)
                to_upstream.write(data)
            to_upstream.close()

        async def back() -> None:
            while data := await upstream.read(1 << 16):
                if lost.is_set():
                    break
                writer.write(data)
            writer.close()

        await asyncio.gather(forth(), back(), return_exceptions=True)
        to_upstream.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def test_a_commit_whose_acknowledgement_was_lost_doubles_nothing(postgresql: AnyDatabase) -> None:
    async def story() -> None:
        async with postgresql.opened():
            pass
        swallow: list[bytes] = []
        assert postgresql.server
        async with proxy(postgresql.server.port, swallow) as port:
            url = postgresql.server.url(postgresql.name, port=port)
            settings = postgresql.settings(EVERY_SECOND, f"database.url={url}")
            async with following(settings, postgresql.directory) as store:
                for _ in range(3):
                    await until_up(store)
                    swallow.append(b"COMMIT;")
                    await until("a lost acknowledgement", lambda: not swallow)
                await until_up(store)
                assert store.condition.errors["unreachable"] >= 3

    run(story())
    times = postgresql.times_ms()
    assert times == list(range(times[0], times[-1] + 1, 1000))
    assert postgresql.count("stock_prices") == 500 * len(times)


# TLS and IAM, by a front that speaks TLS as the server would.


class Authority:
    """A certificate authority, and certificates for a name."""

    def __init__(self, directory: Path, name: str) -> None:
        self.file = directory / f"{name}-ca.pem"
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None))
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self._name)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        return builder.add_extension(extension, critical=False).sign(self._key, hashes.SHA256())

    def context(self, host: str) -> ssl.SSLContext:
        """What a server with this name shows."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        made = self._signed(name, key, x509.SubjectAlternativeName([x509.DNSName(host)]))
        file = self._directory / f"{host}.pem"
        file.write_bytes(
            made.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


@asynccontextmanager
async def tls_front(port: int, context: ssl.SSLContext, seen: list[str], real: str) -> AsyncIterator[int]:
    """PostgreSQL's TLS in front of a server without; notes each password, and hands on the `real` one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)  # SSLRequest
        writer.write(b"S")
        try:
            await writer.start_tls(context)
        except (ssl.SSLError, ConnectionError):
            return
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", port)
        startup = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big") - 4)
        to_upstream.write((len(startup) + 4).to_bytes(4, "big") + startup)

        async def back() -> None:
            while data := await upstream.read(1 << 16):
                writer.write(data)
            writer.close()

        async def forth() -> None:
            while kind := await reader.read(1):
                body = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big") - 4)
                if kind == b"p":
                    seen.append(body[:-1].decode())
                    body = real.encode() + b"\0"
                to_upstream.write(kind + (len(body) + 4).to_bytes(4, "big") + body)
            to_upstream.close()

        await asyncio.gather(back(), forth(), return_exceptions=True)
        to_upstream.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
def rds(postgresql: AnyDatabase) -> AnyDatabase:
    """A database with a role whose password the server wants to see."""
    server = postgresql.server
    assert server
    if not server.rows("postgres", "SELECT 1 FROM pg_roles WHERE rolname = $1", CLEARTEXT_USER):
        server.rows("postgres", f"CREATE ROLE {CLEARTEXT_USER} LOGIN SUPERUSER PASSWORD 'real'")
    return postgresql


def test_only_a_server_with_the_right_authority_and_name_is_spoken_to(rds: AnyDatabase) -> None:
    right, wrong = Authority(rds.directory, "right"), Authority(rds.directory, "wrong")
    assert rds.server

    async def story(trusted: Authority, host: str) -> Store:
        assert rds.server
        async with tls_front(rds.server.port, right.context(host), [], "real") as port:
            url = f"postgresql://{CLEARTEXT_USER}:s3cret@localhost:{port}/{rds.name}"
            settings = rds.settings(
                f"database.url={url}", f"database.tls_ca_file={trusted.file}", EVERY_SECOND
            )
            async with following(settings, rds.directory) as store:
                if (trusted, host) == (right, "localhost"):
                    await until_up(store)
                else:
                    await until_down(store, "tls", "database.tls_ca_file")
                return store

    async def prepare() -> None:
        async with rds.opened():
            pass

    run(prepare())
    for trusted, host in ((right, "localhost"), (wrong, "localhost"), (right, "db.example.com")):

        async def one(trusted: Authority = trusted, host: str = host) -> None:
            await story(trusted, host)

        run(one())


def test_each_connection_has_a_token_of_its_own(rds: AnyDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    authority, seen = Authority(rds.directory, "rds"), list[str]()

    async def story() -> None:
        async with rds.opened():
            pass
        assert rds.server
        async with tls_front(rds.server.port, authority.context("localhost"), seen, "real") as port:
            url = f"postgresql://{CLEARTEXT_USER}@localhost:{port}/{rds.name}"
            sets = [f"database.url={url}", f"database.tls_ca_file={authority.file}", "database.iam=true"]
            settings = rds.settings(*sets, EVERY_SECOND, "kinesis.region=eu-central-1")
            async with following(settings, rds.directory) as store:
                await until_up(store)
                first = list(seen)
                monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDROTATED")
                await asyncio.sleep(1)  # a token is dated to the second
                await asyncio.to_thread(end_connections, rds)
                await until("a new connection", lambda: len(seen) > len(first))
                await until_up(store)
            for token in seen:
                where, _, query = token.partition("/?")
                assert where == f"localhost:{port}"
                told = parse_qs(query)
                assert told["DBUser"] == [CLEARTEXT_USER]
                assert told["Action"] == ["connect"]
                assert told["X-Amz-Expires"] == ["900"]
                assert "/eu-central-1/rds-db/aws4_request" in told["X-Amz-Credential"][0]
            assert seen[-1] not in first

    run(story())


def test_iam_without_credentials_is_told(rds: AnyDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(rds.directory))
    authority = Authority(rds.directory, "rds")

    async def story() -> None:
        url = f"postgresql://{CLEARTEXT_USER}@localhost:1/{rds.name}"
        sets = [f"database.url={url}", f"database.tls_ca_file={authority.file}", "database.iam=true"]
        settings = rds.settings(*sets, EVERY_SECOND, "kinesis.region=eu-central-1")
        async with following(settings, rds.directory) as store:
            await until_down(store, "login", "database.iam: no token for localhost")

    run(story())


def test_a_file_of_authorities_that_is_not_there_turns_the_database_off(postgresql: AnyDatabase) -> None:
    async def story() -> None:
        settings = postgresql.settings("database.tls_ca_file=/nosuch.pem")
        async with following(settings, postgresql.directory) as store:
            await until("the fault", lambda: store.condition.state == "unusable")
            assert "database.tls_ca_file: /nosuch.pem cannot be used" in store.condition.message

    run(story())
