"""`tickerd verify`: reads everything back and says what was lost, doubled, altered or out of order.

Shards of a stream are read at the same time, children after their parents, as a consumer that keeps the order
reads them. Streams and files stay as they are; what is read of a subscription is gone from it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tickerd.reading import ReadingError
from tickerd.reading.account_file import Account
from tickerd.reading.content import Comparison
from tickerd.reading.get_records import Entry
from tickerd.reading.judging import Cut, accounted_bounds, judge
from tickerd.reading.places import Place, Reader, open_place
from tickerd.reading.report import Report
from tickerd.reading.stream import Span, StreamShard
from tickerd.reading.tally import DIGEST_BYTES_MAX, Tally
from tickerd.settings import PubSub, Settings

FOLLOW_DIGEST_BYTES_MAX = 1 << 28  # 33 million seqs: what is younger than that is compared with its copies

Progress = Callable[[int], None]


class VerifyOptions(msgspec.Struct, frozen=True):
    """What to read and how to judge it; empty texts are left to the library's chain.

    `stream` is a name or an ARN; `paths` (of files) or `pubsub` (naming a subscription) are read
    instead of it where they are given. `from_time` and `to_time` (arrival, with a time zone) cut off
    what is older and what is younger; `sources` are the ones to look at, none for all; `settle_s` is kept
    from both ends of what was read where no `account` says what must be there. `settings` are those of the
    daemon, for accounts that do not say how its records are made.
    """

    stream: str
    region: str = ""
    endpoint_url: str = ""
    role_arn: str = ""
    from_time: datetime | None = None
    settle_s: float = 60.0
    account: Account | None = None
    to_time: datetime | None = None
    sources: tuple[str, ...] = ()
    settings: Settings | None = None
    paths: tuple[Path, ...] = ()
    pubsub: PubSub | None = None

    @property
    def place(self) -> Place:
        """What to read."""
        where = (self.stream, self.region, self.endpoint_url, self.role_arn)
        return Place(*where, self.paths, self.pubsub)


async def verify(
    options: VerifyOptions, progress: Progress | None = None, comparing: Progress | None = None
) -> Report:
    """Read the stream back and judge it.

    `progress` is told how many records have been read so far, `comparing` how many have been made again and
    compared. Raises ReadingError (one line) where the stream cannot be read.
    """
    async with _open(options) as reader:
        account = _chosen(options)
        tally = await _begin(reader, options, account, DIGEST_BYTES_MAX)
        span = Span(options.from_time, options.to_time)
        await _walk(reader, span, tally, progress, account)
    notes = list(reader.notes)
    if account is not None:
        comparison = Comparison(account, options.settings, comparing or _nobody)
        await comparison.run(tally)
        notes += comparison.notes
    return judge(options.place.name, tally, account, options.settle_s, notes, options.place.kind)


async def follow(
    options: VerifyOptions,
    report_every_s: float,
    told: Callable[[Report], None],
    stop: asyncio.Event,
    progress: Progress | None = None,
) -> Report:
    """Read on until `stop` is set or `to_time` has passed, and tell a report from time to time; the last one.

    Contents are compared among copies only, and those of the youngest records only: memory is bounded.
    Raises ReadingError as `verify` does.
    """
    async with _open(options) as reader:
        account = _chosen(options)
        tally = await _begin(reader, options, account, FOLLOW_DIGEST_BYTES_MAX)
        span = Span(options.from_time, options.to_time, follow=True)
        reading = asyncio.create_task(_walk(reader, span, tally, progress))
        stopped = asyncio.create_task(stop.wait())
        try:
            while not reading.done() and not stopped.done():
                await asyncio.wait(
                    {reading, stopped}, timeout=report_every_s, return_when=asyncio.FIRST_COMPLETED
                )
                if not reading.done() and not stopped.done():
                    told(_judged(options, tally, account))
        finally:
            stopped.cancel()
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
    return _judged(options, tally, account)


def _judged(options: VerifyOptions, tally: Tally, account: Account | None) -> Report:
    place = options.place
    return judge(place.name, tally, account, options.settle_s, kind=place.kind)


def _open(options: VerifyOptions) -> contextlib.AbstractAsyncContextManager[Reader]:
    if options.from_time is not None and options.from_time > datetime.now(UTC):
        raise ReadingError(
            f"--from: {options.from_time.isoformat()} is yet to come; give a time that has been"
        )
    return open_place(options.place)


def _chosen(options: VerifyOptions) -> Account | None:
    """The account, of the sources that are looked at."""
    account = options.account
    if account is None or not options.sources:
        return account
    sources = tuple(source for source in account.sources if source.source in options.sources)
    return msgspec.structs.replace(account, sources=sources)


async def _begin(
    reader: Reader, options: VerifyOptions, account: Account | None, digest_bytes_max: int
) -> Tally:
    """An empty tally that knows what the account lets be judged."""
    bounds = {}
    if account is not None:
        known = [moment for moment in (options.from_time, await reader.horizon()) if moment is not None]
        cut = Cut(max(known, default=None), options.to_time)
        bounds = accounted_bounds(account, cut, options.settle_s)
    return Tally(bounds, options.settle_s, options.sources, digest_bytes_max)


async def _walk(
    reader: Reader, span: Span, tally: Tally, progress: Progress | None, account: Account | None = None
) -> None:
    progress = progress or _nobody
    promised = (
        {each.source: sum(stop - start for start, stop in each.acknowledged()) for each in account.sources}
        if account
        else {}
    )

    def take(shard: StreamShard, entries: Sequence[Entry]) -> None:
        tally.add(shard, entries)
        progress(tally.records_read)

    def enough() -> bool:
        """Whether as many records are there, copies aside, as the account says were acknowledged."""
        found = {name: tally.sources[name] for name in promised}
        return all(
            each.records - each.duplicates - each.altered >= promised[name] for name, each in found.items()
        )

    await reader.read(span, take, enough if promised else None)


def _nobody(_: int) -> None:
    """Nobody watches."""
