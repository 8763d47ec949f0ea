"""What stands in the body of an answer to PutRecords, whichever of the two formats it has.

It is told by the body, not by what was asked: a proxy, or an endpoint that does not know CBOR, answers as it
likes. Whatever is neither, or has another shape, says nothing.
"""

from typing import Any, TypeVar

import msgspec

from tickerd import cbor

UNKNOWN = "Unknown"  # the type of a refusal that has none


class Entry(msgspec.Struct, gc=False):
    """What became of one entry."""

    SequenceNumber: str | None = None
    ShardId: str | None = None
    ErrorCode: str | None = None


class Error(msgspec.Struct):
    """A refusal of the whole call."""

    type: str = msgspec.field(name="__type", default=UNKNOWN)
    message: str | None = ""
    Message: str | None = ""


class _Answer(msgspec.Struct, gc=False):
    Records: list[Entry]


Said = TypeVar("Said", _Answer, Error)
_decoders: dict[type, "msgspec.json.Decoder[Any]"] = {
    kind: msgspec.json.Decoder(kind) for kind in (_Answer, Error)
}

# How an answer in CBOR says that nothing failed, and begins each acknowledged entry's number, of 24 to 255
# digits; no null looks like that. Before a text of up to 23 characters, as ShardIds are, stands one byte. A
# message may hold all this, as CBOR escapes nothing: then there is the code that it belongs to.
_NONE_FAILED = cbor.text("FailedRecordCount") + b"\x00"
_NUMBER = cbor.text("SequenceNumber") + b"\x78"
_ERROR_CODE, _NO_ERROR_CODE = cbor.text("ErrorCode"), cbor.text("ErrorCode") + b"\xf6"
_CBOR_SHARD_ID = cbor.text("ShardId")
_JSON_SHARD_ID = b'"ShardId":"'


def first_shard_of_all(body: bytes, entries: int) -> str | None:
    """The first entry's ShardId, if a scan is enough to see that all entries are acknowledged.

    Almost every answer says so: then it need not be parsed. The order and the spacing of the keys, and the
    length of numbers, are not promised, so whatever looks different is None.
    """
    if cbor.is_cbor(body):
        refused = body.count(_ERROR_CODE) - body.count(_NO_ERROR_CODE)
        if refused or _NONE_FAILED not in body or body.count(_NUMBER) != entries:
            return None
        start = body.find(_CBOR_SHARD_ID) + len(_CBOR_SHARD_ID)
        length = body[start] - cbor.TEXT if start < len(body) else 0
        if start < len(_CBOR_SHARD_ID) or not 0 < length < 24:
            return None
        return body[start + 1 : start + 1 + length].decode(errors="replace")
    if b'"FailedRecordCount":0' not in body or body.count(b'"SequenceNumber":"') != entries:
        return None
    found = body.find(_JSON_SHARD_ID)
    if found < 0:
        return None
    start = found + len(_JSON_SHARD_ID)
    end = body.find(b'"', start)
    return body[start:end].decode(errors="replace") if end >= 0 else None


def entries_of(body: bytes) -> list[Entry]:
    """What became of each entry; none when the body is no answer."""
    answer = _decoded(body, _Answer)
    return answer.Records if answer else []


def is_answer(body: bytes) -> bool:
    """Whether it is the answer to a call that was not refused as a whole."""
    return _decoded(body, _Answer) is not None


def error_of(body: bytes) -> Error | None:
    """What a refusal says; None when the body is none."""
    return _decoded(body, Error)


def _decoded(body: bytes, kind: type[Said]) -> Said | None:
    try:
        if cbor.is_cbor(body):
            return cbor.decode(body, kind)
        said: Said = _decoders[kind].decode(body)
    except (msgspec.MsgspecError, ValueError):  # of which UnicodeDecodeError is one
        return None
    return said
