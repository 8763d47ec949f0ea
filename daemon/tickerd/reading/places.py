"""What can be read back, and how it is opened: a Kinesis stream, files, a subscription of Pub/Sub."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from tickerd.reading.stream import Enough, Span, StreamReader, Take, open_stream
from tickerd.reading.walk import Walk
from tickerd.settings import PubSub

Kind = Literal["stream", "files", "subscription"]


class Place(msgspec.Struct, frozen=True):
    """Where to read. Empty texts are left to the library's chain.

    `paths`: files and directories of them, instead of a stream. `pubsub`: settings that name a subscription,
    instead of a stream; what is read of it is acknowledged, and so gone from it.
    """

    stream: str = ""  # a name or an ARN
    region: str = ""
    endpoint_url: str = ""
    role_arn: str = ""
    paths: tuple[Path, ...] = ()
    pubsub: PubSub | None = None

    @property
    def kind(self) -> Kind:
        """What it is."""
        return "files" if self.paths else "subscription" if self.pubsub else "stream"

    @property
    def name(self) -> str:
        """What it is called."""
        if self.paths:
            return ", ".join(map(str, self.paths))
        return self.pubsub.subscription if self.pubsub else self.stream


class Reader(Protocol):
    """Reads one place, which is open. `notes` say what was left out."""

    notes: list[str]

    async def horizon(self) -> datetime | None:
        """Before which the place has forgotten its records; None where it does not say, or does not."""

    async def read(self, span: Span, take: Take, enough: Enough = None) -> None:
        """Hand over all there is, part by part; where the span follows, without an end.

        `enough` tells a place that does not know its own end whether all is there that has to be.
        """


class _WholeStream:
    def __init__(self, stream: StreamReader) -> None:
        self.notes: list[str] = []
        self._stream = stream

    async def horizon(self) -> datetime | None:
        return await self._stream.horizon()

    async def read(self, span: Span, take: Take, _enough: Enough = None) -> None:
        await Walk(self._stream, span, take).run(await self._stream.shards())


@asynccontextmanager
async def open_place(place: Place) -> AsyncIterator[Reader]:
    """A reader of the place; whatever goes wrong with it inside is raised as a ReadingError."""
    match place.kind:
        case "files":
            from tickerd.reading.files import FilesReader  # noqa: PLC0415

            yield FilesReader(place.paths)
        case "subscription":
            from tickerd.reading.subscription import open_subscription  # noqa: PLC0415

            assert place.pubsub is not None
            async with open_subscription(place.pubsub) as subscription:
                yield subscription
        case "stream":
            where = (place.stream, place.region, place.endpoint_url, place.role_arn)
            async with open_stream(*where) as stream:
                yield _WholeStream(stream)
