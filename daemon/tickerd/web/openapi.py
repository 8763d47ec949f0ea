"""The description of the HTTP side, served at `/openapi.json` (OpenAPI 3.0.3)."""

from typing import Any

from tickerd import __version__
from tickerd.records import FEEDS
from tickerd.settings import RECORDS_PER_SECOND_MAX
from tickerd.web.asked import LIMIT_DEFAULT, LIMIT_MAX, SPAN_DAYS_MAX
from tickerd.web.instruments import (
    CHART_INSTRUMENTS_MAX,
    CHART_POINTS,
    CHART_POINTS_MAX,
    CHART_SPAN_MAX_S,
    CHART_SPAN_MIN_S,
    CHART_SPAN_S,
)

Schema = dict[str, Any]

_TEXT: Schema = {"text/plain": {"schema": {"type": "string"}}}
_NUMBER, _STRING, _INTEGER = {"type": "number"}, {"type": "string"}, {"type": "integer"}


# Steps of a milli-record, so that none is rounded away.
_RATE: Schema = {"type": "number", "minimum": 0, "maximum": RECORDS_PER_SECOND_MAX, "multipleOf": 0.001}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _or_null(schema: Schema) -> Schema:
    return schema | {"nullable": True}


_WORKER = _object(
    worker=_INTEGER,
    pid=_or_null(_INTEGER),
    source=_STRING,
    state=_STRING,
    generated=_INTEGER,
    acked=_INTEGER,
    owed=_INTEGER,
    lag_seconds=_NUMBER,
    restarts=_INTEGER,
    poison_frame=_or_null(_INTEGER),
)
_TIME = {"type": "string", "format": "date-time"}
_PRICE = {"bid": _NUMBER, "ask": _NUMBER, "time": _TIME}
_LOGS = _object(
    forex_exchange_rates={"type": "array", "items": _object(currency_pair=_STRING, rate=_NUMBER, **_PRICE)},
    stock_prices={
        "type": "array",
        "items": _object(stock_symbol=_STRING, price=_NUMBER, size=_INTEGER, **_PRICE),
    },
    stock_news_feed={
        "type": "array",
        "items": _object(
            stock_symbol=_STRING,
            news_item=_STRING,
            category=_STRING,
            sentiment={"type": "number", "minimum": -1, "maximum": 1},
            story_id=_INTEGER,
            time=_TIME,
        ),
    },
)
_LOGS["properties"]["next"] = {"type": "string", "description": "Give it as cursor for the next page"}
_SENT = _object(source=_STRING, records=_INTEGER, time=_TIME)
_PROBLEM: Schema = {
    "application/problem+json": {
        "schema": _object(type=_STRING, title=_STRING, status=_INTEGER, detail=_STRING)
    }
}


def _asks(name: str, text: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": text, "schema": schema}


_LOGS_PARAMETERS = [
    _asks("feed", "Rows of this feed only", {"type": "string", "enum": list(FEEDS)}),
    _asks(
        "instrument", "Only about this pair, stock, or (news) currency", {"type": "string", "minLength": 1}
    ),
    _asks("at", "At this time instead of now; it cannot go with from and to", _TIME),
    _asks("from", f"Rows of a stretch of at most {SPAN_DAYS_MAX} days, from this time on", _TIME),
    _asks("to", "Up to, not including, this time; without it: now", _TIME),
    _asks(
        "limit",
        f"Rows at most, of all feeds together; of a stretch {LIMIT_DEFAULT} unless it is given",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX},
    ),
    _asks(
        "cursor", "The next of the page before, with the same from and to", {"type": "string", "minLength": 1}
    ),
]
_STREAM = _object(name=_STRING, shards=_INTEGER, distribution=_STRING, ceiling_records_per_second=_NUMBER)
_STATUS = _object(
    version=_STRING,
    run=_STRING,
    state={
        "type": "string",
        "enum": ["starting", "waiting", "running", "draining", "drained"],
    },
    draining={"type": "boolean"},
    rates=_object(target=_NUMBER, generated=_NUMBER, acked=_NUMBER),
    totals=_object(generated=_INTEGER, acked=_INTEGER, owed=_INTEGER),
    lag_seconds=_NUMBER,
    destination=_object(
        kind={"type": "string", "enum": ["kinesis", "pubsub", "file", "stdout", "null"]}, name=_STRING
    ),
    stream=_or_null(_STREAM),
    limits={"type": "object"},
    errors={
        "type": "array",
        "items": _object(code=_STRING, message=_STRING, since=_NUMBER, count=_INTEGER),
    },
    workers={"type": "array", "items": _WORKER},
)


def description() -> Schema:
    """The OpenAPI document."""
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "tickerd",
            "version": __version__,
            "description": "Health, metrics, status, events and control of one host's daemon.",
        },
        "paths": {
            "/livez": _get("Whether the supervisor's loop turns", {"200": _answer("It does", _TEXT)}),
            "/healthz": _get("The same", {"200": _answer("It does", _TEXT)}),
            "/readyz": _get(
                "Whether at least half of the workers beat; never depends on the stream",
                {"200": _answer("Ready", _TEXT), "503": _answer("Starting or draining", _TEXT)},
                [{"name": "verbose", "in": "query", "allowEmptyValue": True, "schema": _STRING}],
            ),
            "/metrics": _get(
                "Prometheus metrics of all workers",
                {
                    "200": _answer(
                        "Prometheus text, or OpenMetrics where it is asked for",
                        _TEXT | {"application/openmetrics-text": {"schema": _STRING}},
                    ),
                    "401": _answer("web.read_needs_token is set", _PROBLEM),
                },
            ),
            "/status": _get("The daemon as people and scripts read it", _read(_STATUS)),
            "/": _get("The live page", {"200": _answer("HTML", {"text/html": {"schema": _STRING}})}),
            "/events": _get(
                "Server-sent events: `hello` with all that the page needs, then `tick` each second",
                {
                    "200": _answer("Events, without end", {"text/event-stream": {"schema": _STRING}}),
                    "401": _answer("web.read_needs_token is set", _PROBLEM),
                    "503": _answer("Too many listen already", _PROBLEM),
                },
            ),
            "/chart": _get(
                "Prices of the last hours, computed from the market; of one instrument, its stories too",
                _read(_CHART)
                | {
                    "400": _answer("A parameter is not right", _PROBLEM),
                    "503": _answer("Too many charts are asked for", _PROBLEM),
                },
                _CHART_PARAMETERS,
            ),
            "/control": _get(
                "Whether the token is right, and with it what is in force",
                {"200": _answer("OK", {"application/json": {"schema": _CONTROL}})},
            ),
            "/logs": _get(
                "The market: every pair and stock, and the latest stories; now, at a time, or over a stretch",
                {
                    "200": _answer("The rows", {"application/json": {"schema": _LOGS}}),
                    "304": {"description": "It is what If-None-Match names"},
                    "400": _answer("A parameter is not right", _PROBLEM),
                    "401": _answer("web.read_needs_token is set", _PROBLEM),
                    "503": _answer(
                        "Too much is asked for at once; Retry-After says when to come back", _PROBLEM
                    ),
                },
                _LOGS_PARAMETERS,
            )
            | _post_logs(),
            "/openapi.json": _get("This description", _read({"type": "object"})),
            "/rate": _post(
                "Set this host's rate until the restart",
                _object(records_per_second=_NUMBER),
                _object(records_per_second=_RATE) | {"additionalProperties": False},
                conflict="rate.mode is snapshot, which has no rate",
            ),
            "/drain": _post("Stop generating, deliver what has begun, keep the process", _DRAINING),
            "/undrain": _post(
                "Go on", _DRAINING, conflict="Something else than POST /drain keeps it draining"
            ),
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


_STORY = _object(
    story_id=_INTEGER,
    time_ms=_INTEGER,
    symbol=_STRING,
    news_item=_STRING,
    category=_STRING,
    sentiment=_NUMBER,
    move_percent=_NUMBER,
)
_CHART = _object(
    seconds={"type": "array", "items": _INTEGER},
    prices={"type": "object", "additionalProperties": {"type": "array", "items": _NUMBER}},
    stories={"type": "array", "items": _STORY},
)
_CONTROL: Schema = {
    "type": "object",
    "required": ["trusted", "read_needs_token"],
    "properties": {
        "trusted": {"type": "boolean"},
        "read_needs_token": {"type": "boolean"},
        "records_per_second": _NUMBER,
        "draining": {"type": "boolean"},
    },
}
_DRAINING = _object(draining={"type": "boolean"})


_CHART_PARAMETERS: list[Schema] = [
    {
        "name": "instrument",
        "in": "query",
        "required": True,
        "description": "Currency pairs and stocks; the name again for each",
        "schema": {"type": "array", "items": _STRING, "minItems": 1, "maxItems": CHART_INSTRUMENTS_MAX},
    },
    {
        "name": "span_s",
        "in": "query",
        "schema": {
            "type": "integer",
            "minimum": CHART_SPAN_MIN_S,
            "maximum": CHART_SPAN_MAX_S,
            "default": CHART_SPAN_S,
        },
    },
    {
        "name": "points",
        "in": "query",
        "schema": {"type": "integer", "minimum": 2, "maximum": CHART_POINTS_MAX, "default": CHART_POINTS},
    },
]


def _answer(text: str, content: Schema) -> Schema:
    return {"description": text, "content": content}


def _read(schema: Schema) -> Schema:
    return {
        "200": _answer("OK", {"application/json": {"schema": schema}}),
        "401": _answer("web.read_needs_token is set", _PROBLEM),
    }


def _get(text: str, responses: Schema, parameters: list[Schema] | None = None) -> Schema:
    return {"get": {"summary": text, "parameters": parameters or [], "responses": responses}}


def _post_logs() -> Schema:
    """One snapshot into the stream."""
    described = _post(
        "Send one record of each pair and stock, as they are now, as a source of their own", _SENT
    )
    described["post"]["responses"] |= {
        "400": _answer("There are parameters, or a body", _PROBLEM),
        "503": _answer("The stream takes no records, or the daemon sends none", _PROBLEM),
        "504": _answer("Not acknowledged in time: it may arrive yet, in part", _PROBLEM),
    }
    return described


def _post(text: str, answer: Schema, body: Schema | None = None, conflict: str = "") -> Schema:
    operation: Schema = {
        "summary": text,
        "security": [{"token": []}],
        "responses": {
            "200": _answer("Done", {"application/json": {"schema": answer}}),
            "401": _answer("The token is missing or wrong", _PROBLEM),
            "408": _answer("The body took too long", _PROBLEM),
            "413": _answer("The body is too large", _PROBLEM),
        },
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
        operation["responses"]["400"] = _answer("The body is not right", _PROBLEM)
    if conflict:
        operation["responses"]["409"] = _answer(conflict, _PROBLEM)
    return {"post": operation}
