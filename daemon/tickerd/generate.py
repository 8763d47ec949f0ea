"""`tickerd generate`: the records of any stretch of time, to a file or to standard output, without a network.

They are those that a source with the same name, segments and settings emits. A file appears under its name
only when it is complete.
"""

import contextlib
import hashlib
import os
import sys
from base64 import b32encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from tickerd.checkpoint import Recipe
from tickerd.market.hours import Hours
from tickerd.market.universe import Universe
from tickerd.reading.account_file import load_account
from tickerd.recipe import market_of, recipe_of, run_digest, snapshot_cadence
from tickerd.records import FEEDS
from tickerd.schedule import (
    FRAMES_PER_SECOND,
    MILLI,
    RECORDS_PER_PART_MAX,
    Rates,
    Segment,
    SnapshotCadence,
    Timeline,
    split,
)
from tickerd.settings import RECORDS_PER_SECOND_MAX, Settings
from tickerd.stretch import Stretch, batches, together

SECONDS_DEFAULT = 60  # without --to and --records
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_FRAME = (datetime(9999, 1, 1, tzinfo=UTC) - EPOCH).days * 86_400 * FRAMES_PER_SECOND
MILLI_MAX = RECORDS_PER_SECOND_MAX * MILLI
WRITE_BYTES = 1 << 20


class GenerateError(Exception):
    """What was asked for cannot be made; the message is one line."""


class Wanted(NamedTuple):
    """What the command line asks for."""

    start: datetime | None = None
    stop: datetime | None = None
    records: int | None = None
    records_per_second: float | None = None
    feed: str | None = None
    instrument: str | None = None
    account: Path | None = None
    output: Path | None = None
    chunk: int = RECORDS_PER_PART_MAX  # records made at once; their bytes do not depend on it


def generate(settings: Settings, wanted: Wanted) -> int:
    """Write what is wanted; the exit code. GenerateError, UniverseError or ReadingError when it cannot be."""
    universe = Universe.load(settings.market.universe)
    recipe = recipe_of(settings, universe)
    if wanted.account is not None:
        stretches = owed(wanted.account, run_digest(settings, recipe))
        if not stretches:
            sys.stderr.write(f"tickerd: {wanted.account} owes nothing\n")
    else:
        stretches = [stretch(settings, universe, recipe, wanted)]
    market = market_of(recipe, universe, wanted.instrument)
    encode = together(recipe.format)
    with _opened(wanted.output) as file, _progress(sum(each.records for each in stretches)) as advance:
        for each in stretches:
            for records in batches(market, each, wanted.chunk):
                file.write(encode(records))
                advance(len(records))
    return 0


def stretch(settings: Settings, universe: Universe, recipe: Recipe, wanted: Wanted) -> Stretch:
    """The stretch that the command line describes, of a source with a name of its own."""
    snapshots = _snapshots(settings, universe, wanted)
    weights = _weights(settings, universe, wanted)
    first, end = _frames(wanted)
    hours = Hours(universe, wanted.instrument) if recipe.hours == "market" else None
    digest = run_digest(settings, recipe)

    def segments(milli: int, end: int) -> list[Segment]:
        if snapshots is not None:
            return [Segment.at_cadence(first, 0, snapshots, digest)]
        return _segments(split(milli, weights, 1, 0), digest, first, end, hours)

    def count(milli: int, end: int) -> int:
        return Timeline(segments(milli, end)).seq(end)

    milli = _milli(settings, wanted)
    if wanted.records is not None:
        if wanted.stop is None:
            end = _smallest(lambda end: count(milli, end), wanted.records, first, LAST_FRAME)
        elif wanted.records_per_second is None and snapshots is None:
            milli = _smallest(lambda milli: count(milli, end), wanted.records, 0, MILLI_MAX)
        if (made_of_it := count(milli, end)) < wanted.records:
            pace = f"{milli / MILLI:g} records/s make" if snapshots is None else "snapshots hold"
            remedy = "a longer stretch" + " or a higher --rate" * (snapshots is None)
            raise GenerateError(
                f"--records: {pace} {made_of_it} from {_time(first)} to {_time(end)}, "
                f"fewer than {wanted.records}; give {remedy}"
            )
    made = segments(milli, end)
    records = Timeline(made).seq(end)
    run = hashlib.sha256(f"{made} {wanted.instrument}".encode()).digest()[:5]
    source = f"{settings.source.id or 'generate'}-0-{b32encode(run).decode().lower()}"
    return Stretch(source, tuple(made), first, end, min(records, wanted.records or records))


def _snapshots(settings: Settings, universe: Universe, wanted: Wanted) -> SnapshotCadence | None:
    """How snapshots come, if the settings ask for them; with --feed, of that feed alone."""
    if settings.rate.mode != "snapshot":
        return None
    for option, value in (("--rate", wanted.records_per_second), ("--instrument", wanted.instrument)):
        if value is not None:
            raise GenerateError(
                f'{option}: rate.mode = "snapshot" makes one record for each instrument every rate.every_s; '
                "leave it out, or set rate.mode=stream"
            )
    cadence = snapshot_cadence(settings.rate.every_s, universe)
    match wanted.feed:
        case "forex":
            return msgspec.structs.replace(cadence, stock=0)
        case "stock":
            return msgspec.structs.replace(cadence, forex=0)
        case "news":
            raise GenerateError(
                "--feed: snapshots have no news; give forex or stock, or set rate.mode=stream"
            )
    return cadence


def _segments(rates: Rates, digest: str, first: int, end: int, hours: Hours | None) -> list[Segment]:
    """One segment, or with hours one for each stretch in which the same feeds are open."""
    if hours is None:
        return [Segment(first, 0, rates, digest)]
    timeline = Timeline([Segment(first, 0, hours.rates(rates, first), digest)])
    frame = hours.next_change(first)
    while frame < end:
        timeline.append(frame, hours.rates(rates, frame), digest)
        frame = hours.next_change(frame)
    return timeline.segments


def _smallest(count: Callable[[int], int], records: int, low: int, high_max: int) -> int:
    """The smallest number above `low` that makes so many records; `high_max` if none below does."""
    step = 1
    while low + step < high_max and count(low + step) < records:
        step *= 2
    high = min(low + step, high_max)
    low += step // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if count(middle) >= records else (middle, high)
    return high


def _weights(settings: Settings, universe: Universe, wanted: Wanted) -> tuple[float, ...]:
    """The weight of each feed: those of the mix, or of one feed alone."""
    feed = wanted.feed
    if wanted.instrument is not None:
        if wanted.instrument not in universe.instruments:
            raise GenerateError(
                f"--instrument: {wanted.instrument} is none of the universe's, such as "
                f"{universe.instruments[0]} or {universe.stocks[0].symbol}"
            )
        pairs, stocks = len(universe.pairs), len(universe.stocks)
        row = universe.instruments.index(wanted.instrument)
        feeds = ("forex",) if row < pairs else ("stock", "news") if row < pairs + stocks else ("news",)
        feed = feed or feeds[0]
        if feed not in feeds:
            raise GenerateError(f"--feed: {wanted.instrument} is in {' and '.join(feeds)}, not in {feed}")
    if feed is None:
        return settings.rate.mix.weights
    return tuple(float(name == feed) for name in FEEDS)


def _milli(settings: Settings, wanted: Wanted) -> int:
    rate = wanted.records_per_second
    if rate is None:
        return settings.rate.milli_records_per_second
    milli = round(rate * MILLI)
    if not 1 <= milli <= MILLI_MAX:
        raise GenerateError(f"--rate: {rate:g} is not from 0.001 to {RECORDS_PER_SECOND_MAX} records/s")
    return milli


def _frames(wanted: Wanted) -> tuple[int, int]:
    """The first frame and the one after the last: the sixteenths of a second that the times lie in."""
    start = wanted.start or datetime.now(UTC).replace(microsecond=0)
    first = _ticks(start) // 1_000_000
    end = first + SECONDS_DEFAULT * FRAMES_PER_SECOND
    if wanted.stop is not None:
        end = -(-_ticks(wanted.stop) // 1_000_000)
    if not 0 <= first <= end <= LAST_FRAME:
        raise GenerateError("--from and --to: expected times from 1970 to 9998, the earlier one first")
    return first, end


def _ticks(time: datetime) -> int:
    """Microseconds since 1970, times FRAMES_PER_SECOND."""
    elapsed = time - EPOCH
    return ((elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds) * FRAMES_PER_SECOND


def _time(frame: int) -> str:
    return datetime.fromtimestamp(frame // FRAMES_PER_SECOND, UTC).isoformat()[:19] + "Z"


def owed(path: Path, digest: str) -> list[Stretch]:
    """What the sources of an account still owe; GenerateError when these settings made none of it."""
    stretches = [
        Stretch(each.source, each.segments, part.first_frame, part.end_frame, part.next_seq - part.first_seq)
        for each in load_account(path).sources
        for part in each.owed
    ]
    for each in stretches:
        if {segment.digest for segment in each.segments} != {digest}:
            raise GenerateError(
                f"account {path}: {each.source} was made by another version or with other settings "
                "(market.*, rate.mode, record.format); give those with -c or --set"
            )
        try:
            Timeline(each.segments).seq(each.first_frame)
        except ValueError as error:
            raise GenerateError(f"account {path}: the segments of {each.source}: {error}") from None
    return stretches


@contextlib.contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that gets its name at the end; pipes and devices are written as they are."""
    try:
        if output is None:
            # A descriptor of its own, so that nothing is left for the interpreter's end to fail on.
            with open(os.dup(1), "wb", buffering=WRITE_BYTES) as file:  # noqa: PTH123 - no path
                yield file
        elif output.exists() and not output.is_file():
            with output.open("wb", buffering=WRITE_BYTES) as file:
                yield file
        else:
            with _complete(output.resolve()) as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "standard output" if output is None else f"-o {output}"
        raise GenerateError(f"{name}: {error.strerror}; give a file that can be written") from None


@contextlib.contextmanager
def _complete(path: Path) -> Iterator[BinaryIO]:
    """A file that has another name until it is complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb", buffering=WRITE_BYTES) as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _progress(records: int) -> Iterator[Callable[[int], None]]:
    """A function to tell of so many records more; it shows a bar on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} records"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=records)
        yield lambda more: progress.advance(task, more)
