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
)

BUSY_S = "2"


class ChartError(ValueError):
    """A parameter is not right; the message is one line."""


def add_chart(app: web.Application, events: Events) -> None:
    """Add `GET /chart`."""

    async def chart(request: web.Request) -> web.Response:
        try:
            instruments = tuple(dict.fromkeys(request.query.getall("instrument", [])))
            if not 1 <= len(instruments) <= CHART_INSTRUMENTS_MAX:
                raise ChartError(f"instrument: give 1 to {CHART_INSTRUMENTS_MAX} of them, each once")
            span_s = _whole(request, "span_s", CHART_SPAN_S, CHART_SPAN_MIN_S, CHART_SPAN_MAX_S)
            points = _whole(request, "points", CHART_POINTS, 2, CHART_POINTS_MAX)
            content = await events.instruments.chart(instruments, span_s, points)
        except ValueError as error:
            return _answer({"error": str(error)}, 400)
        except BusyError:
            text = "too many charts are asked for; try again in some seconds"
            return _answer({"error": text}, 503, {"Retry-After": BUSY_S})
        return _answer(content, 200)

    app.router.add_get("/chart", chart)


def _whole(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and low <= int(text) <= high):
        raise ChartError(f"{name}: expected a whole number from {low} to {high}")
    return int(text)


def _answer(content: dict[str, object], status: int, headers: dict[str, str] | None = None) -> web.Response:
    body = orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
