"""Carries records to their acknowledgement: bounded in flight, failed entries sent again, causes waited out.

`submit` is the only place where the data plane waits. A record counts as delivered when the service has
acknowledged it, never before; nothing is given up, what is left at the end stays owed by the checkpoint.
"""

import asyncio
import time

from tickerd.batch import Batch, Interleaved
from tickerd.cause import Cause
from tickerd.checkpoint import Progress
from tickerd.gate import Gate
from tickerd.kinesis.accounting import Accounting
from tickerd.kinesis.aggregate import KPL, LINES, Aggregator
from tickerd.kinesis.calls import Call
from tickerd.kinesis.client import StreamError
from tickerd.kinesis.lanes import LaneOutbox
from tickerd.kinesis.outbox import Outbox
from tickerd.kinesis.plain import PlainOutbox
from tickerd.kinesis.rows import Rows
from tickerd.kinesis.settle import Fate, Outcome, settle
from tickerd.kinesis.stream import KinesisStream
from tickerd.observe.counters import Report
from tickerd.settings import Kinesis
from tickerd.texts import Texts

UNREACHABLE_AFTER_FAILURES = 8  # calls in a row without any answer, before the endpoint counts as unreachable
RENEW_PAUSE_S = 5.0  # credentials that expired again sooner than this are no better than none
LOOK_PAUSE_MIN_S = 0.001
BODY_BYTES_OF_CALL = 192 * 1024
"""A full call of plain records has 140 KB. Of larger ones, of aggregates, fewer are on their way, so that no
more bytes are: 32 of 930 KB, with what they hold, took 50 MB."""
AGGREGATIONS = {"kpl": KPL, "lines": LINES}


class Delivery:
    """The records of one source that are on their way, to a stream that is open. `abandon` after use."""

    def __init__(
        self, stream: KinesisStream, gate: Gate, progress: Progress, report: Report, settings: Kinesis
    ) -> None:
        self._stream = stream
        self._gate = gate
        self._accounting = Accounting(progress, report)
        self._report = report
        self._settings = settings
        self._outbox, self._aggregation = self._new_outbox()
        self._body_bytes = 0  # of the calls that were taken and are not answered
        self._draining = False
        self._no_slot = False  # what waits does so because enough calls are on their way
        self._tasks: set[asyncio.Task[None]] = set()
        self._probe: asyncio.Task[None] | None = None  # the last call that went through a closed gate
        self._room = asyncio.Event()
        self._wake = asyncio.Event()
        self._failures = 0  # calls in a row that got no answer
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
        self._follow()
        keys = self._outbox.route.keys_of(batch.instruments)
        rows = Rows.of_frame(texts, keys, batch.feeds, batch.frame)
        self._outbox.put(rows, time.monotonic())
        self._wake.set()

    async def drain(self) -> None:
        """Wait until everything is acknowledged."""
        self._draining = True
        self._outbox.flush()
        self._wake.set()
        while self._bug is None and (self._tasks or self._body_bytes or not self._outbox.empty):
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

    def _is_full(self) -> bool:
        if self._no_slot and self._outbox.ready:
            return True
        return self._outbox.waiting_bytes + self._body_bytes > self._settings.backlog_bytes_max

    def _enough_on_their_way(self) -> bool:
        most = self._settings.calls_in_flight_max
        return len(self._tasks) >= most or self._body_bytes >= most * BODY_BYTES_OF_CALL

    def _new_outbox(self) -> tuple[Outbox, str]:
        """What the stream and the settings ask for now."""
        stream, settings = self._stream, self._settings
        aggregation, linger_s = stream.aggregation, settings.linger_ms / 1000
        if aggregation == "none":
            return PlainOutbox(stream.opening, stream.route, stream.entry_bytes_max, linger_s), aggregation
        aggregator = Aggregator(
            AGGREGATIONS[aggregation], settings.aggregate_bytes_max, stream.entry_bytes_max
        )
        in_order = settings.order == "key"
        return LaneOutbox(stream.opening, stream.route, aggregator, linger_s, in_order=in_order), aggregation

    def _follow(self) -> None:
        """Go by the stream's newest map."""
        if self._stream.route is not self._outbox.route and self._stream.aggregation == self._aggregation:
            self._outbox.reroute(self._stream.route)

    def _change_outbox(self) -> None:
        """Go by what the stream allows now. Nothing is on its way, so that nothing is overtaken."""
        waiting = self._outbox.leave()
        self._outbox, self._aggregation = self._new_outbox()
        for rows in waiting:
            keys = self._outbox.route.keys_of(rows.keys)
            self._outbox.put(rows.with_keys(keys), time.monotonic())
        if self._draining:
            self._outbox.flush()

    async def _dispatch(self) -> None:
        """Send what may go, as long as there is something, and wait until there is."""
        while True:
            self._wake.clear()
            changing = self._stream.aggregation != self._aggregation
            if self._tasks and (changing or self._enough_on_their_way()):
                self._no_slot = True
                await self._wake.wait()
                continue
            if changing:
                self._change_outbox()
            self._follow()
            now_s = time.monotonic()
            call = self._outbox.take(now_s)
            self._room.set()
            if call is None:
                self._no_slot = False
                await self._until_due(now_s)
                continue
            self._body_bytes += len(call.body)
            self._no_slot |= self._gate.cause is not None
            probing = await self._gate.passage()
            task = asyncio.create_task(self._deliver(call, probing=probing))
            if probing:
                self._probe = task
            self._tasks.add(task)
            task.add_done_callback(self._answered)
            self._report.requests_in_flight = len(self._tasks)

    async def _until_due(self, now_s: float) -> None:
        """Wait until something has happened, or until time alone may let something go."""
        due_s = self._outbox.due_s(now_s)
        if due_s is None:
            await self._wake.wait()
            return
        try:
            async with asyncio.timeout(max(LOOK_PAUSE_MIN_S, due_s - now_s)):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task is self._probe and task.cancelled():
            self._gate.give_up()
        self._report.requests_in_flight = len(self._tasks)
        self._ended(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._bug = task.exception()
        self._room.set()
        self._wake.set()

    async def _deliver(self, call: Call, *, probing: bool) -> None:
        """Send one call, and take its answer into account."""
        began_s = time.monotonic()
        reply = await self._stream.send(call.body)
        self._body_bytes -= len(call.body)
        outcome = settle(len(call), reply, self._settings.request, whole=call.must_land)
        self._accounting.answered(call, outcome, time.monotonic() - began_s)
        await self._react(outcome, began_s, probing=probing)
        misplaced = await self._misplaced(call, outcome)
        self._follow()
        settled = self._outbox.settle(call, outcome, misplaced, time.monotonic())
        self._accounting.settled(call, settled)

    async def _misplaced(self, call: Call, outcome: Outcome) -> set[int]:
        """The entries that were acknowledged by a shard whose consumers will not take them."""
        if self._stream.is_auto and not call.must_land:
            return set()
        foreseen = call.route.shard_map.shards
        unexpected = {
            entry: shard_id
            for entry, (shard_id, shard) in enumerate(
                zip(outcome.landed, call.shards(len(outcome.landed)), strict=True)
            )
            if shard_id and shard_id != foreseen[shard].shard_id
        }
        if not unexpected:
            return set()
        if not call.must_land:
            self._stream.surprised(call.route, unexpected.values())
            return set()
        await self._stream.explain(call.route, unexpected.values())
        return {  # also those of shards that have a foreseen name, but in a stream made anew
            entry
            for entry, shard_id in enumerate(outcome.landed)
            if shard_id and not call.is_legal_in(entry, self._stream.shard(shard_id))
        }

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
