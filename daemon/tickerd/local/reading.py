"""GetShardIterator and GetRecords: where a reader stands in a shard, and what it gets from there.

An iterator is a token that holds its own position, so nothing is kept for a reader. The service's read limits
(5 calls and 2 MiB a second for a shard) are not kept, so that reading a whole stream back is quick.
"""

import base64
import re
from dataclasses import dataclass

import msgspec

from tickerd.kinesis.limits import CALL_BYTES_MAX
from tickerd.local.errors import ServiceError, invalid_argument, no_such_shard
from tickerd.local.requests import GetShardIterator
from tickerd.local.stream import Shard, Stream

ITERATOR_EXPIRES_MS = 300_000
READ_BYTES_MAX = CALL_BYTES_MAX  # GetRecords: 10 MiB a reply
_SEQUENCE = re.compile(r"49(\d{13})(\d{6})0{20}(\d{15})")


class ReadRecord(msgspec.Struct, rename="pascal", omit_defaults=True, gc=False):
    """A member of the GetRecords reply. The time is in seconds, with milliseconds."""

    sequence_number: str
    approximate_arrival_timestamp: float
    data: bytes
    partition_key: str | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reader stands: the next record is the first of the shard numbered `number` or above."""

    stream: str
    created_ms: int
    shard: int
    number: int

    def token(self, now_ms: int) -> str:
        """Return the ShardIterator, good for five minutes."""
        text = f"{now_ms}/{self.created_ms}/{self.stream}/{self.shard}/{self.number}"
        return base64.b64encode(text.encode()).decode()


def parse_token(token: str, now_ms: int) -> Position:
    """Return the position in a ShardIterator, or raise ServiceError when it is expired or not one of ours."""
    try:
        issued, created, stream, shard, number = base64.b64decode(token, validate=True).decode().split("/")
        position = Position(stream, int(created), int(shard), int(number))
        issued_ms = int(issued)
    except ValueError:
        raise invalid_argument("Invalid ShardIterator.") from None
    if now_ms - issued_ms > ITERATOR_EXPIRES_MS:
        raise ServiceError(
            "ExpiredIteratorException",
            f"Iterator expired: created {now_ms - issued_ms} ms ago, {ITERATOR_EXPIRES_MS} are allowed.",
        )
    return position


def starting_position(stream: Stream, shard: Shard, request: GetShardIterator, now_ms: int) -> Position:
    """Return the position that GetShardIterator asks for."""
    kind, sequence = request.shard_iterator_type, request.starting_sequence_number
    if (sequence is not None) != (kind in {"AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"}):
        need = "no" if sequence is not None else "a"
        raise invalid_argument(f"ShardIteratorType {kind} needs {need} StartingSequenceNumber.")
    if sequence is not None:
        number = _number_of(sequence, shard) + (kind == "AFTER_SEQUENCE_NUMBER")
    elif kind == "AT_TIMESTAMP":
        number = _number_at(stream, shard, request.timestamp, now_ms)
    else:
        number = shard.opened_number if kind == "TRIM_HORIZON" else stream.next_number
    return Position(stream.name, stream.created_ms, shard.index, number)


def _number_of(sequence: str, shard: Shard) -> int:
    match = _SEQUENCE.fullmatch(sequence)
    if match is None or not sequence.startswith(shard.sequence_prefix):
        raise invalid_argument(f"StartingSequenceNumber {sequence} did not come from shard {shard.id}.")
    return int(match[3])


def _number_at(stream: Stream, shard: Shard, timestamp_s: float | None, now_ms: int) -> int:
    if timestamp_s is None:
        raise invalid_argument("ShardIteratorType AT_TIMESTAMP needs a Timestamp.")
    wanted_ms = round(timestamp_s * 1000)
    if wanted_ms > now_ms:
        raise invalid_argument(f"Timestamp {wanted_ms} ms is later than the present, {now_ms} ms.")
    number = shard.log.number_at(wanted_ms)
    return stream.next_number if number is None else number


def read(stream: Stream, position: Position, limit: int, now_ms: int) -> dict[str, object]:
    """Return the reply of GetRecords: up to `limit` records and 10 MiB, and the iterator to follow."""
    if position.created_ms != stream.created_ms or position.shard >= len(stream.shards):
        raise no_such_shard(f"shardId-{position.shard:012d}", stream.name)
    shard = stream.shards[position.shard]
    records: list[ReadRecord] = []
    size, number, behind_ms, last_ms = 0, position.number, 0, now_ms
    for at, arrival_ms, entry in shard.log.read(position.number):
        size += len(entry.data) + len((entry.partition_key or "").encode())
        if len(records) == limit or (size > READ_BYTES_MAX and records):
            behind_ms = max(0, now_ms - last_ms)
            break
        sequence = shard.sequence_number(at)
        records.append(ReadRecord(sequence, arrival_ms / 1000, entry.data, entry.partition_key))
        number, last_ms = at + 1, arrival_ms
    else:
        number = max(number, stream.next_number)  # all that there is has been read
    result: dict[str, object] = {"Records": records, "MillisBehindLatest": behind_ms}
    if shard.closed_number is not None and number > shard.closed_number:
        result["ChildShards"] = [_child(child) for child in shard.children]
    else:
        after = Position(stream.name, stream.created_ms, shard.index, number)
        result["NextShardIterator"] = after.token(now_ms)
    return result


def _child(shard: Shard) -> dict[str, object]:
    return {
        "ShardId": shard.id,
        "ParentShards": [parent.id for parent in shard.parents],
        "HashKeyRange": {"StartingHashKey": str(shard.start), "EndingHashKey": str(shard.end)},
    }
