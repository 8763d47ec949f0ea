"""The operations of the Kinesis API on streams in memory: typed requests in, values out (bytes: `wire.py`).

Promises the service's shapes and error codes, and that a call is done when it returns. It knows nothing of
HTTP; time and randomness are passed in. Requests need no signature.
"""

from collections.abc import Callable
from typing import Any

from tickerd.local import describing, putting, reading, requests
from tickerd.local.account import SHARDS_MAX, Account
from tickerd.local.errors import (
    ServiceError,
    invalid_argument,
    invalid_request,
    no_such_shard,
    no_such_stream,
)
from tickerd.local.stream import Shard, Stream
from tickerd.local.wire import Wire

ON_DEMAND_SHARDS = 4  # what a new on-demand stream begins with


def call(account: Account, operation: str, body: bytes, wire: Wire) -> bytes:
    """Answer one call; raise ServiceError for a refusal."""
    kind, act = OPERATIONS[operation]
    return wire.reply(act(account, wire.request(body, kind)))


def _put_records(account: Account, request: requests.PutRecords) -> putting.Outcome:
    return account.put_entries(account.stream(request), request.records, request.dry_run)


def _put_record(account: Account, request: requests.PutRecord) -> object:
    stream = account.stream(request)
    entry = requests.Entry(request.data, request.partition_key, request.explicit_hash_key)
    outcome = account.put_entries(stream, [entry], request.dry_run)
    if outcome.refused:
        raise putting.refuse_single(stream, outcome)
    shard = stream.shards[outcome.shards[0]]
    return {"ShardId": shard.id, "SequenceNumber": shard.sequence_number(outcome.first)}


def _create_stream(account: Account, request: requests.CreateStream) -> None:
    mode, distribution = request.stream_mode_details.stream_mode, request.record_distribution_strategy
    shards = ON_DEMAND_SHARDS if mode == "ON_DEMAND" else request.shard_count
    if shards is None:
        raise invalid_request("ShardCount must not be null for a PROVISIONED stream.")
    _check_distribution(mode, distribution)
    stream = account.create(request.stream_name, shards, mode)
    stream.record_kib_max = request.max_record_size_kib
    stream.distribution = distribution


def _check_distribution(mode: str, distribution: str) -> None:
    if distribution == "AUTO" and mode != "ON_DEMAND":
        raise invalid_argument("RecordDistributionStrategy AUTO is for ON_DEMAND streams only.")


def _delete_stream(account: Account, request: requests.OnStream) -> None:
    name = account.stream(request).name
    del account.streams[name]
    account.store.forget(name)


def _update_distribution(account: Account, request: requests.UpdateDistribution) -> None:
    stream = account.stream(request)
    _check_distribution(stream.mode, request.record_distribution_strategy)
    stream.distribution = request.record_distribution_strategy


def _update_record_size(account: Account, request: requests.UpdateRecordSize) -> None:
    account.stream(request).record_kib_max = request.max_record_size_kib


def _list_streams(account: Account, request: requests.ListStreams) -> object:
    start = request.next_token or request.exclusive_start_stream_name or ""
    names = sorted(name for name in account.streams if name > start)
    page = names[: request.limit]
    result: dict[str, object] = {"StreamNames": page, "HasMoreStreams": len(names) > len(page)}
    if len(names) > len(page):
        result["NextToken"] = page[-1]
    return result


def _describe_stream(account: Account, request: requests.DescribeStream) -> object:
    return {"StreamDescription": describing.description(account.stream(request), request)}


def _describe_stream_summary(account: Account, request: requests.OnStream) -> object:
    stream = account.stream(request)
    return {"StreamDescriptionSummary": describing.summary(stream, account.is_auto(stream))}


def _list_shards(account: Account, request: requests.ListShards) -> object:
    last, wanted = request.exclusive_start_shard_id, request.shard_filter
    if request.next_token is not None:
        if request.stream_name or last or wanted:
            raise invalid_argument("NextToken cannot be given together with StreamName, a start or a filter.")
        token = describing.parse_page_token(request.next_token, account.now_ms())
        request.stream_name, last, wanted = token.stream, token.after, token.filter
        request.stream_arn = None
    stream = account.stream(request)
    shards = describing.after(describing.filtered(stream, wanted, account.horizon_ms()), last)
    page = shards[: min(request.max_results, 1000)]
    result: dict[str, object] = {"Shards": [describing.shard_shape(shard) for shard in page]}
    if len(shards) > len(page):
        follow = describing.PageToken(account.now_ms(), stream.name, page[-1].id, wanted)
        result["NextToken"] = follow.text()
    return result


def _shard(stream: Stream, shard_id: str) -> Shard:
    for shard in stream.shards:
        if shard.id == shard_id:
            return shard
    raise no_such_shard(shard_id, stream.name)


def _open_shard(stream: Stream, shard_id: str) -> Shard:
    if stream.mode != "PROVISIONED":
        raise invalid_request(f"Stream {stream.name} is in On-Demand mode, which shards itself.")
    shard = _shard(stream, shard_id)
    if shard.closed_number is not None:
        raise ServiceError("ResourceInUseException", f"Shard {shard_id} of {stream.name} is closed.")
    return shard


def _split_shard(account: Account, request: requests.SplitShard) -> None:
    stream = account.stream(request)
    shard = _open_shard(stream, request.shard_to_split)
    at = int(request.new_starting_hash_key)
    if not shard.start + 1 < at < shard.end:
        raise invalid_argument(
            f"NewStartingHashKey {at} is not greater than one plus {shard.start} and less than {shard.end}, "
            f"the ends of {shard.id} in stream {stream.name}."
        )
    stream.split(shard, at, account.now_ms())


def _merge_shards(account: Account, request: requests.MergeShards) -> None:
    stream = account.stream(request)
    pair = [_open_shard(stream, id_) for id_ in (request.shard_to_merge, request.adjacent_shard_to_merge)]
    low, high = sorted(pair, key=lambda shard: shard.start)
    if low.end + 1 != high.start:
        raise invalid_argument(f"Shards {low.id} and {high.id} in stream {stream.name} are not adjacent.")
    stream.merge(low, high, account.now_ms())


def _update_shard_count(account: Account, request: requests.UpdateShardCount) -> object:
    stream = account.stream(request)
    if stream.mode != "PROVISIONED":
        raise invalid_request(f"Stream {stream.name} is in On-Demand mode, which shards itself.")
    current, target = len(stream.open_shards), request.target_shard_count
    if not current <= 2 * target <= 4 * current or target > SHARDS_MAX:
        raise ServiceError(
            "LimitExceededException",
            f"UpdateShardCount from {current} to {target}: half to double, up to {SHARDS_MAX}, is right.",
        )
    stream.scale(target, account.now_ms())
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "CurrentShardCount": current,
        "TargetShardCount": target,
    }


def _get_shard_iterator(account: Account, request: requests.GetShardIterator) -> object:
    stream = account.stream(request)
    now_ms = account.now_ms()
    position = reading.starting_position(stream, _shard(stream, request.shard_id), request, now_ms)
    return {"ShardIterator": position.token(now_ms)}


def _get_records(account: Account, request: requests.GetRecords) -> object:
    now_ms = account.now_ms()
    position = reading.parse_token(request.shard_iterator, now_ms)
    if position.stream not in account.streams:
        raise no_such_stream(position.stream)
    return reading.read(account.streams[position.stream], position, request.limit, now_ms)


# Any: each operation takes the request type beside it; the table pairs them, which a type cannot say.
OPERATIONS: dict[str, tuple[type[Any], Callable[[Account, Any], object]]] = {
    "CreateStream": (requests.CreateStream, _create_stream),
    "DeleteStream": (requests.OnStream, _delete_stream),
    "DescribeStream": (requests.DescribeStream, _describe_stream),
    "DescribeStreamSummary": (requests.OnStream, _describe_stream_summary),
    "GetRecords": (requests.GetRecords, _get_records),
    "GetShardIterator": (requests.GetShardIterator, _get_shard_iterator),
    "ListShards": (requests.ListShards, _list_shards),
    "ListStreams": (requests.ListStreams, _list_streams),
    "MergeShards": (requests.MergeShards, _merge_shards),
    "PutRecord": (requests.PutRecord, _put_record),
    "PutRecords": (requests.PutRecords, _put_records),
    "SplitShard": (requests.SplitShard, _split_shard),
    "UpdateMaxRecordSize": (requests.UpdateRecordSize, _update_record_size),
    "UpdateShardCount": (requests.UpdateShardCount, _update_shard_count),
    "UpdateStreamRecordDistributionStrategy": (requests.UpdateDistribution, _update_distribution),
}
