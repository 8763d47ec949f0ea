"""`tickerd local` as an HTTP server, over a bare socket: bodies, connections and the protocol's errors."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable

import pytest

import emulators

LIST = b'{"StreamName":"market-log"}'


class Peer:
    """A connection that writes bytes and reads answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def answer(self) -> tuple[int, bytes]:
        """Return the status and body of the next answer; a status of 100 has no body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split()[1])
        if status == 100:
            return status, b""
        length = int(head.partition(b"content-length:")[2].split()[0])
        return status, await self.reader.readexactly(length)


def head(operation: str = "ListShards", **headers: str) -> bytes:
    lines = {"Host": "127.0.0.1", "Content-Type": "application/x-amz-json-1.1"}
    lines["X-Amz-Target"] = f"Kinesis_20131202.{operation}"
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    return "".join(["POST / HTTP/1.1\r\n", *(f"{n}: {v}\r\n" for n, v in lines.items()), "\r\n"]).encode()


def whole(body: bytes, operation: str = "ListShards", **headers: str) -> bytes:
    return head(operation, Content_Length=str(len(body)), **headers) + body


def talk(scene: Callable[[Peer], Awaitable[None]]) -> None:
    """Run a scene against the endpoint over one connection."""

    async def run() -> None:
        async with emulators.local_here() as (_, client):
            port = int(client.meta.endpoint_url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await asyncio.wait_for(scene(Peer(reader, writer)), 30)
            finally:
                writer.close()
                await writer.wait_closed()

    asyncio.run(run())


def test_one_connection_carries_many_calls() -> None:
    async def scene(peer: Peer) -> None:
        for _ in range(5):
            await peer.send(whole(LIST))
            assert (await peer.answer())[0] == 200

    talk(scene)


def test_pipelined_calls_are_answered_in_order() -> None:
    async def scene(peer: Peer) -> None:
        wanted = [1, 3, 2, 4] * 5
        calls = [whole(b'{"StreamName":"market-log","MaxResults":%d}' % count) for count in wanted]
        await peer.send(b"".join(calls))
        for count in wanted:
            _, body = await peer.answer()
            assert len(json.loads(body)["Shards"]) == count

    talk(scene)


def test_a_chunked_body_is_taken() -> None:
    async def scene(peer: Peer) -> None:
        await peer.send(head(Transfer_Encoding="chunked"), b"5\r\n" + LIST[:5] + b"\r\n")
        await peer.send(b"%x\r\n" % len(LIST[5:]) + LIST[5:] + b"\r\n", b"0\r\n\r\n")
        status, body = await peer.answer()
        assert (status, len(json.loads(body)["Shards"])) == (200, 4)

    talk(scene)


def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    async def scene(peer: Peer) -> None:
        await peer.send(head(Content_Length=str(len(LIST)), Expect="100-continue"))
        assert await peer.answer() == (100, b"")
        await peer.send(LIST)
        assert (await peer.answer())[0] == 200

    talk(scene)


def test_a_slow_client_is_waited_for() -> None:
    async def scene(peer: Peer) -> None:
        await peer.send(*(bytes([byte]) for byte in whole(LIST)))
        assert (await peer.answer())[0] == 200

    talk(scene)


def test_a_body_beyond_all_bounds_is_refused_without_being_held() -> None:
    async def scene(peer: Peer) -> None:
        await peer.send(head("PutRecords", Transfer_Encoding="chunked"))
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        reading = asyncio.ensure_future(peer.answer())
        sent = 0
        while not reading.done() and sent < 64:
            try:
                await peer.send(chunk)
            except ConnectionError:
                break
            sent += 1
        assert (await reading)[0] == 413
        assert 24 <= sent < 64

    talk(scene)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (whole(b"", "PutRecords"), "SerializationException"),
        (whole(b"{", "PutRecords"), "SerializationException"),
        (whole(b"\xff{}", "PutRecords"), "SerializationException"),
        (whole(b"[]", "PutRecords"), "SerializationException"),
        (whole(b'{"StreamName":5,"Records":[]}', "PutRecords"), "SerializationException"),
        (whole(b'{"StreamName":"s","Records":{}}', "PutRecords"), "SerializationException"),
        (whole(b'{"Records":[{"Data":"a","PartitionKey":"k"}]}', "PutRecords"), "SerializationException"),
        (whole(b'{"StreamName":"s","Records":null}', "PutRecords"), "ValidationException"),
        (whole(b"{}", "PutRecords"), "ValidationException"),
        (whole(LIST, "SubscribeToShard"), "UnknownOperationException"),
        (whole(LIST, X_Amz_Target="DynamoDB_20120810.ListShards"), "UnknownOperationException"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "UnknownOperationException"),
    ],
)
def test_what_is_no_call_of_the_protocol_is_refused_and_the_connection_lives(
    request_: bytes, code: str
) -> None:
    async def scene(peer: Peer) -> None:
        await peer.send(request_)
        status, body = await peer.answer()
        assert (status, json.loads(body)["__type"]) == (400, code)
        assert json.loads(body)["message"]
        await peer.send(whole(LIST))
        assert (await peer.answer())[0] == 200

    talk(scene)


def test_the_reply_has_the_services_shape_byte_for_byte() -> None:
    async def scene(peer: Peer) -> None:
        data = base64.b64encode(b"x").decode()
        records = [{"Data": data, "PartitionKey": "a"}, {"Data": data, "PartitionKey": "a"}]
        call = json.dumps({"StreamName": "market-log", "Records": records}).encode()
        await peer.send(whole(call, "PutRecords"))
        _, body = await peer.answer()
        assert body.startswith(b'{"FailedRecordCount":0,"Records":[{"ShardId":"shardId-000000000000",')
        reply = json.loads(body)
        assert set(reply) == {"FailedRecordCount", "Records"}
        assert all(set(record) == {"ShardId", "SequenceNumber"} for record in reply["Records"])
        assert all(len(record["SequenceNumber"]) == 56 for record in reply["Records"])

    talk(scene)
