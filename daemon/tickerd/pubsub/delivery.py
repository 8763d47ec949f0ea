"""Carries records to a topic: bounded in flight, failed requests sent again, causes waited out.

A publish request is taken whole or not at all, and never known to be the same as another: what is sent again
may arrive twice. Nothing is given up, what is left at the end stays owed by the checkpoint.
"""

import asyncio
import random
import time
from contextlib import suppress

from tickerd.arrivals import Arrivals
from tickerd.batch import Batch, Interleaved
from tickerd.cause import Cause
from tickerd.checkpoint import Progress
from tickerd.gate import Gate
from tickerd.observe.counters import Report
from tickerd.pubsub.cause import RETRYABLE, CallError, NotReadyError
from tickerd.pubsub.client import PubSubClient
from tickerd.pubsub.lanes import Lane, Request
from tickerd.pubsub.packing import packing_of
from tickerd.pubsub.wire import messages_acknowledged
from tickerd.settings import PubSub
from tickerd.texts import Texts

RETRY_FIRST_S, RETRY_FACTOR, RETRY_MAX_S = 0.1, 4.0, 10.0  # full jitter below this
UNAVAILABLE_AFTER_FAILURES = 8  # in a row, before the topic counts as unavailable
RENEW_PAUSE_S = 5.0  # credentials that are refused again sooner than this are no better than none
WAIT_MIN_S = 0.001
QUEUED_BYTES_MAX = 4 << 20  # more wait only for ordering keys whose turn it is not


def retry_pause_s(tries: int) -> float:
    """How long to wait before a try that follows so many failed ones (exponential back-off, full jitter)."""
    return random.uniform(0, min(RETRY_MAX_S, RETRY_FIRST_S * RETRY_FACTOR ** min(tries - 1, 16)))


class Delivery:
    """The records of one source that are on their way to a topic. `abandon` after use."""

    def __init__(
        self,
        client: PubSubClient,
        gate: Gate,
        source: str,
        progress: Progress,
        report: Report,
        settings: PubSub,
    ) -> None:
        self._client = client
        self._gate = gate
        self._settings = settings
        self._report = report
        self._arrivals = Arrivals(progress, report)
        self._packing = packing_of(source, client.topic, settings)
        self._in_order = settings.order == "key"
        self._linger_s = settings.linger_ms / 1000
        self._turn = 0  # the lane that is looked at first
        self._body_bytes = 0  # of the requests under way
        self._draining = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._wake = asyncio.Event()
        self._failures = 0  # in a row
        self._renewed_s = -RENEW_PAUSE_S
        self._bug: BaseException | None = None
        self._dispatching = asyncio.create_task(self._dispatch())
        self._dispatching.add_done_callback(self._ended)

    async def submit(self, batch: Batch | Interleaved, texts: Texts) -> None:
        """Send the batch's records, given as `texts`, in the background; wait first until there is room."""
        while self._bug is None and self._is_full():
            self._room.clear()
            await self._room.wait()
        if self._bug is not None:
            raise self._bug
        self._packing.put(batch, texts, time.monotonic())
        self._wake.set()

    async def drain(self) -> None:
        """Wait until everything is acknowledged."""
        self._draining = True
        self._wake.set()
        while self._bug is None and (self._tasks or self._waiting_bytes):
            self._room.clear()
            await self._room.wait()
        if self._bug is not None:
            raise self._bug

    async def abandon(self) -> None:
        """Stop sending; what is not acknowledged stays owed."""
        tasks = [self._dispatching, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def _waiting_bytes(self) -> int:
        return sum(lane.waiting_bytes for lane in self._packing.lanes)

    def _is_full(self) -> bool:
        waiting = self._waiting_bytes
        if waiting > QUEUED_BYTES_MAX and len(self._tasks) >= self._settings.requests_in_flight_max:
            return True
        return waiting + self._body_bytes > self._settings.backlog_bytes_max

    async def _dispatch(self) -> None:
        """Send what may go, as long as there is something, and wait until there is."""
        while True:
            self._wake.clear()
            lane, due_s = self._next(time.monotonic())
            if lane is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(due_s):
                        await self._wake.wait()
                continue
            request = self._packing.request(lane)
            lane.since_s = time.monotonic()
            lane.busy = self._in_order
            self._body_bytes += len(request.body)
            task = asyncio.create_task(self._deliver(request))
            self._tasks.add(task)
            task.add_done_callback(self._done)
            self._report.requests_in_flight = len(self._tasks)

    def _next(self, now_s: float) -> tuple[Lane | None, float | None]:
        """A lane with a request that may go now; else in how many seconds one may (None: when woken)."""
        if len(self._tasks) >= self._settings.requests_in_flight_max:
            return None, None
        lanes, due_s = self._packing.lanes, float("inf")
        for number in range(len(lanes)):
            lane = lanes[(self._turn + number) % len(lanes)]
            if lane.busy or not lane.blocks:
                continue
            lane_due_s = lane.since_s + self._linger_s
            if self._draining or lane_due_s <= now_s or self._packing.is_full(lane):
                self._turn = (self._turn + number + 1) % len(lanes)
                return lane, None
            due_s = min(due_s, lane_due_s)
        return None, None if due_s == float("inf") else max(WAIT_MIN_S, due_s - now_s)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._report.requests_in_flight = len(self._tasks)
        self._ended(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._bug = task.exception()
        self._room.set()
        self._wake.set()

    async def _deliver(self, request: Request) -> None:
        """Send one request until it is acknowledged."""
        tries = 0
        while True:
            probing = await self._gate.passage()
            began_s = time.monotonic()
            try:
                failure = await self._send(request)
                outcome, code = ("failed", failure.code) if failure else ("acknowledged", "")
                self._arrivals.answered(outcome, time.monotonic() - began_s, request.messages, code)
                await self._react(failure, began_s, probing=probing)
            except asyncio.CancelledError:
                if probing:
                    self._gate.give_up()
                raise
            if failure is None:
                break
            tries += 1
            self._arrivals.again(request.records)
            if self._gate.cause is None:
                await asyncio.sleep(retry_pause_s(tries))
        self._body_bytes -= len(request.body)
        request.lane.busy = False
        self._arrivals.arrived(request.loads, request.entries)

    async def _send(self, request: Request) -> Cause | None:
        """Why the request is not acknowledged; None when it is."""
        try:
            reply = await self._client.publish(request.body)
        except CallError as error:
            return error.cause
        acknowledged = messages_acknowledged(reply)
        if acknowledged != request.messages:
            what = f"{acknowledged} answers to {request.messages} messages: is this Pub/Sub?"
            return Cause("ReplyLength", what, permanent=False)
        return None

    async def _react(self, failure: Cause | None, began_s: float, *, probing: bool) -> None:
        """What an answer to a request that was sent at `began_s` means for those that come after it."""
        if failure is None:
            self._failures = 0
            self._gate.open()
            return
        self._failures += 1
        if failure.code == "UNAUTHENTICATED":
            await self._renew(failure, began_s, probing=probing)
        elif failure.permanent or probing or self._failures >= UNAVAILABLE_AFTER_FAILURES:
            self._gate.close(failure, probed=probing)
        else:
            assert failure.code in RETRYABLE or failure.code == "ReplyLength"

    async def _renew(self, failure: Cause, began_s: float, *, probing: bool) -> None:
        """Find a new token and try it: at once, or as the next probe."""
        if not probing and began_s < self._renewed_s:
            return  # it was sent with the one from before
        if time.monotonic() - self._renewed_s > RENEW_PAUSE_S:
            try:
                await self._client.renew_credentials()
            except NotReadyError as error:
                failure = error.cause
            else:
                self._renewed_s = time.monotonic()
                if not probing:
                    return
                failure = failure._replace(permanent=False)
        self._gate.close(failure, probed=probing)
