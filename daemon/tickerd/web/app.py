"""The HTTP side of the supervisor: /livez, /readyz, /metrics, /status. Read only; everything is bounded."""

import asyncio
import socket
from collections.abc import Callable

import orjson
from aiohttp import web
from prometheus_client.exposition import choose_encoder

from tickerd.settings import listen_address
from tickerd.supervisor import Supervisor
from tickerd.web.metrics import registry
from tickerd.web.status import problems, state, status

HEAD_BYTES_MAX = 8 * 1024
BODY_BYTES_MAX = 64 * 1024
CONNECTIONS_MAX = 64
KEEP_ALIVE_S = 15.0


class ListenError(Exception):
    """The address of `web.listen` cannot be had; the message is one line."""


async def serve(supervisor: Supervisor, inherited: socket.socket | None = None) -> web.AppRunner:
    """Listen on `web.listen`, or on a socket that the service manager holds; ListenError when that cannot be.

    `cleanup` the result to stop.
    """
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
    try:
        listener = inherited or bound(listen)
        await asyncio.get_running_loop().create_server(
            _bounded(runner), sock=listener, backlog=CONNECTIONS_MAX
        )
    except OSError as error:
        await runner.cleanup()
        raise ListenError(
            f"web.listen: {listen} cannot be used ({error.strerror}); set another address"
        ) from error
    supervisor.address = "http://{}:{}".format(*_printable(listener))
    return runner


def _bounded(runner: web.AppRunner) -> Callable[[], asyncio.BaseProtocol]:
    """So many connections at most: one more takes the place of the oldest, so that health answers."""

    def connect() -> asyncio.BaseProtocol:
        assert runner.server is not None
        connections = runner.server.connections
        if len(connections) >= CONNECTIONS_MAX:
            connections[0].force_close()
        return runner.server()

    return connect


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
