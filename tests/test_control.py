"""Control over HTTP: who may, what is refused, and what it does to a daemon that runs."""

import asyncio
import gc
import http.client
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import Daemon, Host, Json, Stream, _sets, eventually
from test_web import Host as Pages
from test_web import Page, request, sent, served
from tickerd.config import SettingsError
from tickerd.state import StateError
from tickerd.web.app import BODY_BYTES_MAX, serve

# The listening socket outlives `cleanup` (see test_web.py), and is warned of.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
TOKEN = "planted-secret-0123456789"  # noqa: S105 - a test's


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    made = Pages(tmp_path)
    try:
        yield made
    finally:
        made.close()


def with_web(pages: Pages, **changed: object) -> None:
    """Other settings of the web side."""
    web = msgspec.structs.replace(pages.supervisor.settings.web, **changed)
    pages.supervisor.settings = msgspec.structs.replace(pages.supervisor.settings, web=web)


def token_of(pages: Pages) -> str:
    return (pages.supervisor.crew.state.path / "token").read_text().strip()


def asked(pages: Pages, *requests: Callable[[], bytes]) -> list[Page]:
    """The answers; requests are made when the pages are up, and the token is there."""

    async def story() -> list[Page]:
        async with served(pages) as port:
            return [await sent(port, make()) for make in requests]

    return uvloop.run(story())


def post(path: str, token: str = "", body: bytes = b"") -> bytes:
    headers = [f"Authorization: Bearer {token}"] if token else []
    return request(path, "POST", *headers, body=body)


@pytest.mark.parametrize("path", ["/rate", "/drain", "/undrain"])
def test_nothing_changes_without_the_token(pages: Pages, path: str) -> None:
    answers = asked(
        pages,
        lambda: post(path, body=b'{"records_per_second": 5}'),
        lambda: post(path, token_of(pages)[:-1]),
        lambda: post(path, token_of(pages) + "x"),
        lambda: request(path, "POST", f"Authorization: Basic {token_of(pages)}"),
        lambda: request(path, "POST", "Authorization: Bearer"),
        lambda: request(path, "POST", "Authorization: Bearer \xff\xfe"),
        lambda: request(f"{path}?token={token_of(pages)}", "POST"),
    )
    assert [status for status, _ in answers] == [401] * 7
    assert not pages.supervisor.holds
    assert pages.supervisor.crew.rate_set is None


def test_the_first_start_writes_a_token_that_only_its_user_can_read(pages: Pages, tmp_path: Path) -> None:
    assert asked(pages, lambda: post("/drain", token_of(pages)))[0][0] == 200
    first = token_of(pages)
    assert len(first) >= 32
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    asked(pages, lambda: request("/livez"))
    assert token_of(pages) == first  # also after another start


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"records_per_second": 0}', 200),
        (b'{"records_per_second": 0.001}', 200),
        (b'{"records_per_second": 100000000}', 200),
        (b'{"records_per_second": 100000000.001}', 400),
        (b'{"records_per_second": -0.001}', 400),
        (b'{"records_per_second": 0.0001}', 400),
        (b'{"records_per_second": NaN}', 400),
        (b'{"records_per_second": 1e999}', 400),
        (b'{"records_per_second": "5"}', 400),
        (b'{"records_per_second": null}', 400),
        (b'{"records_per_second": true}', 400),
        (b'{"records_per_second": 5, "more": 1}', 400),
        (b"{}", 400),
        (b"[]", 400),
        (b"\xff", 400),
        (b"", 400),
        (b"[" * 10_000, 400),
        (b" " * BODY_BYTES_MAX, 400),
        (b" " * (BODY_BYTES_MAX + 1), 413),
    ],
)
def test_a_rate_is_what_the_setting_takes(pages: Pages, body: bytes, status: int) -> None:
    (answer,) = asked(pages, lambda: post("/rate", token_of(pages), body))
    assert answer[0] == status
    if status == 400:
        assert "\n" not in answer.json()["detail"]
    set_to = pages.supervisor.crew.rate_set
    wanted = round(json.loads(body)["records_per_second"] * 1000) if status == 200 else None
    assert set_to == wanted


def test_draining_is_not_ready_and_can_be_taken_back(pages: Pages) -> None:
    pages.up()
    answers = asked(
        pages,
        lambda: request("/readyz"),
        lambda: post("/drain", token_of(pages)),
        lambda: post("/drain", token_of(pages)),
        lambda: request("/readyz?verbose"),
        lambda: request("/livez"),
        lambda: post("/undrain", token_of(pages)),
        lambda: request("/readyz"),
        lambda: post("/undrain", token_of(pages)),
    )
    assert [status for status, _ in answers] == [200, 200, 200, 503, 200, 200, 200, 200]
    assert "operator: asked to over HTTP" in answers[3][1]


def test_what_somebody_else_holds_is_not_the_operators_to_take_back(pages: Pages) -> None:
    pages.up()
    pages.supervisor.drain("ec2", "the instance is terminated")
    (answer,) = asked(pages, lambda: post("/undrain", token_of(pages)))
    assert answer[0] == 409
    assert "ec2: the instance is terminated" in answer.json()["detail"]


def test_reading_needs_the_token_where_that_is_set_but_health_never_does(pages: Pages) -> None:
    with_web(pages, read_needs_token=True)
    pages.up()
    paths = ["/livez", "/healthz", "/readyz", "/status", "/metrics", "/openapi.json"]
    without = asked(pages, *(lambda path=path: request(path) for path in paths))
    assert [status for status, _ in without] == [200, 200, 200, 401, 401, 401]
    bearer = f"Authorization: Bearer {token_of(pages)}"
    with_token = asked(pages, *(lambda path=path: request(path, "GET", bearer) for path in paths))
    assert [status for status, _ in with_token] == [200] * 6


def test_the_control_socket_is_the_groups_and_needs_no_token(pages: Pages, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with_web(pages, control_socket=str(path))

    async def story() -> int:
        async with served(pages):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            gc.collect()  # the socket is nobody's garbage
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(post("/drain"))
            line = await reader.readline()
            writer.close()
            return int(line.split()[1])

    assert uvloop.run(story()) == 200
    assert pages.supervisor.draining
    assert uvloop.run(story()) == 200  # what the last one left there is replaced


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "holds no token"),
        (b"x" * 15, "at least 16"),
        (b"two words" * 4, "spaces"),
    ],
)
def test_a_token_file_that_holds_none_is_named(
    pages: Pages, tmp_path: Path, content: bytes | None, words: str
) -> None:
    file = tmp_path / "its-token"
    if content is not None:
        file.write_bytes(content)
    with_web(pages, token_file=str(file))
    with pytest.raises(SettingsError, match=words) as error:
        uvloop.run(serve(pages.supervisor))
    (problem,) = error.value.problems
    assert problem.startswith(f"web.token_file: {file}")


@pytest.mark.parametrize("content", [b"", b"\n", b"short"])
def test_a_token_of_the_state_directory_that_is_none_lets_nobody_in(
    pages: Pages, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(StateError, match="holds no token; remove it"):
        uvloop.run(serve(pages.supervisor))


def test_a_token_that_is_emptied_while_it_runs_is_not_taken_up(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings)
    daemon.until_acked()
    token = (host.state / "token").read_text().strip()
    (host.state / "token").write_text("")
    daemon.send(signal.SIGHUP)
    eventually("the refusal", lambda: daemon.logged("holds no token"))
    assert call(daemon, "/drain", token="")[0] == 401
    assert call(daemon, "/drain", token=token)[0] == 200
    assert daemon.stop() == 0


def test_a_token_that_everybody_may_read_is_warned_of(
    pages: Pages, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "its-token"
    file.write_bytes(b"x" * 32)
    with_web(pages, token_file=str(file))
    for mode, lines in ((0o640, 0), (0o644, 1)):
        caplog.clear()
        file.chmod(mode)
        asked(pages, lambda: request("/livez"))
        found = [line for line in caplog.messages if "everybody may read it" in line]
        assert len(found) == lines
    assert f"{file} holds the control token" in found[0]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and its certificate in one file."""
    directory = tmp_path_factory.mktemp("tls")
    names = ["-keyout", str(directory / "key.pem"), "-out", str(directory / "crt.pem"), "-days", "2"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run([*command, *names, *subject], check=True, capture_output=True)
    return directory


def test_it_speaks_tls_where_that_is_set(pages: Pages, certificate: Path) -> None:
    with_web(pages, tls_certificate=str(certificate / "crt.pem"), tls_key=str(certificate / "key.pem"))

    async def story() -> bytes:
        trust = ssl.create_default_context(cafile=certificate / "crt.pem")
        async with served(pages) as port:
            assert pages.supervisor.address == f"https://127.0.0.1:{port}"
            assert await sent(port, request("/livez")) == (0, "")  # not without
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
            writer.write(request("/livez"))
            line = await reader.readline()
            writer.close()
            return line

    assert uvloop.run(story()).startswith(b"HTTP/1.1 200")


def test_a_certificate_that_is_none_is_named(pages: Pages, tmp_path: Path) -> None:
    file = tmp_path / "crt.pem"
    file.write_text("hello")
    with_web(pages, tls_certificate=str(file), tls_key=str(file))
    with pytest.raises(SettingsError, match="PEM files that belong together"):
        uvloop.run(serve(pages.supervisor))


def test_every_answer_has_the_headers_that_browsers_heed(pages: Pages) -> None:
    async def story() -> list[bytes]:
        async with served(pages) as port:
            heads = []
            for what in (request("/livez"), request("/nowhere"), request("/rate", "POST")):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(what)
                heads.append((await reader.readuntil(b"\r\n\r\n")).lower())
                writer.close()
            return heads

    for head in uvloop.run(story()):
        assert b"x-content-type-options: nosniff" in head
        assert b"content-security-policy: default-src 'none'" in head
        assert b"server: tickerd\r\n" in head
        assert b"aiohttp" not in head


@settings(max_examples=30)
@given(st.text(st.characters(codec="ascii", exclude_characters="\r\n\0"), max_size=60))
def test_no_token_but_the_right_one_is_taken(tmp_path_factory: pytest.TempPathFactory, given: str) -> None:
    pages = Pages(tmp_path_factory.mktemp("token"))
    try:
        (answer,) = asked(pages, lambda: request("/drain", "POST", f"Authorization: Bearer {given}"))
        assert answer[0] in {400, 401}  # 400: that is no header
        assert not pages.supervisor.draining
    finally:
        pages.close()


# --- a daemon that runs


def call(daemon: Daemon, path: str, body: str = "", token: str = TOKEN) -> tuple[int, str]:
    connection = http.client.HTTPConnection(daemon.address.removeprefix("http://"), timeout=30)
    try:
        connection.request("POST", path, body, {"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def start(host: Host, stream: Stream, records_per_second: int = 1000) -> Daemon:
    file = host.directory / "token"
    file.write_text(f"{TOKEN}\n")
    return host.run(**stream.settings, web__token_file=str(file), rate__records_per_second=records_per_second)


def whole(report: Json) -> bool:
    totals = report["totals"]
    return bool(report["code"] == 0 and totals["records"] > 0 and totals["lost"] == totals["altered"] == 0)


def test_a_new_rate_is_a_new_segment_and_nothing_is_lost(host: Host, stream: Stream) -> None:
    daemon = start(host, stream, 320)
    daemon.until_acked(100)
    pids = daemon.workers()
    assert call(daemon, "/rate", '{"records_per_second": 1600.5}') == (200, '{"records_per_second":1600.5}\n')
    daemon.until("the new rate", lambda status: status["rates"]["target"] == 1600.5)
    daemon.until("records at the new rate", lambda status: status["totals"]["acked"] > 3000)
    assert daemon.workers() == pids
    assert daemon.counter("tickerd_worker_restarts_total") == 0
    # A worker that starts later has it as well.
    killed = daemon.workers()[0]
    os.kill(killed, signal.SIGKILL)
    daemon.until("another worker", lambda status: status["workers"][0]["pid"] not in {killed, None})
    daemon.until("both at work", lambda status: {w["state"] for w in status["workers"]} == {"running"})
    daemon.until("the same rate", lambda status: status["rates"]["target"] == 1600.5)
    daemon.until("what the killed one owed", lambda status: status["lag_seconds"] < 1)
    assert daemon.stop() == 0
    assert whole(host.verify(stream))


def test_a_drained_daemon_delivers_what_it_has_and_goes_on_when_asked_to(host: Host, stream: Stream) -> None:
    daemon = start(host, stream)
    daemon.until_acked(500)
    assert call(daemon, "/drain")[0] == 200
    drained = daemon.until("that it is drained", lambda status: status["state"] == "drained")
    assert drained["totals"]["owed"] == 0
    assert drained["totals"]["generated"] == drained["totals"]["acked"]
    assert daemon.get("/readyz")[0] == 503
    assert daemon.get("/livez")[0] == 200
    assert call(daemon, "/undrain")[0] == 200
    daemon.until_acked(drained["totals"]["acked"] + 500)
    daemon.until_ready()
    assert daemon.counter("tickerd_worker_restarts_total") == 0
    assert daemon.stop() == 0
    assert whole(host.verify(stream))


def test_a_drained_daemon_ends_when_told_to(host: Host, stream: Stream) -> None:
    daemon = start(host, stream)
    daemon.until_acked(100)
    assert call(daemon, "/drain")[0] == 200
    daemon.until("that it is drained", lambda status: status["state"] == "drained")
    assert daemon.stop() == 0
    assert whole(host.verify(stream))


def test_no_secret_is_shown_anywhere(host: Host, stream: Stream) -> None:
    secret = "planted-credential-0123456789"  # noqa: S105 - a test's
    environment = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": secret}
    (host.directory / "token").write_text(f"{TOKEN}\n")
    daemon = host.run(
        **stream.settings,
        environment=environment,
        web__token_file=str(host.directory / "token"),
        log__level="debug",
    )
    daemon.until_acked(500)
    call(daemon, "/drain", token=f"{TOKEN}x")
    call(daemon, "/rate", '{"records_per_second": 1}')
    daemon.send(signal.SIGUSR1)
    eventually("the stacks", lambda: daemon.said().count("(most recent call first)") >= 3)
    daemon.send(signal.SIGHUP)
    eventually("the reload", lambda: "read again" in daemon.said())
    paths = ("/status", "/metrics", "/readyz?verbose", "/openapi.json", "/nowhere")
    shown = "".join(daemon.get(path)[1] for path in paths)
    daemon.stop()
    shown += daemon.said() + "".join(
        file.read_text() for file in host.state.rglob("*.json") if file.is_file()
    )
    for planted in (TOKEN, secret):
        assert planted not in shown


def test_all_sockets_that_the_service_manager_holds_are_taken_over(host: Host, stream: Stream) -> None:
    unix = host.directory / "http.sock"
    code = (
        "import os, socket, sys\n"
        "first, second = (socket.create_server(('127.0.0.1', 0)) for _ in range(2))\n"
        "unix = socket.socket(socket.AF_UNIX); unix.bind(sys.argv.pop(1)); unix.listen()\n"
        "memory = os.memfd_create('something-stored')\n"
        "print(first.getsockname()[1], second.getsockname()[1], flush=True)\n"
        "given = [first.fileno(), memory, second.fileno(), unix.fileno()]\n"
        "kept = [os.dup(os.dup(os.dup(os.dup(fd)))) for fd in given]\n"
        "for number, fd in enumerate(kept, 3): os.dup2(fd, number); os.set_inheritable(number, True)\n"
        "names = 'http:stored:http:http'\n"
        "os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '4', 'LISTEN_FDNAMES': names}\n"
        "os.execv(sys.executable, [sys.executable, '-P', '-m', 'tickerd', *sys.argv[1:]])\n"
    )
    sets = {**stream.settings, "state__directory": str(host.state), "source__workers": 1}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(unix), "run", *_sets(sets)],
        env=host.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        for port in process.stdout.readline().split():
            connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
            connection.request("GET", "/livez")  # waits in the queue until the daemon is up
            assert connection.getresponse().status == 200
            connection.close()
        # A unix socket of the service manager's is no control socket: anybody may connect to it.
        with socket.socket(socket.AF_UNIX) as connecting:
            connecting.connect(str(unix))
            connecting.sendall(post("/drain"))
            assert connecting.recv(100).startswith(b"HTTP/1.1 401")
    finally:
        process.terminate()
        process.communicate()


@pytest.mark.parametrize("other", ["", "file"])
def test_a_control_socket_that_cannot_be_had_is_named(
    host: Host, stream: Stream, tmp_path: Path, other: str
) -> None:
    path = tmp_path / "nowhere" / "control.sock"
    if other:
        path = tmp_path / other
        path.write_text("a file, and no socket")
    daemon = host.run(**stream.settings, web__control_socket=str(path))
    assert daemon.wait() == 1
    (line,) = [line for line in daemon.lines() if line["level"] == "error"]
    assert line["message"].startswith(f"web.control_socket: {path} cannot be used")
