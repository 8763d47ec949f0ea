"""The fate of every entry, read off the answer: nothing counts that the service did not acknowledge."""

import contextlib
import json
from collections.abc import Callable

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickerd.kinesis.client import Reply
from tickerd.kinesis.settle import Fate, settle

GOOD = {"SequenceNumber": "49590338271490256608559692538361571095921575989136588898", "ShardId": "shardId-0"}
THROTTLED = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"}
BROKEN = {"ErrorCode": "InternalFailure", "ErrorMessage": "Internal Service Failure"}


Write = Callable[[object], bytes]


def in_json(value: object) -> bytes:
    return json.dumps(value).encode()


def in_short_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def in_open_cbor(value: object) -> bytes:
    """With lengths left open, as AWS's Java libraries write."""
    return cbor2.dumps(value, indefinite_containers=True)


WRITERS: tuple[Write, ...] = (in_json, in_short_json, cbor2.dumps, in_open_cbor)
written = pytest.mark.parametrize("write", WRITERS)


def answer(entries: list[dict[str, str]], write: Write = in_json, **more: object) -> Reply:
    failed = sum("ErrorCode" in entry for entry in entries)
    return Reply(200, write({"FailedRecordCount": failed, "Records": entries, **more}))


def error(status: int, code: str, message: str = "because", write: Write = in_json) -> Reply:
    return Reply(status, write({"__type": code, "message": message}))


@written
def test_an_answer_without_failures_acknowledges_all(write: Write) -> None:
    for reply in (answer([GOOD] * 3, write), answer([GOOD] * 3, write, EncryptionType="KMS")):
        outcome = settle(3, reply)
        assert outcome[:4] == (Fate.DONE, [], {}, None)
        assert list(outcome.throttled) == []
        assert outcome.landed[0] == "shardId-0"
        assert settle(3, reply, whole=True).landed == ["shardId-0"] * 3


@written
def test_a_message_that_looks_like_an_acknowledgement_is_none(write: Write) -> None:
    message = "xnSequenceNumberx qFailedRecordCount\0"
    refused = {"ErrorCode": "InternalFailure", "ErrorMessage": message}
    outcome = settle(2, answer([GOOD, refused], write))
    assert (outcome.unacknowledged, outcome.errors) == ([1], {"InternalFailure": 1})


@written
def test_an_emulators_null_error_codes_are_no_errors(write: Write) -> None:
    entries = [GOOD | {"ErrorCode": None, "ErrorMessage": None}] * 2
    reply = Reply(200, write({"FailedRecordCount": 0, "Records": entries}))
    assert settle(2, reply).fate is Fate.DONE


@written
def test_an_emulators_null_numbers_are_no_acknowledgements(write: Write) -> None:
    lost = {"SequenceNumber": None, "ShardId": None, "ErrorCode": "InternalFailure", "ErrorMessage": "x"}
    outcome = settle(2, Reply(200, write({"FailedRecordCount": 0, "Records": [GOOD, lost]})))
    assert (outcome.unacknowledged, outcome.errors) == ([1], {"InternalFailure": 1})


@written
@given(st.lists(st.sampled_from([GOOD, THROTTLED, BROKEN]), min_size=1, max_size=500))
def test_exactly_the_failed_entries_are_sent_again(write: Write, entries: list[dict[str, str]]) -> None:
    outcome = settle(len(entries), answer(entries, write))
    failed = [number for number, entry in enumerate(entries) if entry is not GOOD]
    assert outcome.unacknowledged == failed
    assert outcome.fate is (Fate.RETRY if failed else Fate.DONE)
    assert sum(outcome.errors.values()) == len(failed)
    assert outcome.cause is None
    assert list(outcome.throttled) == [n for n, entry in enumerate(entries) if entry is THROTTLED]
    if failed:
        assert outcome.landed == ["shardId-0" if entry is GOOD else "" for entry in entries]


@written
@given(st.lists(st.integers(0, 9), min_size=1, max_size=500))
def test_where_all_entries_have_landed_is_read_where_it_matters(write: Write, shards: list[int]) -> None:
    ids = [f"shardId-{shard:012}" for shard in shards]
    reply = answer([GOOD | {"ShardId": each} for each in ids], write)
    assert settle(len(ids), reply, whole=True).landed == ids
    # A scan is enough where keys and numbers stand as the service writes them, and tells the first alone.
    assert settle(len(ids), reply).landed == (ids if write is in_json else ids[:1])


@written
@pytest.mark.parametrize("shard", ["shardId-" + "0" * 40, "s", "x" * 23, "x" * 24, "a.b_c", "gShardId"])
def test_a_shards_id_may_have_any_length(write: Write, shard: str) -> None:
    assert settle(2, answer([GOOD | {"ShardId": shard}] * 2, write)).landed[0] == shard


@written
def test_an_answer_that_tells_no_shard_is_an_answer(write: Write) -> None:
    entries = [{"SequenceNumber": "1"}, GOOD]
    outcome = settle(2, answer(entries, write), whole=True)
    assert (outcome.unacknowledged, outcome.landed) == ([], ["", "shardId-0"])
    number = {"SequenceNumber": GOOD["SequenceNumber"]}
    assert settle(2, answer([number] * 2, write)).unacknowledged == []


@written
@pytest.mark.parametrize("answers", [0, 2, 4])
def test_an_answer_of_the_wrong_length_fails_the_whole_call(write: Write, answers: int) -> None:
    outcome = settle(3, answer([GOOD] * answers, write))
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
        b"\xa0",
        cbor2.dumps({"Records": None}),
        cbor2.dumps({"Records": {}}),
        cbor2.dumps({"Records": [None] * 3}),
        cbor2.dumps({"Records": [{"SequenceNumber": 5}] * 3}),
        cbor2.dumps({"Records": [{"SequenceNumber": b"5"}] * 3}),
        cbor2.dumps({"FailedRecordCount": 0, "Records": [GOOD] * 3})[:-100],
        cbor2.dumps({b"Records": [GOOD] * 3}),
        cbor2.dumps(cbor2.CBORTag(55799, {"Records": [GOOD] * 3})),
        b"\xa1gRecords" + b"\x81" * 100_000,
        b"\xa1gRecords\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_an_answer_that_is_none_fails_the_whole_call(body: bytes) -> None:
    assert settle(3, Reply(200, body)).unacknowledged is None


@written
def test_a_count_of_0_failures_is_not_believed_against_the_entries(write: Write) -> None:
    lying = Reply(200, write({"FailedRecordCount": 0, "Records": [GOOD, THROTTLED]}))
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
    for start in (b"", b"\xa1", b"\xbf", b"\xa2gRecords"):
        for request in ("json", "cbor"):
            outcome = settle(entries, Reply(status, start + body), request)
            assert outcome.unacknowledged is None or status == 200
            assert outcome.fate is not Fate.DONE


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4), st.integers(0, 2000))
def test_a_damaged_answer_is_none_or_acknowledges_no_more_than_was_sent(
    changes: list[tuple[int, int]], cut: int
) -> None:
    body = bytearray(cbor2.dumps({"FailedRecordCount": 1, "Records": [GOOD] * 9 + [THROTTLED]}))
    for at, byte in changes:
        body[at % len(body)] = byte
    for damaged in (bytes(body), bytes(body[:cut])):
        acknowledged: set[int] = set()
        with contextlib.suppress(cbor2.CBORDecodeError, ValueError, TypeError, KeyError, AttributeError):
            records = cbor2.loads(damaged)["Records"]
            acknowledged = {n for n, each in enumerate(records) if each.get("SequenceNumber")}
        for whole in (True, False):
            outcome = settle(10, Reply(200, damaged), "cbor", whole=whole)
            if outcome.unacknowledged is not None:
                assert set(range(10)) - set(outcome.unacknowledged) <= acknowledged


@pytest.mark.parametrize("code", ["ExpiredTokenException", "AccessDeniedException", "InternalFailure", "Who"])
@pytest.mark.parametrize("status", [400, 500])
def test_a_refusal_means_the_same_in_either_format(code: str, status: int) -> None:
    told = {
        settle(2, error(status, code, write=write))[:3] == settle(2, error(status, code))[:3]
        for write in WRITERS
    }
    assert told == {True}
    causes = {settle(2, error(status, code, write=write), "cbor").cause for write in WRITERS[2:]}
    assert causes == {settle(2, error(status, code)).cause}


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        (error(400, "SerializationException"), True),
        (error(400, "SerializationException", write=cbor2.dumps), True),
        (error(404, "UnknownOperationException", write=cbor2.dumps), True),
        (Reply(400, b"<html>"), True),
        (Reply(500, b"<html>"), True),
        (Reply(415, b""), True),
        (Reply(200, b"{}"), True),
        (error(400, "AccessDeniedException"), False),  # which has a remedy of its own
        (error(400, "ValidationException", write=cbor2.dumps), False),
        (error(500, "InternalFailure", write=cbor2.dumps), False),
        (Reply(200, cbor2.dumps({})), False),
        (Reply(0, b"ConnectionError: reset"), False),
    ],
)
def test_the_setting_is_named_where_an_endpoint_does_not_read_cbor(reply: Reply, named: bool) -> None:
    cause = settle(2, reply, "cbor").cause
    assert cause is not None
    assert ('kinesis.request = "json"' in cause.message) == named
    asked_in_json = settle(2, reply).cause
    assert asked_in_json is not None
    assert "kinesis.request" not in asked_in_json.message


def test_an_answer_in_json_to_cbor_is_taken_for_what_it_says() -> None:
    assert settle(2, answer([GOOD] * 2), "cbor").fate is Fate.DONE
    assert settle(2, answer([GOOD, THROTTLED]), "cbor").unacknowledged == [1]
