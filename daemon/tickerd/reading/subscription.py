"""A subscription of Pub/Sub as `verify` and `tail` read it: pulled and acknowledged, so gone from it.

A subscription does not say when it is empty: reading ends when nothing has come for longer than a message may
be lent to somebody else. Each ordering key is a line of its own; without keys there is no order.
"""

import asyncio
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from tickerd.pubsub.cause import CallError, NotReadyError
from tickerd.pubsub.client import ACKNOWLEDGE, GET_SUBSCRIPTION, PULL, PubSubClient
from tickerd.pubsub.wire import (
    Received,
    acknowledge_request,
    named_request,
    pull_request,
    received,
)
from tickerd.reading import ReadingError
from tickerd.reading.get_records import Entry
from tickerd.reading.stream import Enough, Span, StreamShard, Take
from tickerd.settings import PubSub

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MESSAGES_PER_PULL = 1000
PULL_MAX_S = 5.0  # that a pull without messages may last
QUIET_S = 12.0  # a message that was lent and not acknowledged comes again after 10 s, mostly
ENOUGH_QUIET_S = 1.0  # for copies of what is there already
MISSING_QUIET_S = 75.0  # lent for longer, or on its way
FAILED_IN_A_ROW_MAX = 5
PAUSE_S = 0.2
ANY = "without an ordering key"
DAMAGED = b"{"  # counts as one corrupt record, whatever was there


class SubscriptionReader:
    """Reads the subscription that the settings name, through an open client."""

    def __init__(self, client: PubSubClient) -> None:
        self.notes: list[str] = []
        self._client = client
        self._name = client.subscription

    async def horizon(self) -> datetime | None:
        """A subscription does not say since when it is there."""
        return None

    async def read(self, span: Span, take: Take, enough: Enough = None) -> None:
        """Hand over messages until there seem to be no more, or for ever where the span follows."""
        if span.from_time or span.to_time:
            raise ReadingError("--from and --to: a subscription gives what it has; leave them out")
        loop = asyncio.get_running_loop()
        last_s, failed = loop.time(), 0
        while span.follow or loop.time() - last_s < quiet_s(enough):
            try:
                messages = await self._pull()
                failed = 0
            except CallError as error:
                failed += 1
                if error.cause.permanent or failed == FAILED_IN_A_ROW_MAX:
                    raise ReadingError(f"subscription {self._name}: {error}") from error
                await asyncio.sleep(PAUSE_S * 2**failed)
                continue
            if not messages:
                await asyncio.sleep(PAUSE_S)
                continue
            last_s = loop.time()
            for key in dict.fromkeys(message.ordering_key for message in messages):
                shard = StreamShard(key or ANY, (), is_open=True, in_order=bool(key))
                take(shard, [entry_of(each) for each in messages if each.ordering_key == key])
            await self._acknowledge(messages)

    async def _pull(self) -> list[Received]:
        request = pull_request(self._name, MESSAGES_PER_PULL)
        try:
            return received(await self._call(PULL, request, PULL_MAX_S))
        except CallError as error:
            if error.code == "DEADLINE_EXCEEDED":  # that is how a pull without messages ends
                return []
            raise
        except ValueError:
            raise ReadingError(
                f"subscription {self._name}: no answer of Pub/Sub; check the endpoint"
            ) from None

    async def _acknowledge(self, messages: list[Received]) -> None:
        """Let go of messages; where that fails they come again, and count as copies."""
        request = acknowledge_request(self._name, [message.ack_id for message in messages])
        for _ in range(FAILED_IN_A_ROW_MAX):
            try:
                await self._call(ACKNOWLEDGE, request, PULL_MAX_S)
            except CallError:
                await asyncio.sleep(PAUSE_S)
            else:
                return
        self.notes.append("messages could not be acknowledged: they will be read again")

    async def _call(self, method: str, request: bytes, max_s: float) -> bytes:
        return await self._client.call(method, ("subscription", self._name), request, max_s)

    async def check(self) -> None:
        """ReadingError where there is no such subscription."""
        try:
            await self._call(GET_SUBSCRIPTION, named_request(self._name), PULL_MAX_S)
        except CallError as error:
            if error.code == "NOT_FOUND":
                raise ReadingError(
                    f"subscription {self._name}: there is none; create it, or correct pubsub.subscription"
                ) from error
            if error.code in {"UNAVAILABLE", "UNAUTHENTICATED", "DEADLINE_EXCEEDED"}:
                raise ReadingError(f"subscription {self._name}: {error.cause.message}") from error


def quiet_s(enough: Enough) -> float:
    """For how long nothing may have come before reading ends."""
    if enough is None:
        return QUIET_S
    return ENOUGH_QUIET_S if enough() else MISSING_QUIET_S


def entry_of(message: Received) -> Entry:
    """A message as an entry: its records, without compression."""
    data = message.data
    encoding = message.attributes.get("content-encoding", "")
    try:
        if encoding == "gzip":
            data = zlib.decompress(data, wbits=16 + zlib.MAX_WBITS)
        elif encoding == "zstd":
            data = zstd.decompress(data)
    except (zlib.error, zstd.ZstdError):
        data = DAMAGED
    return Entry(message.message_id, data, message.published_s)


@asynccontextmanager
async def open_subscription(settings: PubSub) -> AsyncIterator[SubscriptionReader]:
    """A reader; ReadingError where the subscription cannot be read."""
    client = PubSubClient(settings)
    try:
        await client.open()
        reader = SubscriptionReader(client)
        await reader.check()
        yield reader
    except NotReadyError as error:
        raise ReadingError(f"subscription {settings.subscription}: {error}") from error
    finally:
        await client.close()
