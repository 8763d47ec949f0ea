"""The supervisor's pages as a load balancer, a script and an attacker meet them, over real connections."""

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from tickerd.observe.counters import Problem, Report, StreamReport
from tickerd.settings import Settings, Source, Web
from tickerd.state import StateDirectory
from tickerd.supervisor import Supervisor
from tickerd.web.access import HEADERS
from tickerd.web.app import HEAD_BYTES_MAX, ListenError, serve
from tickerd.web.pages import CONNECTIONS_MAX

WORKERS = 3


class Host:
    """A supervisor whose workers are processes that do nothing; the tests publish what they would."""

    def __init__(self, directory: Path, listen: str = "127.0.0.1:0") -> None:
        settings = msgspec.structs.replace(Settings(), source=Source(workers=WORKERS), web=Web(listen=listen))
        self.supervisor = Supervisor(settings, StateDirectory(directory), records=None, seconds=None)
        for slot in self.supervisor.slots:
            slot.process = subprocess.Popen(["sleep", "600"])  # noqa: S607

    def says(self, worker: int, report: Report, silent_s: float = 0.0) -> None:
        """The worker publishes this, so long ago, and the supervisor looks."""
        report.beat_s = time.monotonic() - silent_s
        self.supervisor.slab.publish(worker, report)
        self.supervisor.slots[worker].check(stopping=False)
        self.supervisor._watch()

    def up(self) -> None:
        """All workers are up."""
        for worker in range(WORKERS):
            self.says(worker, Report(source=f"host-{worker}-abcdefgh", state="running"))

    def close(self) -> None:
        for slot in self.supervisor.slots:
            assert slot.process is not None
            slot.process.kill()
            slot.process.wait()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    try:
        yield made
    finally:
        made.close()


class Page(tuple[int, str]):
    """Status and body."""

    __slots__ = ()

    def json(self) -> Any:
        return json.loads(self[1])


@asynccontextmanager
async def served(host: Host) -> AsyncIterator[int]:
    """The port of the running pages."""
    runner = await serve(host.supervisor)
    try:
        yield int(host.supervisor.address.rpartition(":")[2])
    finally:
        await runner.cleanup()


async def sent(port: int, request: bytes) -> Page:
    """The answer to these bytes; status 0 when there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(60):
            return await answer(reader)
    except (ConnectionError, asyncio.IncompleteReadError):
        return Page((0, ""))
    finally:
        await closed([writer])


async def closed(writers: Iterable[asyncio.StreamWriter]) -> None:
    """Close connections, and wait until they are, whatever the other side did to them."""
    closing = list(writers)
    for writer in closing:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in closing), return_exceptions=True)


async def answer(reader: asyncio.StreamReader) -> Page:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
    body = await reader.readexactly(int(fields.get("content-length", "0")))
    return Page((int(head.split()[1]), body.decode()))


def request(path: str, method: str = "GET", *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    lines += [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def page(host: Host, path: str) -> Page:
    async def story() -> Page:
        async with served(host) as port:
            return await sent(port, request(path))

    return uvloop.run(story())


@pytest.mark.parametrize("path", ["/livez", "/healthz"])
def test_the_daemon_lives_before_any_worker_is_up(host: Host, path: str) -> None:
    assert page(host, path) == (200, "ok\n")


def test_it_is_not_ready_before_every_worker_was_up_once(host: Host) -> None:
    for worker in range(WORKERS - 1):
        host.says(worker, Report())
        assert page(host, "/readyz") == (503, "not ready\n")
    host.says(WORKERS - 1, Report())
    assert page(host, "/readyz") == (200, "ok\n")


@pytest.mark.parametrize(("silent", "status"), [(1, 200), (2, 503), (3, 503)])
def test_it_is_ready_while_at_least_half_of_the_workers_beat(host: Host, silent: int, status: int) -> None:
    host.up()
    for worker in range(silent):
        host.says(worker, Report(), silent_s=10.5)
    assert page(host, "/readyz")[0] == status


def test_it_is_not_ready_while_it_drains(host: Host) -> None:
    host.up()
    host.supervisor.drain("operator", "a test")
    assert page(host, "/readyz")[0] == 503
    assert page(host, "/status").json()["state"] == "draining"


def test_a_stream_that_takes_nothing_is_told_but_replaces_no_host(host: Host) -> None:
    host.up()
    cause = Problem("AccessDeniedException", "AccessDeniedException: no; allow kinesis:PutRecords", 100.0, 3)
    later = msgspec.structs.replace(cause, since=105.0, count=4)
    host.says(0, Report(state="running", problems=[later]))
    host.says(2, Report(state="running", problems=[cause]))
    status, text = page(host, "/readyz?verbose")
    assert status == 200
    assert text.splitlines() == [
        "ok",
        "state: running",
        "workers: 3 of 3 beat",
        "destination: AccessDeniedException: no; allow kinesis:PutRecords",
    ]
    (error,) = page(host, "/status").json()["errors"]
    assert error == {
        "code": "AccessDeniedException",
        "message": cause.message,
        "since": 100.0,
        "count": 7,
    }


def test_the_status_has_the_contracts_shape(host: Host) -> None:
    host.up()
    report = Report(source="host-1-abcdefgh", state="running", owed=7, lag_s=1.5)
    report.counts.records_generated = [1, 2, 3]
    report.counts.records_acked = [1, 1, 1]
    report.target_milli_records_per_second = 2500
    report.stream = StreamReport("market-log", 4, "AUTO", 15_000.4, "none", "relaxed")
    report.notices = [Problem("AutoDistribution", "records go plain", 100.0, 1)]
    host.says(1, report)
    status = page(host, "/status").json()
    assert list(status) == [
        *("version", "run", "state", "draining", "rates", "totals", "lag_seconds"),
        *("destination", "stream", "database", "limits", "errors", "workers"),
    ]
    assert status["run"] == host.supervisor.current_run.identity.run
    assert (status["state"], status["draining"]) == ("running", False)
    notice = {"code": "AutoDistribution", "message": "records go plain", "since": 100.0, "count": 1}
    assert status["errors"] == [notice]
    assert set(status["rates"]) == {"target", "generated", "acked"}
    assert status["rates"]["target"] == 2.5
    assert status["totals"] == {"generated": 6, "acked": 3, "owed": 7}
    assert status["lag_seconds"] == 1.5
    assert status["stream"] == {
        "name": "market-log",
        "shards": 4,
        "distribution": "AUTO",
        "ceiling_records_per_second": 15_000,
        "aggregation": "none",
        "order": "relaxed",
    }
    process = host.supervisor.slots[1].process
    assert process is not None
    assert status["workers"][1] == {
        "worker": 1,
        "pid": process.pid,
        "source": "host-1-abcdefgh",
        "state": "running",
        "generated": 6,
        "acked": 3,
        "owed": 7,
        "lag_seconds": 1.5,
        "restarts": 0,
        "poison_frame": None,
    }


def test_the_metrics_come_in_both_formats(host: Host) -> None:
    async def story() -> tuple[Page, Page]:
        async with served(host) as port:
            plain = await sent(port, request("/metrics"))
            other = await sent(
                port, request("/metrics", "GET", "Accept: application/openmetrics-text; version=1.0.0")
            )
            return plain, other

    plain, other = uvloop.run(story())
    assert "# TYPE tickerd_records_generated_total counter" in plain[1]
    assert other[1].endswith("# EOF\n")


@pytest.mark.parametrize(
    ("what", "status"),
    [
        (request("/nowhere"), 404),
        (request("/status/.."), 404),
        (request("/status", "POST", body=b"{}"), 405),
        (request("/livez", "DELETE"), 405),
        (request("/livez", "HEAD"), 200),
        (b"What is this?\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (request("/" + "x" * HEAD_BYTES_MAX), 400),
        (request("/livez", "GET", "X: " + "x" * (HEAD_BYTES_MAX + 1)), 400),
        (request("/livez", "GET", "X: " + "x" * (HEAD_BYTES_MAX - 10)), 200),
    ],
)
def test_what_is_no_request_for_a_page_is_refused(host: Host, what: bytes, status: int) -> None:
    async def story() -> tuple[Page, Page]:
        async with served(host) as port:
            got = await sent(port, what if b"HEAD" not in what[:4] else what.replace(b"HEAD", b"GET", 1))
            return got, await sent(port, request("/livez"))

    got, after = uvloop.run(story())
    assert got[0] == status
    assert after == (200, "ok\n")


@pytest.mark.parametrize(
    ("what", "status", "allowed"),
    [
        (request("/nope"), 404, None),
        (request("/nope", "POST"), 404, None),
        (request("/page/x"), 404, None),
        (request("/page/x/app.js"), 404, None),
        (request("/logs", "PUT"), 405, "GET,HEAD,POST"),
        (request("/logs", "GET", "Expect: wonders"), 417, None),
        (request("/logs?at=" + "a" * 20_000), 400, None),
        (request("/livez", "GET", "X: " + "a" * 20_000), 400, None),
        (b"aaaa\r\n\r\n", 400, None),
        (b"GET /livez HTTP/1.1\r\nContent-Length: aaaa\r\n\r\n", 400, None),
        (b"GET /livez HTTP/1.1\r\naaaa\r\n\r\n", 400, None),
    ],
)
def test_every_refusal_is_a_problem_and_tells_no_library(
    host: Host, what: bytes, status: int, allowed: str | None
) -> None:
    async def story() -> tuple[dict[str, str], str]:
        async with served(host) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(what)
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                assert int(head.split()[1]) == status, head
                fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
                return fields, (await reader.readexactly(int(fields["content-length"]))).decode()
            finally:
                await closed([writer])

    fields, body = uvloop.run(story())
    assert fields["content-type"] == "application/problem+json"
    assert json.loads(body)["status"] == status
    assert json.loads(body)["detail"]
    assert fields["server"] == "tickerd"
    assert {name: fields[name.lower()] for name in HEADERS} == {k: v.lower() for k, v in HEADERS.items()}
    assert fields.get("allow") == (allowed and allowed.lower())
    assert "aiohttp" not in body
    assert "aaaa" not in body


def test_a_body_is_not_waited_for(host: Host) -> None:
    async def story() -> None:
        async with served(host) as port:
            endless = b"GET /livez HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n"
            assert await sent(port, endless) == (200, "ok\n")
            assert await sent(port, endless + b"x" * 1_000_000) == (200, "ok\n")

    uvloop.run(story())


def test_one_connection_too_many_takes_the_place_of_the_oldest(host: Host) -> None:
    async def story() -> None:
        async with served(host) as port:
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]
            for _, writer in idle:  # so that all are known to the server
                writer.write(request("/livez"))
            assert [await answer(reader) for reader, _ in idle] == [(200, "ok\n")] * CONNECTIONS_MAX
            assert await sent(port, request("/livez")) == (200, "ok\n")
            oldest, youngest = idle[0], idle[-1]
            async with asyncio.timeout(60):
                assert await oldest[0].read() == b""  # closed
            youngest[1].write(request("/livez"))
            assert await answer(youngest[0]) == (200, "ok\n")
            await closed(writer for _, writer in idle)

    uvloop.run(story())


def test_health_answers_though_many_connections_come_at_once(host: Host) -> None:
    async def story() -> None:
        async with served(host) as port:
            opened = await asyncio.gather(
                *(asyncio.open_connection("127.0.0.1", port) for _ in range(4 * CONNECTIONS_MAX))
            )
            assert await sent(port, request("/livez")) == (200, "ok\n")
            await asyncio.sleep(0.2)
            still = sum(not reader.at_eof() for reader, _ in opened)
            await closed(writer for _, writer in opened)
            assert still <= CONNECTIONS_MAX

    uvloop.run(story())


def test_nobody_is_answered_after_the_end(host: Host) -> None:
    async def story() -> None:
        async with served(host) as port:
            assert await sent(port, request("/livez")) == (200, "ok\n")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    uvloop.run(story())


def test_an_address_in_use_is_one_line_that_names_the_setting(host: Host, tmp_path: Path) -> None:
    async def story() -> None:
        async with served(host) as port:
            second = Host(tmp_path / "second", f"127.0.0.1:{port}")
            try:
                with pytest.raises(
                    ListenError, match=rf"web\.listen: 127.0.0.1:{port} cannot be used"
                ) as error:
                    await serve(second.supervisor)
                assert "\n" not in str(error.value)
            finally:
                second.close()

    uvloop.run(story())


def test_it_listens_on_ipv6_too(tmp_path: Path) -> None:
    host = Host(tmp_path, "[::1]:0")

    async def story() -> str:
        async with served(host):
            return host.supervisor.address

    try:
        assert uvloop.run(story()).startswith("http://[::1]:")
    finally:
        host.close()
