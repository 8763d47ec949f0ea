"""How a stream and its shards look from outside: DescribeStream, DescribeStreamSummary and ListShards.

Owns the shapes of those replies and the paging tokens; changes nothing.
"""

import base64

import msgspec

from tickerd.local.errors import ServiceError, invalid_argument
from tickerd.local.requests import DescribeStream, ShardFilter
from tickerd.local.stream import Shard, Stream

TOKEN_EXPIRES_MS = 300_000
RETENTION_HOURS = 24


class PageToken(msgspec.Struct, array_like=True):
    """What the next page of ListShards needs to know."""

    issued_ms: int
    stream: str
    after: str
    filter: ShardFilter | None

    def text(self) -> str:
        """Return the NextToken."""
        return base64.b64encode(msgspec.json.encode(self)).decode()


def parse_page_token(text: str, now_ms: int) -> PageToken:
    """Return what a NextToken says, or raise ServiceError when it is expired or not one of ours."""
    try:
        token = msgspec.json.decode(base64.b64decode(text, validate=True), type=PageToken)
    except (ValueError, msgspec.DecodeError):
        raise invalid_argument("NextToken is invalid.") from None
    if now_ms - token.issued_ms > TOKEN_EXPIRES_MS:
        raise ServiceError("ExpiredNextTokenException", f"NextToken is older than {TOKEN_EXPIRES_MS} ms.")
    return token


def shard_shape(shard: Shard) -> dict[str, object]:
    """Return a Shard as the API has it."""
    numbers = {"StartingSequenceNumber": shard.sequence_number(shard.opened_number)}
    if shard.closed_number is not None:
        numbers["EndingSequenceNumber"] = shard.sequence_number(shard.closed_number)
    shape: dict[str, object] = {
        "ShardId": shard.id,
        "HashKeyRange": {"StartingHashKey": str(shard.start), "EndingHashKey": str(shard.end)},
        "SequenceNumberRange": numbers,
    }
    if shard.parents:
        shape["ParentShardId"] = shard.parents[0].id
    if len(shard.parents) > 1:
        shape["AdjacentParentShardId"] = shard.parents[1].id
    return shape


def filtered(stream: Stream, wanted: ShardFilter | None, horizon_ms: int) -> list[Shard]:
    """Return the shards that a ShardFilter selects, in order of their ids."""
    if wanted is None:
        return stream.shards
    if wanted.type == "AT_LATEST":
        return [shard for shard in stream.shards if shard.closed_ms is None]
    if wanted.type == "AFTER_SHARD_ID":
        if wanted.shard_id is None:
            raise invalid_argument("ShardFilter AFTER_SHARD_ID needs a ShardId.")
        return after(stream.shards, wanted.shard_id)
    at_ms = max(horizon_ms, stream.created_ms)
    if wanted.type.endswith("_TIMESTAMP"):
        if wanted.timestamp is None:
            raise invalid_argument(f"ShardFilter {wanted.type} needs a Timestamp.")
        at_ms = max(round(wanted.timestamp * 1000), at_ms)
    living = [shard for shard in stream.shards if shard.closed_ms is None or shard.closed_ms >= at_ms]
    if wanted.type.startswith("FROM_"):
        return living
    return [shard for shard in living if shard.opened_ms <= at_ms]


def after(shards: list[Shard], shard_id: str | None) -> list[Shard]:
    """Return the shards whose ids follow `shard_id`."""
    return shards if shard_id is None else [shard for shard in shards if shard.id > shard_id]


def description(stream: Stream, request: DescribeStream) -> dict[str, object]:
    """Return the StreamDescription with one page of its shards."""
    shards = after(stream.shards, request.exclusive_start_shard_id)
    return _common(stream) | {
        "Shards": [shard_shape(shard) for shard in shards[: request.limit]],
        "HasMoreShards": len(shards) > request.limit,
    }


def summary(stream: Stream, auto: bool) -> dict[str, object]:
    """Return the StreamDescriptionSummary. `auto` shows the stream as distributing records itself."""
    shape = _common(stream) | {
        "OpenShardCount": len(stream.open_shards),
        "ConsumerCount": 0,
        "MaxRecordSizeInKiB": stream.record_kib_max,
    }
    if auto or stream.mode == "ON_DEMAND":  # provisioned streams do not have the setting
        shape["RecordDistributionStrategy"] = "AUTO" if auto else stream.distribution
    return shape


def _common(stream: Stream) -> dict[str, object]:
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": stream.status,
        "StreamModeDetails": {"StreamMode": stream.mode},
        "RetentionPeriodHours": RETENTION_HOURS,
        "StreamCreationTimestamp": stream.created_ms / 1000,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
    }
