"""The HTTP side of the supervisor: /livez, /readyz, /metrics, /status. Read only; everything is bounded."""

import asyncio
import socket

import orjson
from aiohttp import web
from prometheus_client.exposition import choose_encoder

from tickerd.settings import listen_address
from tickerd.supervisor import Supervisor
from tickerd.web.metrics import registry
from tickerd.web.status import notices, problems, state, status

HEAD_BYTES_MAX = 8 * 1024
BODY_BYTES_MAX = 64 * 1024
CONNECTIONS_MAX = 64
BACKLOG = 1024  # who finds the kernel's queue full is not refused, but waits a second or more to try again
KEEP_ALIVE_S = 15.0
COUNT_AFTER_S = 0.01


class ListenError(Exception):
    """The address of `web.listen` cannot be had; the message is one line."""


class Pages:
    """The web side while it listens; `cleanup` ends it."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner
        self._counting: asyncio.TimerHandle | None = None

    async def listen(self, listener: socket.socket) -> None:
        """Accept connections; OSError when that is not possible."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, sock=listener, backlog=BACKLOG)

    async def cleanup(self) -> None:
        """Listen no more, and close every connection."""
        self._server.close()
        if self._counting is not None:
            self._counting.cancel()
        await self._runner.cleanup()
        await self._server.wait_closed()

    def _connect(self) -> asyncio.BaseProtocol:
        """So many connections at most: one more takes the place of the oldest, so that health answers."""
        assert self._runner.server is not None
        self._close_oldest(CONNECTIONS_MAX - 1)
        # A connection is known to the server only a little later: those that come at once are counted then.
        if self._counting is None:
            self._counting = asyncio.get_running_loop().call_later(COUNT_AFTER_S, self._count_again)
        return self._runner.server()

    def _count_again(self) -> None:
        self._counting = None
        self._close_oldest(CONNECTIONS_MAX)

    def _close_oldest(self, left: int) -> None:
        assert self._runner.server is not None
        # Those without a transport are closed already, and only on their way out.
        living = [each for each in self._runner.server.connections if each.transport is not None]
        for connection in living[:-left]:
            connection.force_close()


async def serve(supervisor: Supervisor) -> Pages:
    """Listen on `web.listen`; ListenError when that is not possible. `cleanup` the result to stop."""
    listen = supervisor.settings.web.listen
    runner = web.AppRunner(
        application(supervisor),
        access_log=None,
        max_line_size=HEAD_BYTES_MAX,
        max_field_size=HEAD_BYTES_MAX,
        keepalive_timeout=KEEP_ALIVE_S,
        handler_cancellation=True,
    )
    await runner.setup()
    pages = Pages(runner)
    try:
        listener = bound(listen)
        await pages.listen(listener)
    except OSError as error:
        await runner.cleanup()
        raise ListenError(
            f"web.listen: {listen} cannot be used ({error.strerror}); set another address"
        ) from error
    supervisor.address = "http://{}:{}".format(*_printable(listener))
    return pages


def bound(listen: str) -> socket.socket:
    """A socket that listens on `host:port`."""
    host, port = listen_address(listen)
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _printable(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    return (f"[{host}]" if ":" in host else host), port


def application(supervisor: Supervisor) -> web.Application:
    """The routes."""
    metrics = registry(supervisor)

    async def livez(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        ready = supervisor.ready
        text = "ok" if ready else "not ready"
        if "verbose" in request.query:
            beating = sum(slot.beats for slot in supervisor.slots)
            lines = [
                text,
                f"state: {state(supervisor)}",
                f"workers: {beating} of {supervisor.workers} beat",
                *(f"destination: {problem.message}" for problem in problems(supervisor.slots)),
                *(f"notice: {notice.message}" for notice in notices(supervisor.slots)),
            ]
            text = "\n".join(lines)
        return web.Response(text=text + "\n", status=200 if ready else 503)

    async def metrics_page(request: web.Request) -> web.Response:
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encoder(metrics), headers={"Content-Type": content_type})

    async def status_page(_request: web.Request) -> web.Response:
        body = orjson.dumps(status(supervisor), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        return web.Response(body=body, content_type="application/json")

    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_get("/livez", livez)
    app.router.add_get("/healthz", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics_page)
    app.router.add_get("/status", status_page)
    return app
