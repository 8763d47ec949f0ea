"""`tickerd tail`: shows a stream's records as they arrive, one a line, whatever format and packing they have.

MessagePack is shown as JSON. Children of a reshard are shown after their parents.
"""

import asyncio
import contextlib
import select
import sys
from collections.abc import Sequence
from datetime import datetime

import msgspec

from tickerd.reading.decode import Member, Unreadable, decode_all, unpack
from tickerd.reading.get_records import Entry
from tickerd.reading.places import Place, open_place
from tickerd.reading.stream import Span, StreamShard
from tickerd.settings import PubSub

READER_LOOKED_FOR_EVERY_S = 0.5


class TailOptions(msgspec.Struct, frozen=True):
    """What to show: of arrivals from `from_time` (None: now) on, the records of these sources and feeds.

    None of them: of all. Empty texts are left to the library's chain. `pubsub`: settings that name a
    subscription to read instead of a stream; what is shown of it is gone from it.
    """

    stream: str
    region: str = ""
    endpoint_url: str = ""
    role_arn: str = ""
    from_time: datetime | None = None
    sources: tuple[str, ...] = ()
    feeds: tuple[str, ...] = ()
    pubsub: PubSub | None = None

    @property
    def place(self) -> Place:
        """What to read."""
        return Place(self.stream, self.region, self.endpoint_url, self.role_arn, pubsub=self.pubsub)


class Lines:
    """The lines of what was read; what is not shown is counted."""

    def __init__(self, options: TailOptions) -> None:
        self._sources = frozenset(options.sources)
        self._feeds = frozenset(options.feeds)
        self.corrupt = self.foreign = self.discarded = 0

    def of(self, shard: StreamShard, entries: Sequence[Entry]) -> bytes:
        """The records of these entries, each with a newline after it."""
        payloads, _, damaged, discarded = unpack(entries, shard)
        self.corrupt += len(damaged)
        self.discarded += discarded
        lines = []
        for payload, member in zip(payloads, decode_all(payloads), strict=True):
            if isinstance(member, Unreadable):
                self.corrupt += member is Unreadable.CORRUPT
                self.foreign += member is Unreadable.FOREIGN
            elif self._wants(member):
                lines += [as_json(payload), b"\n"]
        return b"".join(lines)

    def _wants(self, member: Member) -> bool:
        by_source = not self._sources or member.source in self._sources
        return by_source and (not self._feeds or member.type in self._feeds)

    def not_shown(self) -> str:
        """What was not shown, though nobody asked to leave it out; empty where there is nothing of it."""
        counts = {"corrupt": self.corrupt, "foreign": self.foreign, "outside their shard": self.discarded}
        return ", ".join(f"{number:,} {what}" for what, number in counts.items() if number)


def as_json(payload: bytes) -> bytes:
    """A record on one line, as JSON."""
    if payload[:1] == b"{":
        return payload.replace(b"\n", b" ")
    return msgspec.json.encode(msgspec.msgpack.decode(payload))


async def show(options: TailOptions, stop: asyncio.Event) -> None:
    """Write records to standard output until `stop` is set or nobody reads it any more.

    Raises ReadingError (one line) where the stream cannot be read, BrokenPipeError where nobody reads.
    """
    lines = Lines(options)

    def take(shard: StreamShard, entries: Sequence[Entry]) -> None:
        if shown := lines.of(shard, entries):
            sys.stdout.buffer.write(shown)
            sys.stdout.buffer.flush()

    async with open_place(options.place) as reader:
        span = Span(options.from_time, latest=options.from_time is None, follow=True)
        walk = asyncio.create_task(reader.read(span, take))
        ends = [asyncio.create_task(stop.wait()), asyncio.create_task(_nobody_reads())]
        try:
            await asyncio.wait({walk, *ends}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (walk, *ends):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await walk
    if told := lines.not_shown():
        sys.stderr.write(f"tickerd: not shown: {told}\n")


async def _nobody_reads() -> None:
    """Return when standard output is a pipe whose reader has gone; while nothing arrives no write tells."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    while not any(event & (select.POLLERR | select.POLLHUP) for _, event in output.poll(0)):  # noqa: ASYNC110 - the kernel tells by poll alone
        await asyncio.sleep(READER_LOOKED_FOR_EVERY_S)
