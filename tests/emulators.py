"""Kinesis endpoints as processes of their own on free loopback ports: kinesalite, kinesis-local, moto, ours.

Each is a context manager that yields the endpoint's URL and ends the process. What cannot be had here skips
the test, naming what is missing. Node packages are installed once, by `npm ci` in tests/emulators.
"""

import fcntl
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest
from aiobotocore.session import get_session
from botocore.config import Config

from tickerd.local import LocalEndpoint, LocalOptions
from tickerd.local.account import epoch_ms

PACKAGES = Path(__file__).parent / "emulators"
START_MAX_S = 60.0
LOCAL = (
    "import sys, msgspec; from tickerd.local import LocalOptions, run;"
    "sys.exit(run(msgspec.json.decode(sys.argv[1], type=LocalOptions)))"
)


@contextmanager
def kinesalite() -> Iterator[str]:
    """Start kinesalite: knows no StreamARN, reads back every record."""
    program = _node_program("kinesalite", "cli.js")
    port = _free_port()
    # 100 shards: its own limit of 10 for an account is not the service's. 0 ms: nothing to wait for.
    times = [f"--{kind}StreamMs=0" for kind in ("create", "update", "delete")]
    with _process([*program, f"--port={port}", "--shardLimit=100", *times], port) as url:
        yield url


@contextmanager
def kinesis_local() -> Iterator[str]:
    """Start kinesis-local (kinesis-mock): knows StreamARN, AT_LATEST and UpdateShardCount; slow."""
    program = _node_program("kinesis-local", "main.js")
    port, tls_port = _free_port(), _free_port()
    variables = {
        "KINESIS_MOCK_PLAIN_PORT": str(port),
        "KINESIS_MOCK_TLS_PORT": str(tls_port),
        "LOG_LEVEL": "ERROR",
        "SHARD_LIMIT": "100",
    }
    kinds = ("CREATE_STREAM", "DELETE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS", "UPDATE_SHARD_COUNT")
    variables |= {f"{kind}_DURATION": "10ms" for kind in kinds}
    with _process(program, port, variables) as url:
        yield url


@contextmanager
def moto_server() -> Iterator[str]:
    """Start moto_server: validates requests; loses records of concurrent writers."""
    program = Path(sys.executable).with_name("moto_server")
    if not program.exists():
        pytest.skip(f"no moto_server beside {sys.executable}: install the dev dependencies")
    port = _free_port()
    with _process([str(program), "-H", "127.0.0.1", "-p", str(port)], port) as url:
        yield url


@contextmanager
def local(options: LocalOptions | None = None) -> Iterator[str]:
    """Start `tickerd local` in a process of its own, on a free port whatever `options` say."""
    port = _free_port()
    settings = msgspec.structs.replace(options or LocalOptions(), port=port)
    with _process([sys.executable, "-c", LOCAL, msgspec.json.encode(settings).decode()], port) as url:
        yield url


@asynccontextmanager
async def local_here(
    options: LocalOptions | None = None, now_ms: Callable[[], int] = epoch_ms
) -> AsyncIterator[tuple[LocalEndpoint, Any]]:
    """Run `local` in this event loop, on a free port; yield the endpoint and an aiobotocore client of it.

    `now_ms` gives the endpoint the time since the epoch.
    """
    endpoint = LocalEndpoint(msgspec.structs.replace(options or LocalOptions(), port=0), now_ms=now_ms)
    url = await endpoint.start()
    try:
        async with client_of(url) as client:
            yield endpoint, client
    finally:
        await endpoint.stop()


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[Any]:
    """Yield an aiobotocore client that neither checks what it sends nor tries again."""
    config = Config(parameter_validation=False, retries={"max_attempts": 0})
    secret = {"aws_access_key_id": "AK", "aws_secret_access_key": "SK"}  # emulators take any
    session = get_session()
    async with session.create_client(
        "kinesis", endpoint_url=url, region_name="us-east-1", config=config, **secret
    ) as client:
        yield client


def _node_program(package: str, script: str) -> list[str]:
    node, problem = shutil.which("node"), _install()
    if node is None:
        pytest.skip(f"no node on PATH: {package} cannot run")
    if problem:
        pytest.skip(f"{package} cannot be had: {problem}")
    return [node, str(PACKAGES / "node_modules" / package / script)]


@functools.cache
def _install() -> str:
    """Install the node packages if they are not there; return what hinders, or nothing."""
    npm = shutil.which("npm")
    done = PACKAGES / "node_modules" / ".package-lock.json"  # written last by npm
    with (PACKAGES / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test process may be installing
        if done.exists():
            return ""
        if npm is None:
            return "no npm on PATH"
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(PACKAGES)]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        except subprocess.TimeoutExpired:
            return "npm ci did not end within 180 s"
    lines = (result.stderr or result.stdout).strip().splitlines()
    return f"npm ci failed: {lines[0] if lines else result.returncode}" if result.returncode else ""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def _process(command: list[str], port: int, variables: dict[str, str] | None = None) -> Iterator[str]:
    # A file takes what it says: a full pipe would stop an emulator that logs every request. kinesis-local
    # looks for its server.json in the working directory, which is therefore the script's.
    directory = Path(command[1]).parent if command[1].endswith(".js") else None
    environment = os.environ | (variables or {})
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, env=environment, cwd=directory, stdout=said, stderr=said) as process,
    ):
        try:
            _await_answer(process, port, said)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_answer(process: "subprocess.Popen[bytes]", port: int, said: IO[str]) -> None:
    """Wait until the process answers HTTP, with whatever status."""
    deadline = time.monotonic() + START_MAX_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said.seek(0)
            pytest.fail(f"{process.args!r} ended with {process.returncode}: {said.read()[-500:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
                return
        except urllib.error.HTTPError as answer:
            answer.close()
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"{process.args!r} did not answer within {START_MAX_S:.0f} s")
