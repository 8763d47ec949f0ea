"""Carries calls to their acknowledgement: bounded in flight, failed entries sent again, causes waited out.

`submit` is the only place where the data plane waits. A record counts as delivered when the service has
acknowledged it, never before; nothing is given up, what is left at the end stays owed by the checkpoint.
"""

import asyncio
import random
import time

from tickerd.checkpoint import Progress
from tickerd.kinesis.calls import Call
from tickerd.kinesis.client import Cause, StreamError
from tickerd.kinesis.gate import Gate
from tickerd.kinesis.settle import Fate, Outcome, settle
from tickerd.kinesis.stream import KinesisStream
from tickerd.observe.counters import Report, error_label
from tickerd.schedule import end_ms
from tickerd.settings import Kinesis

RETRY_FIRST_S, RETRY_MAX_S = 0.05, 2.0  # full jitter below this, doubled with every try
UNREACHABLE_AFTER_FAILURES = 8  # calls in a row without any answer, before the endpoint counts as unreachable
RENEW_PAUSE_S = 5.0  # credentials that expired again sooner than this are no better than none


class Delivery:
    """The calls of one source that are on their way."""

    def __init__(
        self, stream: KinesisStream, gate: Gate, progress: Progress, report: Report, settings: Kinesis
    ) -> None:
        self._stream = stream
        self._gate = gate
        self._progress = progress
        self._report = report
        self._counts = report.counts
        self._calls_max = settings.calls_in_flight_max
        self._backlog_bytes_max = settings.backlog_bytes_max
        self._backlog_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._failures = 0  # calls in a row that got no answer
        self._renewed_s = -RENEW_PAUSE_S
        self._bug: BaseException | None = None

    async def submit(self, call: Call) -> None:
        """Send the call in the background, as soon as there is room for it."""
        size = len(call.body)
        while (
            self._bug is None
            and self._tasks
            and (len(self._tasks) >= self._calls_max or self._backlog_bytes + size > self._backlog_bytes_max)
        ):
            self._room.clear()
            await self._room.wait()
        if self._bug is not None:
            raise self._bug
        self._backlog_bytes += size
        task = asyncio.create_task(self._deliver(call))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(done, size))
        self._report.requests_in_flight = len(self._tasks)

    async def drain(self) -> None:
        """Wait until everything is acknowledged."""
        while self._bug is None and self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        if self._bug is not None:
            raise self._bug

    async def abandon(self) -> None:
        """Stop sending; what is not acknowledged stays owed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None], size: int) -> None:
        self._tasks.discard(task)
        self._backlog_bytes -= size
        self._report.requests_in_flight = len(self._tasks)
        self._room.set()
        if not task.cancelled() and task.exception() is not None:
            self._bug = task.exception()

    async def _deliver(self, call: Call) -> None:
        """Send one call, and what is left of it, until nothing is."""
        tries = 0
        left: Call | None = call
        while left is not None:
            probing = await self._gate.passage()
            await self._stream.turn(left)
            began_s = time.monotonic()
            reply = await self._stream.send(left)
            outcome = settle(len(left), reply)
            self._count(left, outcome, time.monotonic() - began_s)
            left = self._acknowledge(left, outcome)
            await self._react(outcome, began_s, probing=probing)
            if left is not None:
                self._counts.record_retries += len(left)
                if self._gate.cause is None:
                    await asyncio.sleep(random.uniform(0, min(RETRY_MAX_S, RETRY_FIRST_S * 2**tries)))
                tries += 1

    def _acknowledge(self, call: Call, outcome: Outcome) -> Call | None:
        """Take what was acknowledged into account, and return what is left to send."""
        if outcome.unacknowledged is None:
            return call
        left = None
        if outcome.unacknowledged:
            missing = set(outcome.unacknowledged)
            left = self._stream.again(call, outcome.unacknowledged)
            call = call.pick([entry for entry in range(len(call)) if entry not in missing])
        if not len(call):
            return left
        now_s = time.time()
        counts = self._counts
        for feed, (records, size) in enumerate(zip(*call.records_by_feed(), strict=True)):
            counts.records_acked[feed] += records
            counts.bytes_acked[feed] += int(size)
        counts.entries_acked += len(call)
        counts.records_per_entry.observe(1, len(call))
        for frame, records in call.records_by_frame():
            self._progress.acknowledge(frame, records)
            # To the nearest frame: a delay for each record would cost more than it tells.
            counts.record_delay_s.observe(max(0.0, now_s - end_ms(frame) / 1000), records)
        self._report.last_ack_s = now_s
        return left

    def _count(self, call: Call, outcome: Outcome, duration_s: float) -> None:
        counts = self._counts
        match outcome:
            case Outcome(unacknowledged=None):
                result = "failed"
            case Outcome(unacknowledged=[]):
                result = "acknowledged"
            case _:
                result = "partial"
        counts.put_requests[result] = counts.put_requests.get(result, 0) + 1
        counts.put_request_duration_s.observe(duration_s)
        counts.entries_per_request.observe(len(call))
        for code, entries in outcome.errors.items():
            label = error_label(code)
            counts.put_errors[label] = counts.put_errors.get(label, 0) + entries

    async def _react(self, outcome: Outcome, began_s: float, *, probing: bool) -> None:
        """What the answer means for the calls that come after this one, which was sent at `began_s`."""
        answered = outcome.unacknowledged is not None or outcome.cause is None
        self._failures = 0 if answered else self._failures + 1
        match outcome:
            case Outcome() if answered:
                self._gate.open()
            case Outcome(fate=Fate.RENEW, cause=Cause() as cause):
                await self._renew(cause, began_s, probing=probing)
            case Outcome(fate=Fate.RETRY) if not probing and self._failures < UNREACHABLE_AFTER_FAILURES:
                pass  # it may well be this call alone
            case Outcome(cause=Cause() as cause):
                self._gate.close(cause, probed=probing)

    async def _renew(self, cause: Cause, began_s: float, *, probing: bool) -> None:
        """Find new credentials and try them: at once, or as the next probe, soon."""
        if not probing and began_s < self._renewed_s:
            return  # it was signed with the ones from before
        if time.monotonic() - self._renewed_s > RENEW_PAUSE_S:
            try:
                await self._stream.renew_credentials()
            except StreamError as error:
                cause = error.cause
            else:
                self._renewed_s = time.monotonic()
                if not probing:
                    return
                cause = cause._replace(permanent=False)
        self._gate.close(cause, probed=probing)
