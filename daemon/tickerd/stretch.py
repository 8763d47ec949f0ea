"""A stretch of one source's frames and its records, frame by frame, as fast as they can be made.

It knows which frames have records without looking at the others, so thin stretches of years are short.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickerd.market.market import Market
from tickerd.records import FEEDS, Record
from tickerd.schedule import FRAMES_PER_SECOND, MILLI, RECORDS_PER_PART_MAX, Segment, Timeline

FRAMES_AT_ONCE = 4096
SCALE = MILLI * FRAMES_PER_SECOND

Frames = NDArray[np.int64]


class Stretch(NamedTuple):
    """Frames of one source: those of its segments from `first_frame` on and below `end_frame`."""

    source: str
    segments: tuple[Segment, ...]
    first_frame: int
    end_frame: int
    records: int  # no more than so many


def together(format: str) -> Callable[[list[Record]], bytes]:  # noqa: A002 - the setting's name
    """A function from records to the bytes of a file: JSON lines, or one MessagePack map after the other."""
    if format == "json":
        return msgspec.json.Encoder().encode_lines
    encode = msgspec.msgpack.Encoder().encode
    return lambda records: b"".join(map(encode, records))


def batches(market: Market, stretch: Stretch, at_once: int = RECORDS_PER_PART_MAX) -> Iterator[list[Record]]:
    """The records of a stretch in the order of their seq, in pieces of about `at_once`, or less."""
    left = stretch.records
    for records in _pieces(market, stretch, at_once):
        yield records[:left]
        left -= len(records)
        if left <= 0:
            return


def _pieces(market: Market, stretch: Stretch, at_once: int) -> Iterator[list[Record]]:
    ends = [segment.first_frame for segment in stretch.segments[1:]] + [stretch.end_frame]
    for segment, end in zip(stretch.segments, ends, strict=True):
        # Thin frames are made together; others in parts, and snapshots each in one.
        thin = segment.snapshots is None and segment.milli_records_per_second.total // SCALE < at_once
        timeline = Timeline([segment])
        for frames in busy_frames(segment, stretch.first_frame, min(end, stretch.end_frame)):
            if thin:
                yield from _together(market, stretch.source, segment, frames, at_once)
                continue
            for frame in frames.tolist():
                for part in timeline.parts(frame, at_once):
                    yield market.records(stretch.source, part).records


def _together(
    market: Market, source: str, segment: Segment, frames: Frames, at_once: int
) -> Iterator[list[Record]]:
    """The records of ascending frames, as many frames at once as the market can make."""
    befores = np.stack(segment.records_before(frames), axis=1)
    counts = np.stack(segment.records_before(frames + 1), axis=1) - befores
    before = befores.sum(axis=1)
    spans = market.spans(frames, news=bool(counts[:, FEEDS.index("news")].any()))
    ends = np.flatnonzero((np.diff(spans) != 0) | (np.diff((before - before[0]) // at_once) != 0)) + 1
    for start, stop in pairwise([0, *ends.tolist(), len(frames)]):
        first_seq = segment.first_seq + int(before[start])
        yield market.records_of(source, frames[start:stop], counts[start:stop], first_seq)


def busy_frames(segment: Segment, start: int, stop: int) -> Iterator[Frames]:
    """The frames of a segment from `start` to `stop` (not included) that have records, in pieces."""
    start = max(start, segment.first_frame)
    if segment.snapshots is not None:
        numbers = range(segment.snapshots.before(start), segment.snapshots.before(stop))
        for first in numbers[::FRAMES_AT_ONCE]:
            some = np.arange(first, min(first + FRAMES_AT_ONCE, numbers.stop))
            yield some * (segment.snapshots.every_s * FRAMES_PER_SECOND)
        return
    rates = msgspec.structs.astuple(segment.milli_records_per_second)
    dense = max(rates) >= SCALE  # records in every frame
    step = FRAMES_AT_ONCE if dense else FRAMES_AT_ONCE * SCALE // max(sum(rates), 1) + 1
    for first in range(start, stop, step):
        end = min(first + step, stop)
        if dense:
            yield np.arange(first, end)
            continue
        before, after = segment.records_before(first), segment.records_before(end)
        feeds = [_frames_of(m, k, n) for m, k, n in zip(rates, before, after, strict=True) if k < n]
        if feeds:
            yield np.unique(np.concatenate(feeds)) + segment.first_frame


def _frames_of(milli_records_per_second: int, start: int, stop: int) -> Frames:
    """The frames, from the segment's first on, that a feed's records number `start` to `stop` are in."""
    numbers = np.arange(start + 1, stop + 1, dtype=np.int64)
    return -(-numbers * SCALE // milli_records_per_second) - 1
