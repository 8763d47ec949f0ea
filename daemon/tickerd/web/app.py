"""The HTTP side of the supervisor: health, metrics, status, the page, control. Everything is bounded."""

import logging
import ssl
from collections.abc import Sequence

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client.exposition import choose_encoder

from tickerd.supervisor import Supervisor
from tickerd.web.access import Access, Handler, add_headers
from tickerd.web.assets import Assets
from tickerd.web.chart import add_chart
from tickerd.web.connection import HEAD_BYTES_MAX
from tickerd.web.control import add_control
from tickerd.web.events import Events
from tickerd.web.listening import ListenError, bound, bound_control, inherited, url_of
from tickerd.web.logs import add_logs
from tickerd.web.metrics import registry
from tickerd.web.openapi import description
from tickerd.web.pages import CONNECTIONS_MAX, Pages, Silent, Streaming
from tickerd.web.status import database_lines, notices, problems, state, status

__all__ = ["CONNECTIONS_MAX", "HEAD_BYTES_MAX", "ListenError", "serve"]

BODY_BYTES_MAX = 64 * 1024


async def serve(supervisor: Supervisor, listener_fds: Sequence[int] = ()) -> Pages:
    """Listen on `web.listen`, or on the sockets that the service manager holds, and on `web.control_socket`.

    ListenError or SettingsError when that is not possible. `cleanup` the result to stop.
    """
    settings = supervisor.settings.web
    access = Access(supervisor.settings, supervisor.crew.state.path)
    supervisor.refreshers.append(access.refresh)
    runner = web.AppRunner(application(supervisor, access), handler_cancellation=True)
    for name in ("aiohttp.server", "asyncio"):
        logging.getLogger(name).addFilter(is_ours)
    await runner.setup()
    pages = Pages(runner, runner.app[SILENT], runner.app[STREAMING])
    try:
        listeners = [inherited(fd) for fd in listener_fds] or [bound(settings.listen)]
        for listener in listeners:
            await pages.listen(listener, access.tls)
        if settings.control_socket:
            await pages.listen(bound_control(settings.control_socket))
    except ListenError:
        await pages.cleanup()
        raise
    except OSError as error:  # `listen` itself can fail too: another one has it since
        await pages.cleanup()
        raise ListenError(
            f"web.listen: {settings.listen} cannot be used ({error.strerror}); set another address"
        ) from error
    supervisor.address = " ".join(url_of(listener, tls=access.tls is not None) for listener in listeners)
    return pages


def is_ours(line: logging.LogRecord) -> bool:
    """Whether a log line of the libraries is about our faults, and not about what strangers send."""
    kind = line.exc_info[0] if line.exc_info else None
    return kind is None or not issubclass(kind, (HttpProcessingError, ssl.SSLError, ConnectionError))


SILENT = web.AppKey("silent", Silent)
STREAMING = web.AppKey("streaming", Streaming)


@web.middleware
async def _hear(request: web.Request, handler: Handler) -> web.StreamResponse:
    if timer := request.app[SILENT].pop(request.protocol, None):
        timer.cancel()
    return await handler(request)


def application(supervisor: Supervisor, access: Access) -> web.Application:
    """The routes."""
    metrics = registry(supervisor)
    events = Events(supervisor)
    metrics.register(events)

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
                *(f"notice: {notice.message}" for notice in notices(supervisor.slots)),
                *(f"database: {line}" for line in database_lines(supervisor)),
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

    async def events_page(request: web.Request) -> web.StreamResponse:
        request.app[STREAMING].add(request.protocol)
        try:
            return await events.answer(request)
        finally:
            request.app[STREAMING].discard(request.protocol)

    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_hear, access.guard])
    app[SILENT] = {}
    app[STREAMING] = set()
    app.cleanup_ctx.append(events.running)
    app.on_response_prepare.append(add_headers)
    app.router.add_get("/livez", livez)
    app.router.add_get("/healthz", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics_page)
    app.router.add_get("/status", status_page)
    app.router.add_get("/openapi.json", openapi)
    app.router.add_get("/events", events_page)
    add_chart(app, events)
    add_control(app, supervisor, access)
    add_logs(app, supervisor)
    Assets().add_to(app)
    return app
