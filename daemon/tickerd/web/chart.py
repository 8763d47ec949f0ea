"""`GET /chart`: the prices of some instruments over the last hours, computed from the market itself."""

import orjson
from aiohttp import web

from tickerd.web.asked import check_names, nearest, shown, wrong
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
PARAMETERS = ("instrument", "span_s", "points")


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
    check_names(request.query, PARAMETERS, several="instrument")
    names = tuple(dict.fromkeys(request.query.getall("instrument", [])))
    if not 1 <= len(names) <= CHART_INSTRUMENTS_MAX:
        raise wrong(f"instrument: give 1 to {CHART_INSTRUMENTS_MAX} of them")
    instruments = events.instruments
    for name in names:
        if name not in instruments.names:
            fault = f"{shown(name)} is no currency pair or stock of this universe"
            raise wrong(f"instrument: {fault}; {nearest(name, instruments.names)}")
    span_s = _whole(request, "span_s", CHART_SPAN_S, CHART_SPAN_MIN_S, CHART_SPAN_MAX_S)
    points = _whole(request, "points", CHART_POINTS, 2, CHART_POINTS_MAX)
    try:
        return await instruments.chart(names, span_s, points)
    except BusyError:
        raise ProblemError(503, "too many charts are asked for; ask again in some seconds", BUSY_S) from None


def _whole(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and low <= int(text) <= high):
        raise wrong(f"{name}: expected a whole number from {low} to {high}")
    return int(text)
