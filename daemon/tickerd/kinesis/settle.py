"""The fate of every entry of a PutRecords call, read off the answer to it. One pure function: `settle`."""

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

import msgspec

from tickerd.cause import Cause
from tickerd.kinesis.cause import is_retryable, service_cause
from tickerd.kinesis.client import Reply

REFUSED_CREDENTIALS = {
    "ExpiredTokenException",
    "ExpiredToken",
    "UnrecognizedClientException",
    "InvalidSignatureException",
}
NO_ANSWER = {"ConnectionError", "ProxyConnectionError", "Timeout"}
THROTTLED = "ProvisionedThroughputExceededException"
_SHARD_ID = b'"ShardId":"'


class Fate(Enum):
    """What becomes of the entries of a call that were not acknowledged."""

    DONE = auto()  # there are none
    RETRY = auto()  # send them again soon
    RENEW = auto()  # send them again with new credentials
    HOLD = auto()  # keep them until the cause is mended


class Outcome(NamedTuple):
    """What an answer says of a call: which entries to keep (None: all of them), and why."""

    fate: Fate
    unacknowledged: list[int] | None
    errors: dict[str, int]  # entries by error code
    cause: Cause | None = None
    throttled: Sequence[int] = ()  # those of the unacknowledged entries that their shard had no room for
    landed: Sequence[str] = ()  # ShardIds of the first entries, of as many as were read; "" where none is


class _Entry(msgspec.Struct, gc=False):
    SequenceNumber: str | None = None
    ShardId: str | None = None
    ErrorCode: str | None = None


class _Answer(msgspec.Struct, gc=False):
    Records: list[_Entry]


class _Error(msgspec.Struct):
    type: str = msgspec.field(name="__type", default="Unknown")
    message: str | None = ""
    Message: str | None = ""


_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError)
_answer_decoder = msgspec.json.Decoder(_Answer)
_error_decoder = msgspec.json.Decoder(_Error)


def settle(entries: int, reply: Reply, *, whole: bool = False) -> Outcome:
    """The fate of every entry of a call, from the answer to it. `entries` is how many were sent.

    `whole`: the ShardIds of all entries are wanted, not of the first alone.
    """
    if reply.status == 200:
        return _settle_answer(entries, reply.body, whole=whole)
    if reply.status == 0:
        code, _, detail = reply.body.decode(errors="replace").partition(": ")
        if code in NO_ANSWER:
            return Outcome(Fate.RETRY, None, {code: entries}, Cause(code, detail or code, False))
        return Outcome(Fate.HOLD, None, {code: entries}, Cause(code, detail or code, True))
    try:
        error = _error_decoder.decode(reply.body)
    except _UNREADABLE:
        error = _Error(f"HTTP{reply.status}", reply.body[:200].decode(errors="replace"))
    code = error.type.rpartition("#")[2]
    cause = service_cause(code, error.message or error.Message or "", reply.status)
    if code in REFUSED_CREDENTIALS:
        return Outcome(Fate.RENEW, None, {code: entries}, cause)
    if is_retryable(code, reply.status):
        return Outcome(Fate.RETRY, None, {code: entries}, cause if reply.status >= 500 else None)
    return Outcome(Fate.HOLD, None, {code: entries}, cause)


def _settle_answer(entries: int, body: bytes, *, whole: bool) -> Outcome:
    # Almost every answer says that nothing failed: then it need not be parsed. The order and the spacing of
    # the keys are not promised, so whatever looks different is parsed.
    if (
        not whole
        and b'"FailedRecordCount":0' in body
        and (found := body.find(_SHARD_ID)) > 0
        and body.count(b'"SequenceNumber":"') == entries
    ):
        start = found + len(_SHARD_ID)
        first = body[start : body.index(b'"', start)]
        return Outcome(Fate.DONE, [], {}, landed=[first.decode(errors="replace")])
    try:
        answers = _answer_decoder.decode(body).Records
    except _UNREADABLE:
        answers = []
    if len(answers) != entries:
        cause = Cause("ReplyLength", f"{len(answers)} answers to {entries} entries: is this Kinesis?", False)
        return Outcome(Fate.RETRY, None, {"ReplyLength": entries}, cause)
    errors: dict[str, int] = {}
    unacknowledged = []
    throttled = []
    for number, answer in enumerate(answers):
        if answer.ErrorCode or not answer.SequenceNumber:
            code = answer.ErrorCode or "other"
            errors[code] = errors.get(code, 0) + 1
            unacknowledged.append(number)
            if code == THROTTLED:
                throttled.append(number)
    landed = [answer.ShardId or "" for answer in answers]
    fate = Fate.RETRY if unacknowledged else Fate.DONE
    return Outcome(fate, unacknowledged, errors, None, throttled, landed)
