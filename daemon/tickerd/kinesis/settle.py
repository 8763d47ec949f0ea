"""The fate of every entry of a PutRecords call, read off the answer to it. One pure function: `settle`."""

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from tickerd import cbor
from tickerd.cause import Cause
from tickerd.kinesis.cause import is_retryable, service_cause
from tickerd.kinesis.client import Reply
from tickerd.kinesis.replies import Error, entries_of, error_of, first_shard_of_all

REFUSED_CREDENTIALS = {
    "ExpiredTokenException",
    "ExpiredToken",
    "UnrecognizedClientException",
    "InvalidSignatureException",
}
NO_ANSWER = {"ConnectionError", "ProxyConnectionError", "Timeout"}
NOT_UNDERSTOOD = {"SerializationException", "UnknownOperationException"}
FORMAT_REMEDY = 'if this endpoint does not know CBOR, set kinesis.request = "json"'
THROTTLED = "ProvisionedThroughputExceededException"


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


def settle(entries: int, reply: Reply, request: str = "json", *, whole: bool = False) -> Outcome:
    """The fate of every entry of a call, from the answer to it. `entries` is how many were sent.

    `request`: the format in which. `whole`: the ShardIds of all entries are wanted, not of the first alone.
    """
    if reply.status == 200:
        return _settle_answer(entries, reply.body, request, whole=whole)
    if reply.status == 0:
        code, _, detail = reply.body.decode(errors="replace").partition(": ")
        if code in NO_ANSWER:
            return Outcome(Fate.RETRY, None, {code: entries}, Cause(code, detail or code, False))
        return Outcome(Fate.HOLD, None, {code: entries}, Cause(code, detail or code, True))
    error = error_of(reply.body)
    if error is None:
        error = Error(f"HTTP{reply.status}", reply.body[:200].decode(errors="replace"))
    code = error.type.rpartition("#")[2]
    remedy = format_remedy(request, reply.body, code)
    cause = service_cause(code, error.message or error.Message or "", reply.status, remedy)
    if code in REFUSED_CREDENTIALS:
        return Outcome(Fate.RENEW, None, {code: entries}, cause)
    if is_retryable(code, reply.status):
        return Outcome(Fate.RETRY, None, {code: entries}, cause if reply.status >= 500 else None)
    return Outcome(Fate.HOLD, None, {code: entries}, cause)


def format_remedy(request: str, body: bytes, code: str) -> str:
    """What to do where an answer shows that the endpoint does not read requests like that; mostly nothing."""
    if request == "json" or (cbor.is_cbor(body) and code not in NOT_UNDERSTOOD):
        return ""
    return FORMAT_REMEDY


def _settle_answer(entries: int, body: bytes, request: str, *, whole: bool) -> Outcome:
    if not whole and (shard_id := first_shard_of_all(body, entries)):
        return Outcome(Fate.DONE, [], {}, landed=[shard_id])
    answers = entries_of(body)
    if len(answers) != entries:
        remedy = format_remedy(request, body, "") or "is this Kinesis?"
        line = f"{len(answers)} answers to {entries} entries: {remedy}"
        return Outcome(Fate.RETRY, None, {"ReplyLength": entries}, Cause("ReplyLength", line, False))
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
