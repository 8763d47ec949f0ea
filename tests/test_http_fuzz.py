"""The web side under requests that nobody sane makes: by its own description, raw garbage, slow clients."""

import asyncio
import http.client
import json
import random
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import Daemon, Host, Local
from tickerd.web.app import CONNECTIONS_MAX

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TOKEN = "token-of-the-fuzz-tests"  # noqa: S105 - a test's
GARBAGE_S = 8.0
SLOW_CLIENTS = 48
CLIENTS = 10_000
ENDLESS = ("--exclude-path=/events",)  # tests/test_events.py listens to it


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, shared_local: Local) -> Iterator[Daemon]:
    """A daemon under a modest rate, whose token is known."""
    shared_local.no_faults()
    host = Host(tmp_path_factory.mktemp("fuzz"))
    (host.directory / "token").write_text(TOKEN)
    try:
        running = host.run(
            **shared_local.create().settings,
            web__token_file=str(host.directory / "token"),
            source__workers=1,
            rate__records_per_second=200,
        )
        running.until_ready()
        yield running
        # Whatever came: it lives, and has said nothing of a fault of ours.
        assert running.get("/livez")[0] == 200
        assert running.popen.poll() is None
        assert "Traceback" not in running.said()
        assert '"level":"error"' not in running.said()
    finally:
        host.close()


def schemathesis(daemon: Daemon, directory: Path, *arguments: str) -> None:
    """Run it over the description that the daemon serves."""
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{daemon.address}/openapi.json"),
        *("--max-examples=40", "--seed=1", "--no-color", "--suppress-health-check=all", *arguments),
    ]
    ran = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=500, check=False)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]


def test_it_keeps_to_its_description(daemon: Daemon, tmp_path: Path) -> None:
    token = ("-H", f"Authorization: Bearer {TOKEN}")
    others = "--exclude-path-regex=/readyz|/logs|/chart|/events"
    schemathesis(daemon, tmp_path, *token, others, "--checks=all")


def test_logs_and_charts_keep_to_it_though_it_cannot_say_which_times_and_names_there_are(
    daemon: Daemon, tmp_path: Path
) -> None:
    token = ("-H", f"Authorization: Bearer {TOKEN}")
    checks = ("--checks=all", "--exclude-checks=positive_data_acceptance")
    schemathesis(daemon, tmp_path, *token, "--include-path-regex=/logs|/chart", *checks)


def test_readiness_keeps_to_it_too_though_it_may_answer_503(daemon: Daemon, tmp_path: Path) -> None:
    checks = ("--checks=all", "--exclude-checks=not_a_server_error")
    schemathesis(daemon, tmp_path, "--include-path=/readyz", *checks)


def test_without_the_token_it_keeps_to_it_as_well(daemon: Daemon, tmp_path: Path) -> None:
    checks = "--checks=not_a_server_error,response_schema_conformance,status_code_conformance"
    schemathesis(daemon, tmp_path, "--exclude-path=/readyz", *ENDLESS, checks)


PIECES = [
    *(
        b"GET ",
        b"POST /rate HTTP/1.1\r\n",
        b"/",
        b" HTTP/1.1\r\n",
        b" HTTP/9.9\r\n",
        b"\r\n\r\n",
        b"\r\n",
        b"\0",
    ),
    *(
        b"Host: x\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999\r\n",
    ),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"ffffffffffff\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: h2c\r\n",
    ),
    *(
        b"Authorization: Bearer " + TOKEN.encode() + b"\r\n",
        b"Content-Encoding: gzip\r\n",
        b"\x16\x03\x01\x02",
    ),
    *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"A" * 9000, b'{"records_per_second": 5}', b"%00%ff%c0%ae/../.."),
]


def garbage(port: int, chance: random.Random) -> int:
    """Send pieces of requests, or plain noise; the status of the answer, 0 without one."""
    request = b"".join(chance.choices(PIECES, k=chance.randint(1, 8)))
    if chance.random() < 0.3:
        request = chance.randbytes(chance.randint(1, 3000))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.settimeout(0.3)
        try:
            connection.sendall(request)
            answer = connection.recv(200)
        except OSError:
            return 0
    words = answer.split(b" ", 2)
    return int(words[1]) if answer.startswith(b"HTTP/") and len(words) > 1 else 0


async def slow_client(port: int, end_s: float) -> None:
    """Send a head one byte at a time, and begin again when thrown out."""
    while time.monotonic() < end_s:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for byte in b"GET /status HTTP/1.1\r\nX: " + b"y" * 1000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.3)
                if time.monotonic() > end_s or reader.at_eof():
                    break
            writer.close()
            await writer.wait_closed()
        except OSError:
            await asyncio.sleep(0.1)


# Asks for health from a process of its own, by a new connection each time and by one that is kept, whose
# answers are as late as the daemon's loop is. Not counted is the time in which the kernel gave the CPU to
# others, though one of the two could have run (/proc/PID/schedstat): that says nothing of the daemon.
PROBE = """
import http.client, json, sys, time
port, daemon, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
def held_up_s():
    return sum(int(open(f"/proc/{pid}/schedstat").read().split()[1]) for pid in ("self", daemon)) / 1e9
def ask(connection):
    held_up, began = held_up_s(), time.monotonic()
    connection.request("GET", "/livez")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    return time.monotonic() - began - (held_up_s() - held_up)
new, kept, end = [], [], time.monotonic() + seconds
staying = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
while time.monotonic() < end:
    once = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    new.append(ask(once))
    once.close()
    kept.append(ask(staying))
    time.sleep(0.01)
print(json.dumps({"new": sorted(new), "kept": sorted(kept)}))
"""


def test_garbage_and_slow_clients_keep_nobody_from_health(daemon: Daemon) -> None:
    port = int(daemon.address.rpartition(":")[2])
    chance = random.Random(7)
    statuses: set[int] = set()
    probe = subprocess.Popen(
        [sys.executable, "-c", PROBE, str(port), str(daemon.pid), str(GARBAGE_S)],
        stdout=subprocess.PIPE,
        text=True,
    )

    async def story() -> None:
        loop, end_s = asyncio.get_running_loop(), time.monotonic() + GARBAGE_S
        clients = [asyncio.create_task(slow_client(port, end_s)) for _ in range(SLOW_CLIENTS)]

        def attack() -> None:
            while time.monotonic() < end_s:
                statuses.add(garbage(port, chance))

        attacks = [loop.run_in_executor(None, attack) for _ in range(2)]
        await asyncio.gather(*attacks, *clients)

    asyncio.run(story())
    said, _ = probe.communicate()
    assert probe.returncode == 0  # health was asked all the time, and always answered
    assert not {status for status in statuses if status >= 500}
    assert 400 in statuses
    waits = json.loads(said)
    assert len(waits["new"]) > 20
    p99 = {how: took[int(len(took) * 0.99)] for how, took in waits.items()}
    assert p99["new"] < 0.1, p99
    assert p99["kept"] < 0.05, p99  # the loop's stall


async def silent_reader(port: int, request: bytes, ended: asyncio.Event) -> None:
    """Ask for a page and read nothing of it, or send only a part of the head, until thrown out."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return
    writer.write(request)
    await ended.wait()
    writer.close()


def supervisor_of(daemon: Daemon) -> tuple[int, int]:
    """The supervisor's open descriptors and its resident kilobytes."""
    process = Path(f"/proc/{daemon.pid}")
    resident = next(line for line in (process / "status").read_text().splitlines() if "VmRSS" in line)
    return len(list((process / "fd").iterdir())), int(resident.split()[1])


def test_ten_thousand_slow_clients_are_turned_away_and_health_stays_fast(daemon: Daemon) -> None:
    port = int(daemon.address.rpartition(":")[2])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    clients = min(CLIENTS, most - 500)  # what the limit of descriptors allows here
    requests = (
        b"GET /logs HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /logs?from=2026-11-01T00:00:00Z&limit=10000 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /logs HTTP/1.1\r\nHost",
        b"POST /logs HTTP/1.1\r\nContent-Length: 60000\r\n\r\n",
    )
    waits: list[float] = []
    refused = 0
    descriptors: list[int] = []
    _, before_kb = supervisor_of(daemon)

    async def story() -> None:
        nonlocal refused
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        crowd: list[asyncio.Task[None]] = []

        def probe() -> None:
            nonlocal refused
            began = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request("GET", "/livez")
                assert connection.getresponse().status == 200
                waits.append(time.monotonic() - began)
            except (OSError, http.client.HTTPException):
                refused += 1  # hundreds came within the same moment: it asks again
            finally:
                connection.close()
            descriptors.append(supervisor_of(daemon)[0])

        for number in range(clients):
            crowd.append(asyncio.create_task(silent_reader(port, requests[number % len(requests)], ended)))
            if number % 50 == 0:
                await loop.run_in_executor(None, probe)
        for _ in range(50):
            await loop.run_in_executor(None, probe)
        ended.set()
        await asyncio.gather(*crowd)

    asyncio.run(story())
    assert clients > 1000
    assert len(waits) > 9 * refused
    assert sorted(waits)[int(0.99 * len(waits))] < 1.0
    assert max(descriptors) < CONNECTIONS_MAX + 100
    # What the bodies for those who do not read take is given back.
    time.sleep(6)
    open_now, after_kb = supervisor_of(daemon)
    assert open_now < CONNECTIONS_MAX + 50
    assert after_kb - before_kb < 150_000
    assert daemon.get("/logs")[0] == 200


def test_a_body_that_never_comes_is_given_up(daemon: Daemon) -> None:
    port = int(daemon.address.rpartition(":")[2])
    head = f"POST /rate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 30\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_a_connection_that_asks_for_nothing_is_closed(daemon: Daemon) -> None:
    port = int(daemon.address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost")
        assert connection.recv(100) == b""
