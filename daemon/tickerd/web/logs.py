"""`GET /logs`: the market now, at another time, or over a stretch; `POST /logs`: a snapshot into the stream.

The latest is made once a second at most and only when asked for, and sent as the same bytes to everybody. It
has a thread of its own, so that no other answer keeps it waiting.
"""

import asyncio
import logging
import time
from threading import Lock
from typing import NamedTuple

import msgspec
import orjson
from aiohttp import web

from tickerd.checkpoint import Recipe
from tickerd.computed import ComputedHistory
from tickerd.history import ForexRow, HistoryUnavailableError, NewsRow, Query, Rows, StockRow
from tickerd.on_demand import NotSentError
from tickerd.recipe import market_of
from tickerd.records import FEEDS
from tickerd.snapshots import Snapshots
from tickerd.state import new_run
from tickerd.store.answering import Answers
from tickerd.supervisor import Supervisor
from tickerd.web.asked import LATEST, Asked, Instruments, asked, cursor_text
from tickerd.web.computing import Computing
from tickerd.web.control import read_body
from tickerd.web.encoded import CODINGS, IDENTITY, Body, Encoded, coding_for, encoded, tags_of
from tickerd.web.problem import ProblemError

THREADS = 2
WAITING_MAX = 32  # answers that wait for one of these
KEPT_MAX = 64  # different answers about the same second

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Shown(NamedTuple):
    """The market whose logs are shown."""

    recipe: Recipe
    snapshots: Snapshots


class Logs:
    """The answers of one daemon."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._of_now, self._of_others = Computing(1, KEPT_MAX), Computing(THREADS, WAITING_MAX)
        every_s = supervisor.settings.database.snapshot_every_s
        computed = ComputedHistory(self._of_others.pool, self._snapshots, every_s)
        self._history = Answers(supervisor.store, computed)
        self._making = Lock()
        self._shown: Shown | None = None
        self._instruments: tuple[str, Instruments] | None = None  # of the universe with that digest
        self._second, self._latest = 0, dict[Asked, asyncio.Future[Body]]()

    async def get(self, request: web.Request) -> web.Response:
        """`GET /logs`."""
        coding = coding_for(request.headers.get("Accept-Encoding", ""))
        try:
            if request.query_string:
                what = asked(request.query, self._names(), time.time_ns() // 1_000_000)
            else:
                what = LATEST
            if what.from_ms is not None:
                body = await self._stretch(what, coding)
            elif what.at_ms is not None:
                body = await self._of_others.made(self._moment, what.at_ms, what, (coding,))
            else:
                body = await self._now(what)
        except ProblemError as problem:
            return problem.response()
        return _answer(body.get(coding) or body[IDENTITY], request.headers.get("If-None-Match"))

    async def post(self, request: web.Request) -> web.Response:
        """`POST /logs`."""
        if await read_body(request):
            return ProblemError(400, "POST /logs takes no body; leave it out").response()
        if request.query_string:
            return ProblemError(400, "POST /logs takes no parameters; leave them out").response()
        source = f"{self._supervisor.current_run.identity.host}-logs-{new_run()}"
        whence = {"action": "logs", "source": source, "from": request.remote or "control socket"}
        log.info("control request", extra=whence)
        try:
            if self._supervisor.draining:
                raise NotSentError("the daemon is draining")  # noqa: TRY301 - one way out
            sent = await self._supervisor.crew.on_demand.snapshot(source)
        except NotSentError as error:
            detail = f"the snapshot {source} is not acknowledged: {error}; ask again later"
            return ProblemError(504 if error.late else 503, detail, retry_after_s=10).response()
        answer = {"source": sent.source, "records": sent.records, "time": sent.time}
        return web.Response(
            body=orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE), content_type="application/json"
        )

    async def close(self) -> None:
        """Let the threads end."""
        self._of_now.close()
        self._of_others.close()

    async def _now(self, what: Asked) -> Body:
        """The last whole second, made by the first who asks for it."""
        second = int(time.time())
        if second != self._second:
            self._second, self._latest = second, {}
        making = self._latest.get(what)
        if making is None:
            making = asyncio.ensure_future(self._of_now.made(self._moment, second * 1000, what, CODINGS))
            making.add_done_callback(_looked_at)
            if len(self._latest) < KEPT_MAX:
                self._latest[what] = making
        return await asyncio.shield(making)  # others wait for it too when this one goes away

    async def _stretch(self, what: Asked, coding: str) -> Body:
        assert what.from_ms is not None
        assert what.limit is not None
        query = Query(what.feed, what.instrument, what.from_ms, what.to_ms, what.limit, what.after)
        try:
            page = await self._history.page(query)
        except HistoryUnavailableError as error:
            raise ProblemError(503, str(error), error.retry_after_s) from None
        following = None if page.next is None else cursor_text(page.next)
        return await self._of_others.made(_stretch_body, page.rows, following, coding)

    # In threads.

    def _snapshots(self) -> Snapshots:
        """Of the market that is generated now."""
        with self._making:
            recipe, universe = self._supervisor.current_run.recipe, self._supervisor.crew.universe
            # While a reload changes the universe, the run is still the one from before for a moment.
            settled = recipe.universe_digest == universe.digest
            if settled and (self._shown is None or self._shown.recipe != recipe):
                self._shown = Shown(recipe, Snapshots(market_of(recipe, universe)))
            if self._shown is None:
                raise ProblemError(503, "the market is just being changed; ask again later", 1)
            return self._shown.snapshots

    def _moment(self, ms: int, what: Asked, codings: tuple[str, ...]) -> Body:
        rows = _rows_at(self._snapshots(), ms, what)
        return encoded(_encode(rows), codings)

    def _names(self) -> Instruments:
        universe = self._supervisor.crew.universe
        if self._instruments is None or self._instruments[0] != universe.digest:
            self._instruments = (universe.digest, Instruments.of(universe))
        return self._instruments[1]


def _looked_at(making: asyncio.Future[Body]) -> None:
    """Of an answer that nobody waits for any more, no failure needs to be told."""
    if not making.cancelled():
        making.exception()


def _rows_at(snapshots: Snapshots, ms: int, what: Asked) -> Rows:
    """The rows of a moment that are asked for."""
    name = what.instrument
    forex: list[ForexRow] = []
    stocks: list[StockRow] = []
    news: list[NewsRow] = []
    if what.feed != FEEDS[2] and (name is None or name in snapshots.quoted):
        forex, stocks = snapshots.rows(ms, snapshots.standing([ms], name), 0, name)
    if what.feed in {None, FEEDS[2]} and (name is None or name in snapshots.subjects):
        news = snapshots.latest_stories(ms, name)
    forex = forex if what.feed in {None, FEEDS[0]} else []
    stocks = stocks if what.feed in {None, FEEDS[1]} else []
    if what.limit is None:
        return Rows(forex, stocks, news)
    left = max(0, what.limit - len(forex))
    return Rows(forex[: what.limit], stocks[:left], news[: max(0, left - len(stocks))])


def _stretch_body(rows: Rows, following: str | None, coding: str) -> Body:
    content = _encode(rows)
    if following is not None:
        content = content[:-1] + b',"next":' + _encode(following) + b"}"
    return encoded(content, (coding,))


def _answer(found: Encoded, if_none_match: str | None) -> web.Response:
    headers = {"ETag": found.etag, "Vary": "Accept-Encoding", "Cache-Control": "no-cache"}
    if if_none_match is not None and (if_none_match == "*" or found.etag in tags_of(if_none_match)):
        return web.Response(status=304, headers=headers)
    if found.coding != IDENTITY:
        headers["Content-Encoding"] = found.coding
    headers["Content-Type"] = "application/json"
    return web.Response(body=found.body, headers=headers)


def add_logs(app: web.Application, supervisor: Supervisor) -> None:
    """Add `GET /logs` and `POST /logs`."""
    logs = Logs(supervisor)

    async def close(_app: web.Application) -> None:
        await logs.close()

    app.on_cleanup.append(close)
    app.router.add_get("/logs", logs.get)
    app.router.add_post("/logs", logs.post)
