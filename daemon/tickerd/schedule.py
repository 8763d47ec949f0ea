"""Which frames there are, how many records each has and which seq they start with.

Integers only: everything is a pure function of a segment and a frame number, so any frame can be made again
in any process. This file knows no clock and no file.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FRAMES_PER_SECOND = 16
RECORDS_PER_PART_MAX = 16_000
"""Larger frames are made in parts, so that the event loop is never held for long."""
RECORDS_PER_PROMPT_PART_MAX = 8_000
"""Of a frame that is in time: half as long. Late ones take the larger parts: in small ones lines cost a
fifth more to be made and packed, aggregates up to 3 % (in times of `encode_lines`; 15b5868)."""
MILLI = 1000

Frames = TypeVar("Frames", int, "NDArray[np.int64]")  # the number of one frame, or of many


class Rates(msgspec.Struct, frozen=True):
    """Whole milli-records per second of each feed."""

    forex: int
    stock: int
    news: int

    @property
    def total(self) -> int:
        """Milli-records per second of all feeds together."""
        return self.forex + self.stock + self.news


QUIET = Rates(0, 0, 0)


class SnapshotCadence(msgspec.Struct, frozen=True):
    """One record for each pair and each stock at all whole multiples of `every_s` since 1970 (UTC)."""

    every_s: int
    forex: int  # pairs
    stock: int

    def before(self, frame: Frames) -> Frames:
        """How many snapshots there are from 1970 up to, not including, `frame`."""
        return -(-frame // (self.every_s * FRAMES_PER_SECOND))


Cadence = Rates | SnapshotCadence


class Part(NamedTuple):
    """A stretch of one frame's milliseconds, small enough to be made at once.

    `counts` are the records of the whole frame per feed; `rows` are (start, stop) of this part within each
    feed's records of the frame; `first_seq` is the seq of the part's first record.
    """

    frame: int
    ms_start: int  # offset from the frame's first millisecond
    ms_stop: int
    counts: tuple[int, int, int]
    rows: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    first_seq: int
    is_snapshot: bool = False  # rows are all pairs and stocks, in order, in its first millisecond

    @property
    def records(self) -> int:
        """How many records the part has."""
        return sum(stop - start for start, stop in self.rows)


class Segment(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stretch of frames in one cadence, up to the next segment's first frame (contract, "Words")."""

    first_frame: int
    first_seq: int
    milli_records_per_second: Rates
    digest: str
    snapshots: SnapshotCadence | None = None  # instead of rates, which are none then

    @classmethod
    def at_cadence(cls, first_frame: int, first_seq: int, cadence: Cadence, digest: str) -> "Segment":
        """The segment of a steady stream, or of snapshots."""
        if isinstance(cadence, SnapshotCadence):
            return cls(first_frame, first_seq, QUIET, digest, cadence)
        return cls(first_frame, first_seq, cadence, digest)

    @property
    def cadence(self) -> Cadence:
        """Its rates, or how its snapshots come."""
        return self.snapshots or self.milli_records_per_second

    @property
    def mean_milli_records_per_second(self) -> int:
        """Of all feeds together, in the long run."""
        if self.snapshots is not None:
            return (self.snapshots.forex + self.snapshots.stock) * MILLI // self.snapshots.every_s
        return self.milli_records_per_second.total

    def records_before(self, frame: Frames) -> tuple[Frames, Frames, Frames]:
        """Records of each feed from the segment's first frame up to, not including, `frame`."""
        if self.snapshots is not None:
            snapshots = self.snapshots.before(frame) - self.snapshots.before(self.first_frame)
            return (snapshots * self.snapshots.forex, snapshots * self.snapshots.stock, snapshots * 0)
        elapsed = frame - self.first_frame
        rates = self.milli_records_per_second
        per_frame_scale = MILLI * FRAMES_PER_SECOND
        return (
            rates.forex * elapsed // per_frame_scale,
            rates.stock * elapsed // per_frame_scale,
            rates.news * elapsed // per_frame_scale,
        )

    def counts(self, frame: int) -> tuple[int, int, int]:
        """Records of each feed in `frame`."""
        before, after = self.records_before(frame), self.records_before(frame + 1)
        return (after[0] - before[0], after[1] - before[1], after[2] - before[2])

    def seq(self, frame: int) -> int:
        """The seq of the first record of `frame`."""
        return self.first_seq + sum(self.records_before(frame))


class Timeline:
    """The segments of one source, oldest first, each going on where the one before it ended.

    Frames that are skipped are a segment of their own with no records (`QUIET`), so segments leave no holes.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        if not segments:
            raise ValueError("a timeline needs a segment")
        for earlier, later in pairwise(segments):
            if later.first_frame <= earlier.first_frame or later.first_seq != earlier.seq(later.first_frame):
                raise ValueError(
                    f"the segment at frame {later.first_frame} does not follow from the one before"
                )
        self.segments = list(segments)

    @property
    def last(self) -> Segment:
        """The segment that has no end yet."""
        return self.segments[-1]

    def segment(self, frame: int) -> Segment:
        """The segment that `frame` belongs to; ValueError for a frame before the first."""
        for segment in reversed(self.segments):  # the newest is the one asked for, but for a few frames
            if segment.first_frame <= frame:
                return segment
        raise ValueError(f"frame {frame} lies before the first segment")

    def seq(self, frame: int) -> int:
        """The seq of the first record of `frame` (which is the count of all records before it)."""
        return self.segment(frame).seq(frame)

    def append(self, first_frame: int, cadence: Cadence, digest: str) -> None:
        """From `first_frame` on it is another one; at the last segment's own first frame it replaces that."""
        last = self.last
        if (cadence, digest) == (last.cadence, last.digest):
            return
        if first_frame < last.first_frame:
            raise ValueError(f"frame {first_frame} lies before the last segment")
        segment = Segment.at_cadence(first_frame, last.seq(first_frame), cadence, digest)
        if first_frame == last.first_frame:
            self.segments[-1] = segment
        else:
            self.segments.append(segment)

    def forget_below(self, frame: int, kept_min: int = 1) -> None:
        """Drop the segments that ended at or before `frame` (they owe nothing), but keep the last few."""
        while len(self.segments) > kept_min and self.segments[1].first_frame <= frame:
            del self.segments[0]

    def after_quiet(self, frame: int) -> int:
        """`frame`, or where the next segment starts when `frame` lies in a quiet one that has ended."""
        for segment, following in pairwise(self.segments):
            if segment.first_frame <= frame < following.first_frame and segment.cadence == QUIET:
                frame = following.first_frame
        return frame

    def parts(self, frame: int, records_max: int = RECORDS_PER_PART_MAX) -> list[Part]:
        """The frame in at least one part, of about `records_max`, cut between milliseconds.

        A snapshot is one part: all its records are printed with the frame's first millisecond.
        """
        segment = self.segment(frame)
        counts, seq = segment.counts(frame), segment.seq(frame)
        milliseconds = end_ms(frame) - first_ms(frame)
        if segment.snapshots is not None:
            return [snapshot_part(first_ms(frame), counts, seq)]
        pieces = max(1, min(milliseconds, -(-sum(counts) // records_max)))
        parts = []
        for piece in range(pieces):
            start, stop = piece * milliseconds // pieces, (piece + 1) * milliseconds // pieces
            # Record i of a feed's n is printed with millisecond floor(i * milliseconds / n) of the frame,
            # so the first record at or after millisecond `start` is number ceil(start * n / milliseconds).
            rows = tuple((-(-start * n // milliseconds), -(-stop * n // milliseconds)) for n in counts)
            part = Part(frame, start, stop, counts, (rows[0], rows[1], rows[2]), seq)
            parts.append(part)
            seq += part.records
        return parts


def snapshot_part(ms: int, counts: tuple[int, int, int], first_seq: int) -> Part:
    """One record of each pair and stock (`counts` says how many there are) at a millisecond since 1970."""
    frame = frame_of(ms)
    offset = ms - first_ms(frame)
    forex, stock, news = counts
    rows = ((0, forex), (0, stock), (0, news))
    return Part(frame, offset, offset + 1, counts, rows, first_seq, is_snapshot=True)


def first_ms(frame: Frames) -> Frames:
    """The first whole millisecond (UTC, since 1970) of a frame: a frame has 62 or 63 of them."""
    return (frame * MILLI + FRAMES_PER_SECOND - 1) // FRAMES_PER_SECOND


def end_ms(frame: Frames) -> Frames:
    """The millisecond after the frame's last."""
    return first_ms(frame + 1)


def frame_of(ms: Frames) -> Frames:
    """The frame that a millisecond since 1970 belongs to."""
    return ms * FRAMES_PER_SECOND // MILLI


def due_below(now_ns: int) -> int:
    """Frames below this number have wholly passed at `now_ns` (UTC, since 1970)."""
    return now_ns * FRAMES_PER_SECOND // 1_000_000_000


def due_at_ns(frame: int) -> int:
    """When `frame` is due (UTC, since 1970): the first nanosecond at which its sixteenth has passed."""
    return -(-(frame + 1) * 1_000_000_000 // FRAMES_PER_SECOND)


def split(milli_records_per_second: int, weights: Sequence[float], workers: int, worker: int) -> Rates:
    """One worker's share of a host's rate, by feed; the shares of all workers add up to it exactly.

    Feeds get whole milli-records by largest remainder over the weights of the mix (not all zero); what does
    not divide by the number of workers goes to the first ones.
    """
    wanted = [milli_records_per_second * weight / sum(weights) for weight in weights]
    feeds = [int(share) for share in wanted]
    by_remainder = sorted(range(len(feeds)), key=lambda feed: feeds[feed] - wanted[feed])
    for feed in by_remainder[: milli_records_per_second - sum(feeds)]:
        feeds[feed] += 1
    forex, stock, news = (m // workers + (worker < m % workers) for m in feeds)
    return Rates(forex, stock, news)


class Stage(NamedTuple):
    """A ramp of `for_s` whole seconds to `milli_records_per_second`, in steps of one second."""

    for_s: int
    milli_records_per_second: int


class RatePlan(NamedTuple):
    """The host's rate over time: a constant, then stages counted from `first_frame`; the last one holds."""

    first_frame: int
    milli_records_per_second: int
    stages: tuple[Stage, ...] = ()

    def at(self, frame: int) -> int:
        """Milli-records per second of the host in `frame`."""
        second = (frame - self.first_frame) // FRAMES_PER_SECOND
        level = self.milli_records_per_second
        if second < 0:
            return level
        for stage in self.stages:
            if second < stage.for_s:
                return level + (stage.milli_records_per_second - level) * (second + 1) // stage.for_s
            second -= stage.for_s
            level = stage.milli_records_per_second
        return level
