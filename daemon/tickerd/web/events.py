"""`GET /events`: what happens, as server-sent events; one a second, made once for all who listen.

Every listener has a short queue, whose oldest event is dropped (and counted) when it does not read; there are
so many listeners at most. Who comes, or comes again, first gets a `hello` with all that a page needs.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

import orjson
from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tickerd.checkpoint import Recipe
from tickerd.supervisor import Supervisor
from tickerd.web.figures import Figures, Json
from tickerd.web.instruments import DAY_MS, Instruments
from tickerd.web.problem import ProblemError
from tickerd.web.status import status

LISTENERS_MAX = 512
QUEUE_MAX = 4  # events that wait for a listener
EVERY_S = 1.0
SAMPLES_TOLD = 5  # seconds: who missed an event does not miss its figures
SILENCE_MAX_S = 15.0  # after which a comment says that the connection lives
WRITE_MAX_S = 30.0  # for one event; who takes none for so long is let go
RETRY_MS = 2000

log = logging.getLogger(__name__)


class Listener:
    """One who listens: what waits for it, and a bell."""

    def __init__(self) -> None:
        self.queue: deque[bytes] = deque(maxlen=QUEUE_MAX)
        self.rings = asyncio.Event()
        self.ended = False


class Events(Collector):
    """All who listen, and what they hear."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._figures = Figures(supervisor)
        self.instruments = self._of_current_run()
        self._listeners: set[Listener] = set()
        self._hello: tuple[int, Recipe, bytes] | None = None  # of this second, for all who come in it
        self._making_hello = asyncio.Lock()
        self._day_ms = 0
        self._told_ms = 0  # stories up to here have been told
        self._dropped = self._refused = 0

    def _of_current_run(self) -> Instruments:
        return Instruments(self._supervisor.current_run.recipe, self._supervisor.crew.universe)

    async def _sample(self, now_s: float) -> None:
        """Look at the daemon, whatever else takes its time."""
        self._figures.sample(now_s)

    async def _tell_all(self, now_s: float) -> None:
        """Tell those who listen; of another market, when the run has another."""
        # Only here, where no event is being made: whoever asks for a chart or a hello gives its work to the
        # instruments of that moment at once, and these do what they were given before their threads end.
        if self.instruments.recipe != self._supervisor.current_run.recipe:
            self.instruments.close()
            self.instruments = self._of_current_run()
            self._day_ms = 0
        if self._listeners:
            await self._tell(round(now_s * 1000))

    async def running(self, app: web.Application) -> AsyncIterator[None]:
        """Make events while the application runs; at its end everyone is let go."""
        app.on_shutdown.append(self._let_go)
        making = [asyncio.create_task(_each_second(do)) for do in (self._sample, self._tell_all)]
        yield
        for task in making:
            task.cancel()
        self.instruments.close()

    async def _let_go(self, _app: web.Application) -> None:
        for listener in self._listeners:
            listener.ended = True
            listener.rings.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Serve one listener until it leaves or the daemon ends."""
        if len(self._listeners) >= LISTENERS_MAX:
            self._refused += 1
            return ProblemError(503, f"{LISTENERS_MAX} listen already; come back later", 30).response()
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        )
        with self._joined() as listener:
            try:
                await response.prepare(request)
                await self._write(response, await self._greeting())
                while not listener.ended:
                    await self._write(response, await self._next(listener))
            except (TimeoutError, ConnectionError):  # it takes nothing any more, or has gone
                if request.transport is not None:
                    request.transport.abort()
        return response

    def describe(self) -> Iterable[Metric]:
        """Nothing, as the other metrics."""
        return []

    def collect(self) -> Iterator[Metric]:
        """How many listen, and what did not reach them."""
        text = "Who listens to /events."
        yield GaugeMetricFamily("tickerd_event_listeners", text, value=len(self._listeners))
        text = "Events that a slow listener did not get."
        yield CounterMetricFamily("tickerd_events_dropped", text, value=self._dropped)
        text = "Listeners refused, as there were too many."
        yield CounterMetricFamily("tickerd_event_listeners_refused", text, value=self._refused)

    @contextlib.contextmanager
    def _joined(self) -> Iterator[Listener]:
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    async def _next(self, listener: Listener) -> bytes:
        """The oldest event that waits, or a comment when none comes."""
        if not listener.queue:
            listener.rings.clear()
            try:
                async with asyncio.timeout(SILENCE_MAX_S):
                    await listener.rings.wait()
            except TimeoutError:
                return b": nothing new\n\n"
        return listener.queue.popleft() if listener.queue else b""

    async def _write(self, response: web.StreamResponse, message: bytes) -> None:
        async with asyncio.timeout(WRITE_MAX_S):
            await response.write(message)

    async def _greeting(self) -> bytes:
        """The `hello` of this second."""
        second = int(time.time())
        async with self._making_hello:
            recipe = self.instruments.recipe
            if self._hello is None or self._hello[:2] != (second, recipe):
                self._hello = (second, recipe, await self._make_hello())
            return self._hello[2]

    async def _make_hello(self) -> bytes:
        now_ms = time.time_ns() // 1_000_000
        instruments = self.instruments
        market = await instruments.catalogue(now_ms)
        if instruments is self.instruments:  # of another one, nothing has been told yet
            self._day_ms = market["day_ms"]
        samples = list(self._figures.samples)
        return message("hello", {"market": market, "samples": samples, "limits": LIMITS}, retry=True)

    async def _tell(self, now_ms: int) -> None:
        if self._day_ms != now_ms // DAY_MS * DAY_MS:  # another day, or another market
            self._publish(await self._make_hello())
        moment = await self.instruments.moment(max(self._told_ms, now_ms - 10_000), now_ms)
        self._told_ms = now_ms
        supervisor = self._supervisor
        content = {
            "time_ms": now_ms,
            "samples": list(self._figures.samples)[-SAMPLES_TOLD:],
            "status": status(supervisor),
            "holds": supervisor.holds | supervisor.doubts,
            "ready": supervisor.ready,
            "shards": self._figures.shards(),
            **moment,
        }
        self._publish(message("tick", content))

    def _publish(self, event: bytes) -> None:
        for listener in self._listeners:
            self._dropped += len(listener.queue) == QUEUE_MAX
            listener.queue.append(event)
            listener.rings.set()


async def _each_second(do: Callable[[float], Awaitable[None]]) -> None:
    """Do it each second, or less often where it takes longer; an error is told once while it lasts."""
    failing = False
    while True:
        now_s = time.time()
        try:
            await do(now_s)
            failing = False
        except Exception:
            if not failing:
                log.exception("the page misses events; tried again each second")
            failing = True
        await asyncio.sleep(EVERY_S - (time.time() - now_s) % EVERY_S)


LIMITS: Json = {"every_s": EVERY_S, "silence_max_s": SILENCE_MAX_S}


def message(kind: str, content: Json, *, retry: bool = False) -> bytes:
    """One event as it goes over the wire."""
    head = f"retry: {RETRY_MS}\n" if retry else ""
    return f"{head}event: {kind}\ndata: ".encode() + orjson.dumps(content) + b"\n\n"
