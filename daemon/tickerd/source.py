"""One source in this process: gives out its frames as they become due, and keeps its checkpoint.

No frame is given out before the checkpoint that reserves it, with its segment, is durable.
"""

import asyncio
import contextlib
import errno
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from tickerd import checkpoint
from tickerd.checkpoint import Checkpoint, Progress
from tickerd.clock import Clock
from tickerd.observe.counters import Problem, Report
from tickerd.schedule import (
    FRAMES_PER_SECOND,
    RECORDS_PER_PART_MAX,
    RECORDS_PER_PROMPT_PART_MAX,
    Cadence,
    Part,
    due_at_ns,
    due_below,
    end_ms,
)

FRAME_S = 1 / FRAMES_PER_SECOND
SKIP_PAUSE_S = 10.0
SAVE_PAUSE_S = 1.0
MESSAGE_CHARACTERS_MAX = 1000  # in the report, whose room is bounded
RESERVED_MAX_S = 10.0  # no reservation reaches further ahead

log = logging.getLogger(__name__)


class Pace:
    """How fast late frames may follow each other: `factor` of them in a frame's time."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._credit = 1.0
        self._seen_s = time.monotonic()

    def take(self) -> bool:
        """Whether one more frame may be begun now."""
        now_s = time.monotonic()
        earned = (now_s - self._seen_s) * FRAMES_PER_SECOND * self._factor
        self._seen_s = now_s
        self._credit = min(self._credit + earned, FRAMES_PER_SECOND * self._factor)
        if self._credit < 1:
            return False
        self._credit -= 1
        return True


class Source:
    """A source's frames, from what it owes on.

    `cadence_at` gives that of a frame not yet reserved; without it the source is a retired one, whose owed
    frames are given out at once and which ends with them. `records_max`: end with the first whole frame that
    reaches so many; `ends_at_seq`: where an earlier process of the same command has settled that end.
    """

    def __init__(
        self,
        path: Path,
        state: Checkpoint,
        report: Report,
        *,
        before_save: Callable[[], None],
        cadence_at: Callable[[int], Cadence] | None,
        digest: str = "",
        catch_up_factor: float = 2.0,
        catch_up_max_s: float = 300.0,
        counted_below: int = 0,
        records_max: int | None = None,
        ends_at_seq: int | None = None,
    ) -> None:
        self.name = state.source
        self.recipe = state.recipe
        if ends_at_seq is not None:
            state = _without_what_lies_beyond(state, ends_at_seq)
        elif records_max is not None:
            ends_at_seq = state.timeline().seq(state.lowest_unacknowledged) + records_max
        self.progress = Progress(state)
        self.clock = Clock()
        self._path = path
        self._report = report
        self._before_save = before_save
        self._cadence_at = cadence_at
        self._digest = digest
        self._pace = Pace(catch_up_factor)
        self._reservation = checkpoint.reservation(catch_up_factor)
        self._catch_up_max_frames = int(catch_up_max_s * FRAMES_PER_SECOND)
        self.owes = state.owes  # what an earlier process has begun
        self._regenerate_below = state.begun_below
        self._counted_below = counted_below
        self._ends_at_seq = report.ends_at_seq = ends_at_seq
        self._skipped_s = -SKIP_PAUSE_S
        self._saving = asyncio.Lock()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Begin no further frame, but finish those that an earlier process has begun."""
        self._stop.set()

    async def parts(self) -> AsyncIterator[Part]:
        """The parts of every due frame, in order; a frame without records is one empty part."""
        while await self._next_frame_is_due():
            for part in self._begin():
                yield part

    async def _next_frame_is_due(self) -> bool:
        """Wait for the next frame; False when there is none any more."""
        progress = self.progress
        if self._cadence_at is None:
            progress.pass_quiet()
            ahead_s = (due_at_ns(progress.next_frame) - self.clock.now_ns()) / 1e9
            if 0 < ahead_s < RESERVED_MAX_S:  # frames further ahead were begun before the clock was set back
                await asyncio.sleep(ahead_s)
            return progress.next_frame < progress.begun_below
        if self._ends_at_seq is not None and progress.timeline.seq(progress.next_frame) >= self._ends_at_seq:
            return False
        while True:
            progress.pass_quiet()
            owed = progress.next_frame < self._regenerate_below
            if self._stop.is_set() and not owed:
                return False
            if progress.next_frame >= progress.begun_below:
                wait_s = 0.0 if await self.save() else SAVE_PAUSE_S
            else:
                wait_s = (due_at_ns(progress.next_frame) - self.clock.now_ns()) / 1e9
                if wait_s <= 0:
                    if self._is_between_snapshots() or self._pace.take():
                        return True
                    wait_s = FRAME_S
                elif self._stop.is_set() and wait_s > RESERVED_MAX_S:
                    return False  # begun before the clock was set back: not due for a long time
            await self._sleep(min(wait_s, 1.0))  # no longer, so that a clock that is set is noticed

    def _is_between_snapshots(self) -> bool:
        """Whether the next frame is an empty one, which late snapshots need not wait for."""
        segment = self.progress.timeline.segment(self.progress.next_frame)
        return segment.snapshots is not None and not any(segment.counts(self.progress.next_frame))

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not beyond the moment of `stop`."""
        if self._stop.is_set():
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    def _begin(self) -> list[Part]:
        """Begin the next frame: from now on its records are owed."""
        progress, counts = self.progress, self._report.counts
        frame = progress.next_frame
        segment = progress.timeline.segment(frame)
        by_feed = segment.counts(frame)
        progress.begin(frame, sum(by_feed))
        if frame < self._regenerate_below:
            counts.frames_regenerated += 1
        if frame >= self._counted_below:
            self._counted_below = frame + 1
            if self._cadence_at is not None:  # a retired source's frames say nothing of the worker's own
                self._report.counted_below = self._counted_below
            for feed, records in enumerate(by_feed):
                counts.records_generated[feed] += records
        self._report.target_milli_records_per_second = segment.mean_milli_records_per_second
        late = self.clock.now_ns() >= due_at_ns(frame + 1)
        return progress.timeline.parts(frame, RECORDS_PER_PART_MAX if late else RECORDS_PER_PROMPT_PART_MAX)

    def rejoin(self, frame: int) -> None:
        """Take up a source again that was retired: its frames up to this one were other workers'."""
        assert self._cadence_at is not None
        if frame > self.progress.begun_below:
            self.progress.skip(frame, self._cadence_at(frame), self._digest)

    async def save(self) -> bool:
        """Make durable what is acknowledged, and reserve the frames of the next second."""
        async with self._saving:
            progress = self.progress
            if self._cadence_at is None:
                return await self._write(progress.snapshot(progress.begun_below), retired=True)
            durable = list(progress.timeline.segments)
            skipped = self._skip_late(self._cadence_at)
            bound = self._plan(self._cadence_at, skipped)
            if not await self._write(progress.snapshot(bound), retired=False):
                progress.timeline.segments = durable  # the next plan may be another one
                return False
            if skipped:
                self._pass_over(skipped)
            return True

    async def save_each_second(self, ended: asyncio.Event) -> None:
        """Until the event is set."""
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SAVE_PAUSE_S):
                    await ended.wait()
            if not ended.is_set():
                await self.save()

    async def finish(self) -> bool:
        """Make the last state durable: what is not acknowledged now stays owed."""
        async with self._saving:
            return await self._write(self.progress.release(), retired=self._cadence_at is None)

    async def _write(self, state: Checkpoint, *, retired: bool) -> bool:
        """Write, and wait for it even when cancelled: two writers would spoil each other's file."""
        self._before_save()
        state = msgspec.structs.replace(state, retired=retired)
        writing = asyncio.ensure_future(asyncio.to_thread(checkpoint.write, self._path, state))
        try:
            await asyncio.wait({writing})
        except asyncio.CancelledError:
            await asyncio.wait({writing})
            raise
        finally:
            error = writing.exception()
            if error is None:
                self.progress.begun_below = state.begun_below
        if isinstance(error, OSError):
            self._unsaved(error)
            return False
        if error is not None:
            raise error
        if self._report.unsaved is not None:
            after_s = round(time.time() - self._report.unsaved.since, 1)
            log.info("the checkpoint can be written again", extra={"after_s": after_s})
            self._report.unsaved = None
        return True

    def _unsaved(self, error: OSError) -> None:
        """Say it once for each cause, until it is mended: no frame is begun meanwhile."""
        code, known = errno.errorcode.get(error.errno or 0, "OSError"), self._report.unsaved
        if known is None or known.code != code:
            message = f"{self._path} cannot be written: {error.strerror}; see to state.directory"
            log.error("%s", message, extra={"error_code": code})
            since = time.time() if known is None else known.since
            known = self._report.unsaved = Problem(code, message[:MESSAGE_CHARACTERS_MAX], since, 0)
        known.count += 1

    def _skip_late(self, cadence_at: Callable[[int], Cadence]) -> range:
        """Plan to leave out the frames not begun that are too old, and return them; mostly there are none."""
        progress = self.progress
        first, due = progress.begun_below, due_below(self.clock.now_ns())
        late = due - first > self._catch_up_max_frames
        if not late or progress.next_frame < first or time.monotonic() - self._skipped_s < SKIP_PAUSE_S:
            return range(0)
        target = due - self._catch_up_max_frames // 2
        progress.skip(target, cadence_at(target), self._digest)
        return range(first, target)

    def _plan(self, cadence_at: Callable[[int], Cadence], skipped: range) -> int:
        """Settle the segments of the frames to reserve next, and return the bound below which they lie."""
        progress, timeline = self.progress, self.progress.timeline
        first = skipped.stop or progress.begun_below
        ahead = skipped.stop or timeline.after_quiet(progress.next_frame)
        bound = max(first, ahead + self._reservation)
        for frame in range(max(first, timeline.last.first_frame), bound):
            timeline.append(frame, cadence_at(frame), self._digest)
        return bound

    def _pass_over(self, frames: range) -> None:
        self.progress.next_frame = frames.stop
        self._skipped_s = time.monotonic()
        self._report.counts.frames_skipped += len(frames)
        span = {"from_ms": end_ms(frames.start - 1), "to_ms": end_ms(frames.stop - 1), "frames": len(frames)}
        log.warning("frames older than rate.catch_up_max_s are skipped", extra=span)


def _without_what_lies_beyond(state: Checkpoint, ends_at_seq: int) -> Checkpoint:
    """The state without frames that were reserved, but that an end at this seq keeps from being begun."""
    timeline, end = state.timeline(), state.lowest_unacknowledged
    while end < state.begun_below and timeline.seq(end) < ends_at_seq:
        end += 1
    return msgspec.structs.replace(state, begun_below=end)
