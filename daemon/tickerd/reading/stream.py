"""A stream as its reader meets it: which shards it has, and each shard's entries from the horizon to now.

Promises that a closed shard is read to its end, and an open one until it has caught up with the moment at
which the reading began, however fast it is still being written.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from tickerd.reading import ReadingError
from tickerd.reading.client import errors_as_one_line, kinesis_client

ENTRIES_PER_READ_MAX = 10_000  # GetRecords
THROTTLE_PAUSE_S = 0.2  # a shard answers five GetRecords calls a second
THROTTLE_PAUSE_MAX_S = 5.0
THROTTLED_IN_A_ROW_MAX = 60  # about five minutes of other readers taking all that a shard can be read
THROTTLED = {"ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException"}


class StreamShard(NamedTuple):
    """A shard, open or closed; `parents` are the shards it was split or merged from (none, one or two)."""

    shard_id: str
    parents: tuple[str, ...]
    is_open: bool


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
    """Reads one stream, named by `stream` (a name or an ARN), through an open client."""

    def __init__(self, client: Any, stream: str, throttle_pause_s: float = THROTTLE_PAUSE_S) -> None:
        self._client = client
        self._stream = {"StreamARN": stream} if stream.startswith("arn:") else {"StreamName": stream}
        self._throttle_pause_s = throttle_pause_s
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

    async def pages(self, shard_id: str, from_time: datetime | None) -> AsyncIterator[list[dict[str, Any]]]:
        """The shard's entries in its order, as GetRecords has them, from an arrival time or the horizon."""
        start: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
        if from_time is not None:
            start = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": from_time}
        iterator: str | None = await self._iterator(shard_id, start)
        while iterator:
            try:
                reply = await self._get_records(iterator)
            except ClientError as error:
                if error.response["Error"].get("Code") != "ExpiredIteratorException":
                    raise
                iterator = await self._iterator(shard_id, start)
                continue
            entries = reply["Records"]
            yield entries
            if entries:
                start = {
                    "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                    "StartingSequenceNumber": entries[-1]["SequenceNumber"],
                }
            if self._caught_up(entries, reply.get("MillisBehindLatest") or 0):
                return
            iterator = reply.get("NextShardIterator")  # none: the shard is closed and has been read

    def _caught_up(self, entries: list[dict[str, Any]], behind_ms: int) -> bool:
        if not entries:
            return behind_ms == 0
        arrived_at: datetime = entries[-1]["ApproximateArrivalTimestamp"]
        return arrived_at > self.began_at

    async def _iterator(self, shard_id: str, position: dict[str, Any]) -> str:
        asked = {"ShardId": shard_id, **position, **self._stream}
        iterator: str = (await self._patiently(self._client.get_shard_iterator, asked))["ShardIterator"]
        return iterator

    async def _get_records(self, iterator: str) -> dict[str, Any]:
        asked: dict[str, Any] = {"ShardIterator": iterator, "Limit": ENTRIES_PER_READ_MAX}
        if (
            "StreamARN" in self._stream
        ):  # a name is not asked for here, but another account's stream needs its ARN
            asked |= self._stream
        return await self._patiently(self._client.get_records, asked)

    async def _patiently(self, call: Callable[..., Any], asked: dict[str, Any]) -> dict[str, Any]:
        pause_s = self._throttle_pause_s
        for attempt in count(1):
            try:
                reply: dict[str, Any] = await call(**asked)
            except ClientError as error:
                throttled = error.response["Error"].get("Code") in THROTTLED
                if not throttled or attempt == THROTTLED_IN_A_ROW_MAX:
                    raise
            else:
                return reply
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
    async with kinesis_client(region, endpoint_url, role_arn) as client:
        with errors_as_one_line(client.meta.region_name, client.meta.endpoint_url, stream):
            yield StreamReader(client, stream)


def _shard(listed: dict[str, Any]) -> StreamShard:
    parents = (listed.get("ParentShardId"), listed.get("AdjacentParentShardId"))
    ends = listed.get("SequenceNumberRange", {}).get("EndingSequenceNumber")
    return StreamShard(listed["ShardId"], tuple(parent for parent in parents if parent), ends is None)


def _clock(reply: dict[str, Any]) -> datetime:
    """The service's clock, at most a second ahead: its Date header has whole seconds only."""
    date = reply["ResponseMetadata"]["HTTPHeaders"].get("date")
    try:
        return parsedate_to_datetime(date) + timedelta(seconds=1)
    except (TypeError, ValueError):  # no such header, or not a date
        return datetime.now(UTC) + timedelta(seconds=1)
