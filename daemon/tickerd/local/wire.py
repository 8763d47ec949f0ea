"""The two formats in which the endpoint is spoken to, JSON 1.1 and CBOR: requests read, replies written.

A request's Content-Type says which, and its answer has the same. The operations see typed requests and
values, and know neither.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import msgspec

from tickerd import cbor
from tickerd.local.errors import ServiceError
from tickerd.local.putting import Outcome, refusal_message
from tickerd.local.requests import Request, refusal
from tickerd.local.stream import Shard


class PutReply(NamedTuple):
    """How the reply of PutRecords is written, in characters of Latin-1, of which each is a byte."""

    begin: Callable[[int, int], str]  # for the numbers of failed and of all entries
    entry: Callable[[Shard], str]  # of an acknowledged entry in a shard, up to its number
    entry_end: str
    between: str
    end: str


class Wire(NamedTuple):
    """One format. `decode` raises ValueError, or msgspec.ValidationError where the shape is wrong."""

    name: str
    content_type: str
    decode: Callable[[bytes, type], Any]
    encode: Callable[[object], bytes]
    put_reply: PutReply

    def request(self, body: bytes, kind: type[Request]) -> Request:
        """A body as a request, or SerializationException or ValidationException."""
        try:
            request: Request = self.decode(body, kind)
        except (msgspec.MsgspecError, ValueError) as error:
            raise refusal(error, self.name) from None
        return request

    def reply(self, result: object) -> bytes:
        """The body of a reply."""
        if isinstance(result, Outcome):
            return self._put(result)
        return b"" if result is None else self.encode(result)

    def error(self, error: ServiceError) -> bytes:
        """The body of a refusal."""
        return self.encode({"__type": error.code, "message": str(error)})

    def _put(self, outcome: Outcome) -> bytes:
        """The reply of PutRecords. What depends on a shard alone is written once until shards change."""
        put, stream = self.put_reply, outcome.stream
        starts = stream.written.get(self.name)
        if starts is None:
            starts = stream.written[self.name] = [put.entry(shard) for shard in stream.shards]
        numbers = range(outcome.first, outcome.first + len(outcome.shards))
        results = [
            f"{starts[index]}{number}{put.entry_end}"
            for index, number in zip(outcome.shards, numbers, strict=True)
        ]
        for position, code in outcome.refused.items():
            message = refusal_message(stream, outcome.shards[position], code)
            results[position] = self.encode({"ErrorCode": code, "ErrorMessage": message}).decode("latin-1")
        begin = put.begin(len(outcome.refused), len(results))
        return f"{begin}{put.between.join(results)}{put.end}".encode("latin-1")


@cache
def _json_decoder(kind: type) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(kind)


def _decode_json(body: bytes, kind: type) -> object:
    return _json_decoder(kind).decode(body)


def _cbor_begin(failed: int, entries: int) -> str:
    count = cbor.text("FailedRecordCount") + cbor.head(cbor.UNSIGNED, failed)
    records = cbor.text("Records") + cbor.head(cbor.ARRAY, entries)
    return (cbor.head(cbor.MAP, 2) + count + records).decode("latin-1")


def _cbor_entry(shard: Shard) -> str:
    number = shard.sequence_number(shard.opened_number)  # as long as all that follow
    fields = cbor.text("ShardId") + cbor.text(shard.id) + cbor.text("SequenceNumber") + cbor.text(number)
    return (cbor.head(cbor.MAP, 2) + fields).decode("latin-1").removesuffix(str(shard.opened_number))


JSON = Wire(
    "JSON",
    "application/x-amz-json-1.1",
    _decode_json,
    msgspec.json.encode,
    PutReply(
        begin=lambda failed, _: f'{{"FailedRecordCount":{failed},"Records":[',
        entry=lambda shard: f'{{"ShardId":"{shard.id}","SequenceNumber":"{shard.sequence_prefix}',
        entry_end='"}',
        between=",",
        end="]}",
    ),
)
CBOR = Wire(
    "CBOR",
    "application/x-amz-cbor-1.1",
    cbor.decode,
    cbor.encode,
    PutReply(begin=_cbor_begin, entry=_cbor_entry, entry_end="", between="", end=""),
)


def of_content_type(content_type: str) -> Wire:
    """The format of a request with this Content-Type; JSON unless it is CBOR."""
    return CBOR if "cbor" in content_type.lower() else JSON
