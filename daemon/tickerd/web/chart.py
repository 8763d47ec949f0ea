"""`GET /chart`: the prices of some instruments over the last hours, computed from the market itself."""

import orjson
from aiohttp import web

from tickerd.web.events import Events
from tickerd.web.instruments import (
    CHART_INSTRUMENTS_MAX,
    CHART_POINTS,
    CHART_POINTS_MAX,
    CHART_SPAN_MAX_S,
    CHART_SPAN_MIN_S,
    CHART_SPAN_S,
    BusyError,
    Json,
)
from tickerd.web.problem import ProblemError

BUSY_S = 2


def add_chart(app: web.Application, events: Events) -> None:
    """Add `GET /chart`."""

    async def chart(request: web.Request) -> web.Response:
        try:
            content = await _chart(request, events)
        except ProblemError as problem:
            return problem.response()
        return web.Response(
            body=orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE), content_type="application/json"
        )

    app.router.add_get("/chart", chart)


async def _chart(request: web.Request, events: Events) -> Json:
    instruments = tuple(dict.fromkeys(request.query.getall("instrument", [])))
    if not 1 <= len(instruments) <= CHART_INSTRUMENTS_MAX:
        raise ProblemError(400, f"instrument: give 1 to {CHART_INSTRUMENTS_MAX} of them")
    span_s = _whole(request, "span_s", CHART_SPAN_S, CHART_SPAN_MIN_S, CHART_SPAN_MAX_S)
    points = _whole(request, "points", CHART_POINTS, 2, CHART_POINTS_MAX)
    try:
        return await events.instruments.chart(instruments, span_s, points)
    except ValueError as error:
        raise ProblemError(400, str(error)) from None
    except BusyError:
        raise ProblemError(503, "too many charts are asked for; ask again in some seconds", BUSY_S) from None


def _whole(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and low <= int(text) <= high):
        raise ProblemError(400, f"{name}: expected a whole number from {low} to {high}")
    return int(text)
