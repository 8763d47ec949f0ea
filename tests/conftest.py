"""Fixtures of every test, and the rule that a skipped test is a failure where TESTS_MAY_SKIP=0."""

import asyncio
import os
from collections.abc import Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import uvloop

from daemon import Host, Local, Stream
from databases import AnyDatabase
from postgres import PostgreSQL, server
from raw_http import Run

# How long an example takes is the machine's affair.
hypothesis.settings.register_profile("no clock", deadline=None)
hypothesis.settings.load_profile("no clock")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A machine for tickerd, on which nothing is left at the end."""
    machine = Host(tmp_path)
    try:
        yield machine
    finally:
        machine.close()


@pytest.fixture(scope="session")
def shared_local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """One `tickerd local` for all tests that need nothing special of it: no limits of a shard."""
    machine = Host(tmp_path_factory.mktemp("local"))
    try:
        yield machine.local("--no-shard-limits")
    finally:
        machine.close()


@pytest.fixture
def stream(shared_local: Local) -> Iterator[Stream]:
    """A new stream of 4 shards, on an endpoint without faults."""
    shared_local.no_faults()
    yield shared_local.create()
    shared_local.no_faults()


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a story on the event loop of the daemon, and on the other one."""
    loop_factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run(story: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(story)

    return run


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgreSQL]:
    """One PostgreSQL for all tests that do not stop it."""
    with server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> AnyDatabase:
    """A new database of either kind, without tables."""
    kind: str = request.param
    return AnyDatabase(tmp_path, request.getfixturevalue("postgres") if kind == "postgresql" else None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where everything that tests need can be had."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("TESTS_MAY_SKIP") == "0":
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} was skipped, and nothing may be: {call.excinfo and call.excinfo.value}"
        )
    return report
