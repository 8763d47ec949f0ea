"""A stream as its reader meets it: its shards, and one shard's entries from anywhere to now, or for ever.

Promises that a closed shard is read to its end, and an open one until it has caught up with the moment at
which the reading began, however fast it is still being written. The service's read limits are kept.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Any, NamedTuple, TypeVar

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError

from tickerd.kinesis.limits import HASH_KEY_END
from tickerd.kinesis.session import is_loopback
from tickerd.reading import ReadingError
from tickerd.reading.client import errors_as_one_line, open_kinesis
from tickerd.reading.get_records import Entry, RecordsCall, Reply, records_call

ENTRIES_PER_READ_MAX = 10_000  # GetRecords
SHARD_READS_PER_SECOND = 5  # GetRecords, by all readers of a shard together
SHARD_READ_BYTES_PER_SECOND = 2 * 1024 * 1024
CALLS_AT_ONCE_MAX = 8  # an answer has up to 10 MiB before base64
THROTTLE_PAUSE_S = 1 / SHARD_READS_PER_SECOND
THROTTLE_PAUSE_MAX_S = 5.0
THROTTLED_IN_A_ROW_MAX = 60  # about five minutes of other readers taking all that a shard can be read
FAILED_IN_A_ROW_MAX = 4
EMPTY_PAUSE_S = 0.2  # where nothing is there to read: before it is asked again
TO_PASSED_S = 10.0  # after the end that was asked for, records that arrived before it can be read
THROTTLED = {"ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException"}

Answer = TypeVar("Answer")
Take = Callable[["StreamShard", Sequence[Entry]], None]
Enough = Callable[[], bool] | None
"""Whether all is there that an account promises; None where there is no account."""


class StreamShard(NamedTuple):
    """A shard, open or closed; `parents` are the shards it was split or merged from (none, one or two).

    Its hash keys go from `hash_key_start` to `hash_key_end`, both included. `in_order`: False where entries
    come in any order.
    """

    shard_id: str
    parents: tuple[str, ...]
    is_open: bool
    hash_key_start: int = 0
    hash_key_end: int = HASH_KEY_END - 1
    in_order: bool = True


class Span(NamedTuple):
    """What to read: arrivals from `from_time` on and before `to_time` (None: no such end).

    `latest`: only what arrives from now on. `follow`: do not end where the stream's present is reached.
    """

    from_time: datetime | None = None
    to_time: datetime | None = None
    latest: bool = False
    follow: bool = False

    def within(self, entries: list[Entry]) -> list[Entry]:
        """Those that arrived within it; the service starts at whole seconds only."""
        if self.from_time is not None:
            from_ms = milliseconds(self.from_time)
            entries = [entry for entry in entries if entry.arrival_ms >= from_ms]
        if self.to_time is not None:
            to_ms = milliseconds(self.to_time)
            entries = [entry for entry in entries if entry.arrival_ms < to_ms]
        return entries

    def ends_in(self, entries: list[Entry]) -> bool:
        """Whether entries that were read reach its end."""
        to_time = self.to_time
        return bool(to_time and entries and entries[-1].arrival_ms >= milliseconds(to_time))


def milliseconds(moment: datetime) -> int:
    """Since 1970."""
    return round(moment.timestamp() * 1000)


def parents_first(shards: Sequence[StreamShard]) -> list[StreamShard]:
    """The shards, every parent before its children; parents that are no longer listed are passed over."""
    by_id = {shard.shard_id: shard for shard in shards}
    ordered: dict[str, StreamShard] = {}
    waiting = [shard.shard_id for shard in reversed(shards)]
    while waiting:
        shard = by_id[waiting[-1]]
        missing = [parent for parent in shard.parents if parent in by_id and parent not in ordered]
        if missing:
            waiting += missing
        else:
            ordered.setdefault(waiting.pop(), shard)
    return list(ordered.values())


class StreamReader:
    """Reads one stream, named by `stream` (a name or an ARN), through an open client.

    `keep_limits`: call a shard no more often than the service allows, instead of waiting for its refusals.
    """

    def __init__(self, client: Any, get_records: RecordsCall, stream: str, *, keep_limits: bool) -> None:
        self._client = client
        self._get_records = get_records
        self._stream = {"StreamARN": stream} if stream.startswith("arn:") else {"StreamName": stream}
        self._keep_limits = keep_limits
        self._calls = asyncio.Semaphore(CALLS_AT_ONCE_MAX)  # first come, first served: shards advance alike
        # Read up to here. The service's own clock says when that is, so that a wrong one here costs nothing.
        self.began_at = datetime.now(UTC)

    async def shards(self) -> list[StreamShard]:
        """All shards that the stream still has, parents first; the reading begins at this moment."""
        listed: list[StreamShard] = []
        asked: dict[str, str] = self._stream
        while asked:
            reply = await self._client.list_shards(**asked)
            if not listed:
                self.began_at = _clock(reply)
            listed += [_shard(shard) for shard in reply.get("Shards", ())]
            asked = {"NextToken": reply["NextToken"]} if reply.get("NextToken") else {}
        if not listed:
            raise ReadingError(
                f"stream {next(iter(self._stream.values()))}: the endpoint lists no shards of it"
            )
        return parents_first(listed)

    async def horizon(self) -> datetime | None:
        """Before which the stream has forgotten its records; None where the endpoint does not say."""
        try:
            reply = await self._client.describe_stream_summary(**self._stream)
        except ClientError as error:
            if error.response["Error"].get("Code") in {"ResourceNotFoundException", "AccessDeniedException"}:
                raise
            return None  # an emulator without this call
        hours = reply.get("StreamDescriptionSummary", {}).get("RetentionPeriodHours")
        return None if hours is None else _clock(reply) - timedelta(hours=hours)

    async def read(self, shard: StreamShard, span: Span, take: Take) -> bool:
        """Hand the shard's entries over as they are read, in its order; whether it is closed and was read
        to its end."""
        start = _start(span)
        iterator: str | None = await self._iterator(shard.shard_id, start)
        while iterator:
            began = asyncio.get_running_loop().time()
            try:
                reply = await self._records(iterator)
            except ClientError as error:
                if error.response["Error"].get("Code") != "ExpiredIteratorException":
                    raise
                iterator = await self._iterator(shard.shard_id, start)
                continue
            entries = reply.records
            take(shard, span.within(entries))
            if entries:
                last = entries[-1].sequence_number
                start = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": last}
            if span.ends_in(entries) or self._caught_up(reply, span):
                return False
            iterator = reply.next_shard_iterator
            if iterator:
                await asyncio.sleep(began + self._interval_s(entries) - asyncio.get_running_loop().time())
        return True

    def _interval_s(self, entries: list[Entry]) -> float:
        """How long after a call for these entries the shard's next one may begin."""
        if not self._keep_limits:
            return 0 if entries else EMPTY_PAUSE_S
        size = sum(len(entry.data) for entry in entries)
        return max(1 / SHARD_READS_PER_SECOND, size / SHARD_READ_BYTES_PER_SECOND)

    def _caught_up(self, reply: Reply, span: Span) -> bool:
        entries, behind_ms = reply.records, reply.millis_behind_latest or 0
        if span.follow:
            passed = datetime.now(UTC) - timedelta(seconds=TO_PASSED_S)
            return bool(span.to_time and span.to_time < passed and not entries and behind_ms == 0)
        if not entries:
            return behind_ms == 0
        return entries[-1].arrival_ms > milliseconds(self.began_at)

    async def _iterator(self, shard_id: str, position: dict[str, Any]) -> str:
        asked = {"ShardId": shard_id, **position, **self._stream}
        reply = await self._patiently(lambda: self._client.get_shard_iterator(**asked))
        iterator: str = reply["ShardIterator"]
        return iterator

    async def _records(self, iterator: str) -> Reply:
        asked: dict[str, object] = {"ShardIterator": iterator, "Limit": ENTRIES_PER_READ_MAX}
        if (
            "StreamARN" in self._stream
        ):  # a name is not asked for here; another account's stream needs its ARN
            asked |= self._stream
        return await self._patiently(lambda: self._get_records(**asked))

    async def _patiently(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """What the call answers; throttling and passing failures are waited out, in nobody's way."""
        pause_s = THROTTLE_PAUSE_S
        for attempt in count(1):
            try:
                async with self._calls:
                    return await call()
            except (BotoCoreError, ClientError) as error:
                if attempt >= _attempts_max(error):
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, THROTTLE_PAUSE_MAX_S)
        raise AssertionError  # the count has no end


@asynccontextmanager
async def open_stream(
    stream: str, region: str, endpoint_url: str, role_arn: str = ""
) -> AsyncIterator[StreamReader]:
    """A reader of one stream; whatever goes wrong with the service inside is raised as a ReadingError.

    An empty `region` is the ARN's, where `stream` is one, else the library's.
    """
    if not region and stream.startswith("arn:"):
        region = stream.split(":")[3]
    async with open_kinesis(region, endpoint_url, role_arn) as (client, session):
        region, url = client.meta.region_name, client.meta.endpoint_url
        with errors_as_one_line(region, url, stream):
            async with records_call(session, region, url, CALLS_AT_ONCE_MAX) as get_records:
                yield StreamReader(client, get_records, stream, keep_limits=not is_loopback(url))


def _attempts_max(error: BotoCoreError | ClientError) -> int:
    """How many times in a row this may be answered before it is believed."""
    if isinstance(error, ClientError):
        if error.response["Error"].get("Code") in THROTTLED:
            return THROTTLED_IN_A_ROW_MAX
        passing = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400) >= 500
    else:
        passing = isinstance(error, NoConnectionError | HTTPClientError)
    return FAILED_IN_A_ROW_MAX if passing else 1


def _start(span: Span) -> dict[str, Any]:
    """The position of a first GetShardIterator call."""
    if span.from_time is not None:
        return {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": span.from_time}
    return {"ShardIteratorType": "LATEST" if span.latest else "TRIM_HORIZON"}


def _shard(listed: dict[str, Any]) -> StreamShard:
    parents = (listed.get("ParentShardId"), listed.get("AdjacentParentShardId"))
    ends = listed.get("SequenceNumberRange", {}).get("EndingSequenceNumber")
    keys = listed.get("HashKeyRange", {})
    return StreamShard(
        listed["ShardId"],
        tuple(parent for parent in parents if parent),
        ends is None,
        int(keys.get("StartingHashKey", 0)),
        int(keys.get("EndingHashKey", HASH_KEY_END - 1)),
    )


def _clock(reply: dict[str, Any]) -> datetime:
    """The service's clock, at most a second ahead: its Date header has whole seconds only."""
    date = reply["ResponseMetadata"]["HTTPHeaders"].get("date")
    try:
        return parsedate_to_datetime(date) + timedelta(seconds=1)
    except (TypeError, ValueError):  # no such header, or not a date
        return datetime.now(UTC) + timedelta(seconds=1)
