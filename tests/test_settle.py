"""The fate of every entry, read off the answer: nothing counts that the service did not acknowledge."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickerd.kinesis.client import Reply
from tickerd.kinesis.settle import Fate, settle

GOOD = {"SequenceNumber": "49590338271490256608559692538361571095921575989136588898", "ShardId": "shardId-0"}
THROTTLED = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"}
BROKEN = {"ErrorCode": "InternalFailure", "ErrorMessage": "Internal Service Failure"}


def answer(entries: list[dict[str, str]], **more: object) -> Reply:
    failed = sum("ErrorCode" in entry for entry in entries)
    return Reply(200, json.dumps({"FailedRecordCount": failed, "Records": entries, **more}).encode())


def error(status: int, code: str, message: str = "because") -> Reply:
    return Reply(status, json.dumps({"__type": code, "message": message}).encode())


def test_an_answer_without_failures_acknowledges_all() -> None:
    compact = json.dumps({"FailedRecordCount": 0, "Records": [GOOD] * 3}, separators=(",", ":")).encode()
    for reply in (answer([GOOD] * 3), Reply(200, compact), answer([GOOD] * 3, EncryptionType="KMS")):
        outcome = settle(3, reply)
        assert outcome[:4] == (Fate.DONE, [], {}, None)
        assert list(outcome.throttled) == []
        assert outcome.landed[0] == "shardId-0"
        assert settle(3, reply, whole=True).landed == ["shardId-0"] * 3


def test_an_emulators_null_error_codes_are_no_errors() -> None:
    entries = [GOOD | {"ErrorCode": None, "ErrorMessage": None}] * 2
    reply = Reply(200, json.dumps({"FailedRecordCount": 0, "Records": entries}).encode())
    assert settle(2, reply).fate is Fate.DONE


@given(st.lists(st.sampled_from([GOOD, THROTTLED, BROKEN]), min_size=1, max_size=500))
def test_exactly_the_failed_entries_are_sent_again(entries: list[dict[str, str]]) -> None:
    outcome = settle(len(entries), answer(entries))
    failed = [number for number, entry in enumerate(entries) if entry is not GOOD]
    assert outcome.unacknowledged == failed
    assert outcome.fate is (Fate.RETRY if failed else Fate.DONE)
    assert sum(outcome.errors.values()) == len(failed)
    assert outcome.cause is None
    assert list(outcome.throttled) == [n for n, entry in enumerate(entries) if entry is THROTTLED]
    if failed:
        assert outcome.landed == ["shardId-0" if entry is GOOD else "" for entry in entries]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=500))
def test_where_all_entries_have_landed_is_read_where_it_matters(shards: list[int]) -> None:
    ids = [f"shardId-{shard:012}" for shard in shards]
    reply = answer([GOOD | {"ShardId": each} for each in ids])
    assert settle(len(ids), reply, whole=True).landed == ids
    compact = Reply(200, reply.body.replace(b" ", b""))
    assert settle(len(ids), compact).landed == ids[:1]


def test_an_answer_that_tells_no_shard_is_an_answer() -> None:
    entries = [{"SequenceNumber": "1"}, GOOD]
    outcome = settle(2, answer(entries), whole=True)
    assert (outcome.unacknowledged, outcome.landed) == ([], ["", "shardId-0"])


@pytest.mark.parametrize("answers", [0, 2, 4])
def test_an_answer_of_the_wrong_length_fails_the_whole_call(answers: int) -> None:
    outcome = settle(3, answer([GOOD] * answers))
    assert (outcome.fate, outcome.unacknowledged) == (Fate.RETRY, None)
    assert outcome.errors == {"ReplyLength": 3}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"<html>",
        b'{"Records":null}',
        b'{"FailedRecordCount":0}',
        b"\xff",
        b'{"Records":[{"ErrorCode":"\xff"}]}',
    ],
)
def test_an_answer_that_is_none_fails_the_whole_call(body: bytes) -> None:
    assert settle(3, Reply(200, body)).unacknowledged is None


def test_a_count_of_0_failures_is_not_believed_against_the_entries() -> None:
    lying = Reply(200, json.dumps({"FailedRecordCount": 0, "Records": [GOOD, THROTTLED]}).encode())
    assert settle(2, lying).unacknowledged == [1]


def test_an_entry_with_neither_number_nor_error_is_not_acknowledged() -> None:
    assert settle(2, Reply(200, b'{"FailedRecordCount":0,"Records":[{},{}]}')).unacknowledged == [0, 1]


@pytest.mark.parametrize(
    ("reply", "fate", "permanent"),
    [
        (error(400, "ProvisionedThroughputExceededException"), Fate.RETRY, None),
        (error(400, "LimitExceededException"), Fate.RETRY, None),
        (error(400, "KMSThrottlingException"), Fate.RETRY, None),
        (error(500, "InternalFailure"), Fate.RETRY, False),
        (error(503, "ServiceUnavailable"), Fate.RETRY, False),
        (Reply(502, b"<html>\r\n<body>bad gateway</body>\r\n</html>"), Fate.RETRY, False),
        (error(500, "Long" * 10_000, "long\n" * 100_000), Fate.RETRY, False),
        (Reply(0, b"ConnectionError: reset"), Fate.RETRY, False),
        (Reply(0, b"Timeout"), Fate.RETRY, False),
        (Reply(0, b"ProxyConnectionError: refused"), Fate.RETRY, False),
        (error(400, "ExpiredTokenException"), Fate.RENEW, True),
        (error(400, "com.amazon.coral.service#ExpiredTokenException"), Fate.RENEW, True),
        (error(400, "AccessDeniedException"), Fate.HOLD, True),
        (error(400, "ResourceNotFoundException"), Fate.HOLD, True),
        (error(400, "ValidationException"), Fate.HOLD, True),
        (error(400, "KMSDisabledException"), Fate.HOLD, True),
        (error(403, "InvalidSignatureException"), Fate.RENEW, True),
        (error(400, "UnrecognizedClientException"), Fate.RENEW, True),
        (error(418, "NeverHeardOf"), Fate.HOLD, True),
        (Reply(404, b"not json"), Fate.HOLD, True),
        (Reply(400, b'{"__type":"LimitExceededException","message":null}'), Fate.RETRY, None),
        (Reply(400, b'{"__type":"LimitExceededException","Message":null}'), Fate.RETRY, None),
        (Reply(403, b'{"__type":"\xff"}'), Fate.HOLD, True),
        (Reply(0, b"NoCredentials: none found"), Fate.HOLD, True),
    ],
)
def test_whole_calls_are_told_apart(reply: Reply, fate: Fate, permanent: bool | None) -> None:
    outcome = settle(2, reply)
    assert (outcome.fate, outcome.unacknowledged) == (fate, None)
    assert (outcome.cause.permanent if outcome.cause else None) is permanent
    if outcome.cause:
        assert "\n" not in outcome.cause.message
        assert len(outcome.cause.code) + len(outcome.cause.message) < 2000  # it has to fit a report


@given(st.integers(100, 599), st.binary(max_size=200), st.integers(1, 500))
def test_no_answer_is_ever_taken_for_more_than_it_says(status: int, body: bytes, entries: int) -> None:
    outcome = settle(entries, Reply(status, body))
    assert outcome.unacknowledged is None or status == 200
    assert outcome.fate is not Fate.DONE
