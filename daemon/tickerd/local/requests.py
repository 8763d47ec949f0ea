"""The requests of the Kinesis API as typed structs, and the bounds that the API model sets for them.

Promises that what decodes is within those bounds; what depends on a stream is checked by the operations.
Unknown members are ignored, as the service ignores them.
"""

import re
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, field

from tickerd.kinesis.limits import ENTRIES_PER_CALL_MAX, PARTITION_KEY_CHARACTERS_MAX
from tickerd.local.errors import ServiceError, invalid_request

Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[a-zA-Z0-9_.-]+$")]
StreamArn = Annotated[str, Meta(max_length=2048, pattern=r"^arn:aws.*:kinesis:.*:\d{12}:stream/\S+$")]
HashKey = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,38})$")]
SequenceNumber = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,128})$")]
PartitionKey = Annotated[str, Meta(min_length=1, max_length=PARTITION_KEY_CHARACTERS_MAX)]
Count = Annotated[int, Meta(ge=1)]
PageLength = Annotated[int, Meta(ge=1, le=10_000)]
RecordKib = Annotated[int, Meta(ge=1024, le=10_240)]
Token = Annotated[str, Meta(min_length=1)]
Time = Annotated[float, Meta(ge=0, lt=253_402_300_800)]  # seconds since 1970, before the year 10,000
Distribution = Literal["AUTO", "USER_PARTITION_KEY"]


class OnStream(msgspec.Struct, rename="pascal", kw_only=True):
    """A request about one stream, named by name or ARN."""

    stream_name: Name | None = None
    stream_arn: StreamArn | None = field(default=None, name="StreamARN")


class Entry(msgspec.Struct, rename="pascal", gc=False):
    """An entry of PutRecords. In JSON `data` is decoded from base64, which checks it."""

    data: bytes
    partition_key: PartitionKey | None = None
    explicit_hash_key: HashKey | None = None


class PutRecords(OnStream):
    """PutRecords."""

    records: Annotated[list[Entry], Meta(min_length=1, max_length=ENTRIES_PER_CALL_MAX)]
    dry_run: bool = False


class PutRecord(OnStream):
    """PutRecord. SequenceNumberForOrdering needs no member: sequence numbers always rise."""

    data: bytes
    partition_key: PartitionKey | None = None
    explicit_hash_key: HashKey | None = None
    dry_run: bool = False


class StreamMode(msgspec.Struct, rename="pascal"):
    """StreamModeDetails."""

    stream_mode: Literal["PROVISIONED", "ON_DEMAND"]


class CreateStream(msgspec.Struct, rename="pascal", kw_only=True):
    """CreateStream."""

    stream_name: Name
    shard_count: Count | None = None
    stream_mode_details: StreamMode = field(default_factory=lambda: StreamMode("PROVISIONED"))
    max_record_size_kib: RecordKib = field(default=1024, name="MaxRecordSizeInKiB")
    record_distribution_strategy: Distribution = "USER_PARTITION_KEY"


class UpdateDistribution(OnStream):
    """UpdateStreamRecordDistributionStrategy."""

    record_distribution_strategy: Distribution


class UpdateRecordSize(OnStream):
    """UpdateMaxRecordSize."""

    max_record_size_kib: RecordKib = field(name="MaxRecordSizeInKiB")


class ListStreams(msgspec.Struct, rename="pascal"):
    """ListStreams."""

    limit: PageLength = 100
    exclusive_start_stream_name: Name | None = None
    next_token: Token | None = None


class DescribeStream(OnStream):
    """DescribeStream."""

    limit: PageLength = 100
    exclusive_start_shard_id: Name | None = None


class ShardFilter(msgspec.Struct, rename="pascal"):
    """ShardFilter of ListShards. `timestamp` in seconds since the epoch."""

    type: Literal[
        "AFTER_SHARD_ID",
        "AT_TRIM_HORIZON",
        "FROM_TRIM_HORIZON",
        "AT_LATEST",
        "AT_TIMESTAMP",
        "FROM_TIMESTAMP",
    ]
    shard_id: Name | None = None
    timestamp: Time | None = None


class ListShards(OnStream):
    """ListShards."""

    next_token: Token | None = None
    exclusive_start_shard_id: Name | None = None
    max_results: PageLength = 1000
    shard_filter: ShardFilter | None = None


class SplitShard(OnStream):
    """SplitShard."""

    shard_to_split: Name
    new_starting_hash_key: HashKey


class MergeShards(OnStream):
    """MergeShards."""

    shard_to_merge: Name
    adjacent_shard_to_merge: Name


class UpdateShardCount(OnStream):
    """UpdateShardCount."""

    target_shard_count: Count
    scaling_type: Literal["UNIFORM_SCALING"]


class GetShardIterator(OnStream):
    """GetShardIterator. `timestamp` in seconds since the epoch."""

    shard_id: Name
    shard_iterator_type: Literal[
        "TRIM_HORIZON", "LATEST", "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "AT_TIMESTAMP"
    ]
    starting_sequence_number: SequenceNumber | None = None
    timestamp: Time | None = None


class GetRecords(msgspec.Struct, rename="pascal"):
    """GetRecords."""

    shard_iterator: Annotated[str, Meta(min_length=1, max_length=512)]
    limit: PageLength = 10_000


Request = TypeVar("Request")
_WRONG_TYPE = re.compile(r"Expected `[^`]+`, got `(?!null)|Invalid base64")


def refusal(error: Exception, format_: str) -> ServiceError:
    """What a body that does not decode is answered with.

    SerializationException where it is not of the format or has wrong types, else ValidationException.
    """
    if not isinstance(error, msgspec.ValidationError):
        return ServiceError("SerializationException", f"The body is not {format_}: {error}")
    if _WRONG_TYPE.match(str(error)):
        return ServiceError("SerializationException", str(error))
    return invalid_request(str(error))
