"""The HTTP side of the supervisor: health, metrics, status, control. Everything is bounded."""

import asyncio
import logging
import ssl
from collections.abc import Callable

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client.exposition import choose_encoder

from tickerd.supervisor import Supervisor
from tickerd.web.access import Access, Handler, add_headers
from tickerd.web.control import add_control
from tickerd.web.listening import ListenError, bound, bound_control, inherited, url_of
from tickerd.web.metrics import registry
from tickerd.web.openapi import description
from tickerd.web.status import problems, state, status

__all__ = ["CONNECTIONS_MAX", "HEAD_BYTES_MAX", "ListenError", "serve"]

HEAD_BYTES_MAX = 8 * 1024
BODY_BYTES_MAX = 64 * 1024
CONNECTIONS_MAX = 64
HEAD_MAX_S = 5.0  # from a connection's start to the end of its first request's head, and for TLS to begin
KEEP_ALIVE_S = 15.0


async def serve(supervisor: Supervisor, listener_fd: int | None = None) -> web.AppRunner:
    """Listen on `web.listen`, or on a socket that the service manager holds, and on `web.control_socket`.

    ListenError or SettingsError when that is not possible. `cleanup` the result to stop.
    """
    settings = supervisor.settings.web
    access = Access(supervisor.settings, supervisor.crew.state.path)
    supervisor.refreshers.append(access.refresh)
    runner = web.AppRunner(
        application(supervisor, access),
        access_log=None,
        max_line_size=HEAD_BYTES_MAX,
        max_field_size=HEAD_BYTES_MAX,
        keepalive_timeout=KEEP_ALIVE_S,
        handler_cancellation=True,
    )
    for name in ("aiohttp.server", "asyncio"):
        logging.getLogger(name).addFilter(is_ours)
    await runner.setup()
    loop = asyncio.get_running_loop()
    try:
        listener = bound(settings.listen) if listener_fd is None else inherited(listener_fd)
        await loop.create_server(
            _bounded(runner),
            sock=listener,
            backlog=CONNECTIONS_MAX,
            ssl=access.tls,
            ssl_handshake_timeout=HEAD_MAX_S if access.tls else None,
        )
        if settings.control_socket:
            control = bound_control(settings.control_socket)
            connect = _bounded(runner)
            server = await loop.create_unix_server(connect, sock=control, backlog=CONNECTIONS_MAX)
            runner.app[KEPT].append(server)  # the loop does not keep it
    except ListenError:
        await runner.cleanup()
        raise
    except OSError as error:  # `listen` itself can fail too: another one has it since
        await runner.cleanup()
        raise ListenError(
            f"web.listen: {settings.listen} cannot be used ({error.strerror}); set another address"
        ) from error
    supervisor.address = url_of(listener, tls=access.tls is not None)
    return runner


def is_ours(line: logging.LogRecord) -> bool:
    """Whether a log line of the libraries is about our faults, and not about what strangers send."""
    kind = line.exc_info[0] if line.exc_info else None
    return kind is None or not issubclass(kind, (HttpProcessingError, ssl.SSLError, ConnectionError))


def _bounded(runner: web.AppRunner) -> Callable[[], asyncio.BaseProtocol]:
    """So many connections at most: one more takes the place of the oldest, so that health answers.

    A connection that has asked for nothing in time is closed.
    """
    silent = runner.app[SILENT]

    def connect() -> asyncio.BaseProtocol:
        assert runner.server is not None
        connections = runner.server.connections
        if len(connections) >= CONNECTIONS_MAX:
            connections[0].force_close()
        connection = runner.server()

        silent[connection] = asyncio.get_running_loop().call_later(HEAD_MAX_S, close, connection)
        return connection

    def close(connection: web.RequestHandler) -> None:
        del silent[connection]
        connection.force_close()

    return connect


KEPT = web.AppKey("kept", list[asyncio.Server])
SILENT = web.AppKey("silent", dict[web.RequestHandler, asyncio.TimerHandle])
"""The connections that have not asked for anything yet, and when they are closed for that."""


@web.middleware
async def _hear(request: web.Request, handler: Handler) -> web.StreamResponse:
    if timer := request.app[SILENT].pop(request.protocol, None):
        timer.cancel()
    return await handler(request)


def application(supervisor: Supervisor, access: Access) -> web.Application:
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
                *(f"{who}: {why}" for who, why in (supervisor.holds | supervisor.doubts).items()),
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

    async def openapi(_request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(description()), content_type="application/json")

    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_hear, access.guard])
    app[SILENT], app[KEPT] = {}, []
    app.on_response_prepare.append(add_headers)
    app.router.add_get("/livez", livez)
    app.router.add_get("/healthz", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics_page)
    app.router.add_get("/status", status_page)
    app.router.add_get("/openapi.json", openapi)
    add_control(app, supervisor)
    return app
