"""`tickerd local` in CBOR, asked as AWS's Java libraries ask: times, the shape of replies, and nonsense.

That all operations answer as in JSON is shown by test_local_against_emulators.py.
"""

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import cbor2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import emulators
from tickerd import cbor
from tickerd.local import Faults, LocalEndpoint, LocalOptions
from tickerd.local.errors import ServiceError
from tickerd.local.requests import PutRecords
from tickerd.local.wire import CBOR

FREE = LocalOptions(shard_limits=False, shards=1)
NAME = {"StreamName": "market-log"}
SHARD = {"ShardId": "shardId-000000000000"}
NOW_MS = 1_795_000_000_123
TYPE = "application/x-amz-cbor-1.1"
ENTRY = {"Data": b"x", "PartitionKey": "k"}
GOOD = {**NAME, "Records": [ENTRY]}

# As version 2.33.0 of AWS's SDK for Java wrote them, to be held against what it reads; the time is NOW_MS.
PUT_BY_JAVA = bytes.fromhex(
    "bf675265636f7264739fbf644461746143ff00226c506172746974696f6e4b657968d0bad0bbd18ed187ffbf6444617461"
    "406f4578706c69636974486173684b657961376c506172746974696f6e4b6579616bffff6a53747265616d4e616d656a6d"
    "61726b65742d6c6f67ff"
)
ITERATOR_BY_JAVA = bytes.fromhex(
    "bf6a53747265616d4e616d656a6d61726b65742d6c6f67675368617264496474736861726449642d303030303030303030"
    "3030307153686172644974657261746f72547970656c41545f54494d455354414d506954696d657374616d70c11b000001"
    "a1ee565e7bff"
)

Ask = Callable[[str, object], Awaitable[Any]]


def talk(scene: Callable[[Ask, LocalEndpoint], Awaitable[None]], options: LocalOptions = FREE) -> None:
    """Run a scene, which asks with values, or with bytes as they are; it gets status, body and value."""

    async def run() -> None:
        async with (
            emulators.local_here(options, lambda: NOW_MS) as (endpoint, client),
            aiohttp.ClientSession() as session,
        ):

            async def ask(operation: str, request: object) -> tuple[int, bytes, Any]:
                body = request if isinstance(request, bytes) else cbor2.dumps(request)
                headers = {"Content-Type": TYPE, "X-Amz-Target": f"Kinesis_20131202.{operation}"}
                async with session.post(client.meta.endpoint_url, data=body, headers=headers) as answer:
                    assert answer.content_type == TYPE
                    read = await answer.read()
                    kept = {1: lambda value, _: cbor2.CBORTag(1, value)}
                    return answer.status, read, cbor2.loads(read, semantic_decoders=kept) if read else None

            await scene(ask, endpoint)

    asyncio.run(run())


def test_the_reply_of_put_records_is_what_others_would_write() -> None:
    async def scene(ask: Ask, endpoint: LocalEndpoint) -> None:
        for entries in (1, 23, 24, 256, 500):
            status, body, reply = await ask("PutRecords", {**NAME, "Records": [ENTRY] * entries})
            assert (status, body) == (200, cbor2.dumps(reply))
            assert list(reply) == ["FailedRecordCount", "Records"]
            assert reply["FailedRecordCount"] == 0
            assert len(reply["Records"]) == entries
            assert {frozenset(record) for record in reply["Records"]} == {
                frozenset({"ShardId", "SequenceNumber"})
            }
            assert len({record["SequenceNumber"] for record in reply["Records"]}) == entries
        endpoint.faults = Faults(throttled=1.0)
        _, body, reply = await ask("PutRecords", {**NAME, "Records": [ENTRY] * 30})
        assert body == cbor2.dumps(reply)
        assert reply["FailedRecordCount"] == 30
        assert {frozenset(record) for record in reply["Records"]} == {
            frozenset({"ErrorCode", "ErrorMessage"})
        }

    talk(scene)


def test_bytes_and_keys_come_back_as_they_were_put() -> None:
    data = [bytes(size) for size in (0, 1, 23, 24, 255, 256, 65535, 65536)] + [b"\xf3\x89\x9a\xc2\xff", b'"']

    async def scene(ask: Ask, _: LocalEndpoint) -> None:
        records = [{"PartitionKey": f"ключ-{number}", "Data": each} for number, each in enumerate(data)]
        assert (await ask("PutRecords", {**NAME, "Records": records}))[0] == 200
        single = {**NAME, "Data": b"single", "PartitionKey": "k", "ExplicitHashKey": "0"}
        assert (await ask("PutRecord", single))[0] == 200
        _, _, at = await ask("GetShardIterator", {**NAME, **SHARD, "ShardIteratorType": "TRIM_HORIZON"})
        _, _, read = await ask("GetRecords", at)
        assert [record["Data"] for record in read["Records"]] == [*data, b"single"]
        keys = [record["PartitionKey"] for record in read["Records"]]
        assert keys == [*(record["PartitionKey"] for record in records), "k"]

    talk(scene)


def test_what_the_java_sdk_writes_is_read() -> None:
    async def scene(ask: Ask, _: LocalEndpoint) -> None:
        status, _, reply = await ask("PutRecords", PUT_BY_JAVA)
        assert (status, reply["FailedRecordCount"]) == (200, 0)
        _, _, iterator = await ask("GetShardIterator", ITERATOR_BY_JAVA)
        _, _, read = await ask("GetRecords", iterator)
        found = [(record["Data"], record["PartitionKey"]) for record in read["Records"]]
        assert found == [(b'\xff\x00"', "ключ"), (b"", "k")]

    talk(scene)


def test_times_have_milliseconds_under_their_tag() -> None:
    async def scene(ask: Ask, _: LocalEndpoint) -> None:
        await ask("PutRecords", GOOD)
        at = {**NAME, **SHARD, "ShardIteratorType": "AT_TIMESTAMP"}
        for time, found in (
            (cbor2.CBORTag(1, NOW_MS), 1),  # as the Java SDK writes it
            (cbor2.CBORTag(1, NOW_MS / 1000), 1),  # as RFC 8949 has it
            (NOW_MS / 1000, 1),
            (cbor2.CBORTag(1, NOW_MS - 1), 1),
        ):
            status, _, iterator = await ask("GetShardIterator", {**at, "Timestamp": time})
            assert status == 200, iterator
            _, _, read = await ask("GetRecords", iterator)
            assert len(read["Records"]) == found
            assert read["Records"][0]["ApproximateArrivalTimestamp"] == cbor2.CBORTag(1, NOW_MS)
        _, _, refused = await ask("GetShardIterator", {**at, "Timestamp": cbor2.CBORTag(1, NOW_MS + 1)})
        assert "later than the present" in refused["message"]
        _, _, summary = await ask("DescribeStreamSummary", NAME)
        created = summary["StreamDescriptionSummary"]["StreamCreationTimestamp"]
        assert created == cbor2.CBORTag(1, NOW_MS)

    talk(scene)


@pytest.mark.parametrize("time", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_time_that_is_none_is_refused(time: float) -> None:
    async def scene(ask: Ask, _: LocalEndpoint) -> None:
        at = {**NAME, **SHARD, "ShardIteratorType": "AT_TIMESTAMP"}
        for value in (time, cbor2.CBORTag(1, time)):
            status, _, refused = await ask("GetShardIterator", {**at, "Timestamp": value})
            assert (status, refused["__type"]) == (400, "ValidationException")

    talk(scene)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "SerializationException"),
        (b"\xff", "SerializationException"),
        (b"{}", "SerializationException"),
        (b'{"StreamName":"market-log"}', "SerializationException"),
        (b"\xa1", "SerializationException"),
        (b"\xa0\xa0", "SerializationException"),
        (b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", "SerializationException"),
        (b"\x81" * 1_000_000, "SerializationException"),
        (cbor2.dumps([]), "SerializationException"),
        (cbor2.dumps({"StreamName": 5, "Records": []}), "SerializationException"),
        (cbor2.dumps({"StreamName": b"s", "Records": []}), "SerializationException"),
        (cbor2.dumps({"StreamName": "s", "Records": {}}), "SerializationException"),
        (cbor2.dumps({"StreamName": "s", "Records": [{"Data": "eA==", "PartitionKey": "k"}]}),
         "SerializationException"),
        (cbor2.dumps({"StreamName": cbor2.undefined, "Records": []}), "SerializationException"),
        (cbor2.dumps({"StreamName": cbor2.CBORTag(37, b"x" * 16), "Records": []}), "SerializationException"),
        (cbor2.dumps({"StreamName": "s", "Records": None}), "ValidationException"),
        (cbor2.dumps({"StreamName": "s", "Records": []}), "ValidationException"),
        (cbor2.dumps({}), "ValidationException"),
        (cbor2.dumps({**GOOD, "StreamName": "nowhere"}), "ResourceNotFoundException"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_in_cbor_and_the_connection_lives(body: bytes, code: str) -> None:
    async def scene(ask: Ask, _: LocalEndpoint) -> None:
        status, _, refused = await ask("PutRecords", body)
        assert (status, refused["__type"]) == (400, code)
        assert refused["message"]
        assert (await ask("PutRecords", GOOD))[0] == 200

    talk(scene)


def refusal(body: bytes) -> str:
    """The code by which a request is refused; empty when it is taken."""
    try:
        CBOR.request(body, PutRecords)
    except ServiceError as error:
        code: str = cbor2.loads(CBOR.error(error))["__type"]
        return code
    return ""


@pytest.mark.parametrize("item", [b"\x80", b"\xa0", b"\x01", b"\x40", b"\x9f\xff", b"\x83\x80\x80\x80"])
def test_a_large_body_of_small_items_is_refused_before_they_are_made(item: bytes) -> None:
    many = 8 * 2**20 // len(item)
    body = cbor.head(cbor.MAP, 1) + cbor.text("Records") + cbor.head(cbor.ARRAY, many) + many * item
    tracemalloc.start()
    assert refusal(body) == "SerializationException"
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**20


def test_a_large_call_is_no_body_of_small_items() -> None:
    entries = [{"Data": bytes(20_000), "PartitionKey": f"key {number}"} for number in range(500)]
    body = cbor2.dumps({**NAME, "Records": entries}, indefinite_containers=True)
    assert len(CBOR.request(body, PutRecords).records) == 500


@settings(max_examples=300)
@given(st.binary(max_size=300), st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=4))
def test_any_bytes_are_a_request_or_a_refusal(body: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(cbor2.dumps(GOOD))
    for at, byte in changes:
        damaged[at % len(damaged)] = byte
    codes = {refusal(each) for each in (body, b"\xbf" + body, bytes(damaged))}
    assert codes <= {"", "SerializationException", "ValidationException"}


def test_an_error_of_the_service_is_in_the_format_of_the_request() -> None:
    async def scene(ask: Ask, endpoint: LocalEndpoint) -> None:
        endpoint.faults = msgspec.structs.replace(endpoint.faults, error=1.0)
        status, _, refused = await ask("PutRecords", GOOD)
        assert (status >= 500, set(refused)) == (True, {"__type", "message"})
        assert (await ask("SubscribeToShard", NAME))[2]["__type"] == "UnknownOperationException"
        assert (await ask("DeleteStream", NAME))[:2] == (200, b"")

    talk(scene)
