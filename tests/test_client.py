"""Credentials, region, the stream's description and the signed call, against servers that others wrote."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiobotocore.session import get_session
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import emulators
from tickerd.kinesis.client import KinesisClient, Reply, StreamError, StreamInfo
from tickerd.kinesis.settle import Fate, settle
from tickerd.observe.counters import error_label
from tickerd.settings import Kinesis


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with emulators.moto_server() as url:
        yield url


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials, region or endpoints but those that a test gives."""
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def settings(url: str = "", **more: Any) -> Kinesis:
    return msgspec.structs.replace(Kinesis(), endpoint_url=url, **more)


async def make_stream(url: str, name: str, shards: int) -> None:
    options = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    async with get_session().create_client("kinesis", endpoint_url=url, **options) as client:
        await client.create_stream(StreamName=name, ShardCount=shards)
        await client.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})


async def described(of: Kinesis) -> StreamInfo:
    client = KinesisClient(of, 2)
    try:
        await client.open()
        return await client.describe()
    finally:
        await client.close()


async def access_key(of: Kinesis) -> str:
    client = KinesisClient(of, 2)
    try:
        await client.open()
        credentials = await (await client._session.get_credentials()).get_frozen_credentials()
        return str(credentials.access_key)
    finally:
        await client.close()


def test_a_stream_is_described_with_all_its_open_shards(moto: str) -> None:
    asyncio.run(make_stream(moto, "described", 7))
    info = asyncio.run(described(settings(moto, stream="described")))
    assert (info.name, len(info.shards.shard_map)) == ("described", 7)
    assert info.arn.endswith(":stream/described")
    assert info.named == {"StreamARN": info.arn}
    assert info.entry_bytes_max == 1024 * 1024


def test_a_stream_may_be_named_by_its_arn(moto: str) -> None:
    asyncio.run(make_stream(moto, "by-arn", 2))
    arn = asyncio.run(described(settings(moto, stream="by-arn"))).arn
    assert asyncio.run(described(settings(moto, stream=arn))).name == "by-arn"


def test_where_no_arn_is_known_the_stream_is_named() -> None:
    with emulators.kinesalite() as url:
        asyncio.run(make_stream(url, "named", 3))
        info = asyncio.run(described(settings(url, stream="named")))
    assert info.named == {"StreamName": "named"}
    assert len(info.shards.shard_map) == 3


def test_a_signed_call_is_understood_by_others(moto: str) -> None:
    async def story() -> list[dict[str, Any]]:
        await make_stream(moto, "signed", 1)
        client = KinesisClient(settings(moto, stream="signed"), 2)
        await client.open()
        try:
            info = await client.describe()
            entry = {"Data": base64.b64encode(b"hello").decode(), "PartitionKey": "k"}
            reply = await client.put_records(json.dumps({**info.named, "Records": [entry]}).encode())
            assert reply.status == 200
            assert json.loads(reply.body)["FailedRecordCount"] == 0
            shard = info.shards.shard_map.shards[0].shard_id
            where = {"StreamName": "signed", "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
            iterator = (await client._client.get_shard_iterator(**where))["ShardIterator"]
            records: list[dict[str, Any]] = (await client._client.get_records(ShardIterator=iterator))[
                "Records"
            ]
            return records
        finally:
            await client.close()

    assert [record["Data"] for record in asyncio.run(story())] == [b"hello"]


Handler = Callable[[web.BaseRequest, bytes], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    """A server on this machine that answers as the test says."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await handler(request, await request.read())

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def replies(handler: Handler, calls: int = 1, body: bytes = b"{}") -> list[Reply]:
    """What the client makes of the answers to so many calls, one after another."""
    async with server(handler) as url:
        client = KinesisClient(settings(url, region="eu-west-1"), 2)
        await client.open()
        try:
            return [await client.put_records(body) for _ in range(calls)]
        finally:
            await client.close()


@pytest.mark.parametrize("token", ["", "a+session/token=="])
def test_the_signature_fits_what_arrives(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """Signed once more by botocore from the request as the server saw it, without what the client knew."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    if token:
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    checked = []

    async def verify(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        fields = dict(re.findall(r"(\w+)=([^,\s]+)", request.headers["Authorization"]))
        signed = fields["SignedHeaders"].split(";")
        again = AWSRequest(request.method, str(request.url), data=body)
        for name in signed:
            again.headers[name] = request.headers[name]
        again.context["timestamp"] = request.headers["X-Amz-Date"]
        signer = SigV4Auth(Credentials("AKIAENVIRONMENT", "secret"), "kinesis", "eu-west-1")
        to_sign = signer.string_to_sign(again, signer.canonical_request(again))
        assert fields["Signature"] == signer.signature(to_sign, again)
        assert fields["Credential"].startswith("AKIAENVIRONMENT/")
        assert {"host", "x-amz-date", "x-amz-target", "content-type"} <= set(signed)
        assert ("x-amz-security-token" in signed) == bool(token)
        checked.append(body)
        return web.Response(body=b"verified")

    body = '{"Records":[{"Data":"eA==","PartitionKey":"ключ"}]}'.encode()
    assert asyncio.run(replies(verify, 2, body)) == [Reply(200, b"verified")] * 2
    assert checked == [body] * 2


def test_a_slow_answer_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickerd.kinesis.client.ANSWER_TIMEOUT_S", 0.3)

    async def slow(request: web.BaseRequest, _body: bytes) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"{")
        await asyncio.sleep(5)
        return answer

    (reply,) = asyncio.run(replies(slow))
    assert reply.status == 0
    assert reply.body.startswith(b"Timeout: the endpoint does not answer")


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", b"What?\r\n\r\n"]
)
def test_a_connection_that_breaks_is_one_line(sent: bytes) -> None:
    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        writer.close()
        await writer.wait_closed()

    async def story() -> Reply:
        listener = await asyncio.start_server(breaks, "127.0.0.1", 0)
        client = KinesisClient(settings(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"), 2)
        try:
            await client.open()
            return await client.put_records(b"{}")
        finally:
            await client.close()
            listener.close()
            await listener.wait_closed()

    reply = asyncio.run(story())
    assert reply.status == 0
    assert reply.body.startswith(b"ConnectionError: the endpoint does not answer (")
    assert b"\n" not in reply.body


def test_chunked_answers_and_closed_connections_are_whole_answers() -> None:
    async def chunked(request: web.BaseRequest, _body: bytes) -> web.StreamResponse:
        answer = web.StreamResponse()
        answer.enable_chunked_encoding()
        answer.force_close()
        await answer.prepare(request)
        for piece in (b"one ", b"two ", b"three"):
            await answer.write(piece)
        return answer

    assert asyncio.run(replies(chunked, 3)) == [Reply(200, b"one two three")] * 3


def test_shards_come_in_pages_and_closed_ones_are_left_out() -> None:
    """The service's pages, with an emulator's habit of ignoring the filter."""
    arn = "arn:aws:kinesis:eu-west-1:000000000000:stream/s"
    middle = 2**127
    asked: list[dict[str, Any]] = []

    def shard(number: int, start: int, end: int, **closed: str) -> dict[str, Any]:
        return {
            "ShardId": f"shardId-{number:012}",
            "HashKeyRange": {"StartingHashKey": str(start), "EndingHashKey": str(end)},
            "SequenceNumberRange": {"StartingSequenceNumber": "1"} | closed,
        }

    pages = {
        None: ([shard(0, 0, 2**128 - 1, EndingSequenceNumber="2")], "second"),
        "second": ([shard(2, middle, 2**128 - 1)], "third"),
        "third": ([shard(1, 0, middle - 1)], None),
    }

    async def answer(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        fields = json.loads(body)
        if request.headers["X-Amz-Target"].endswith("DescribeStreamSummary"):
            summary = {"StreamName": "s", "StreamARN": arn, "MaxRecordSizeInKiB": 2048, "OpenShardCount": 2}
            return web.json_response({"StreamDescriptionSummary": summary})
        asked.append(fields)
        shards, token = pages[fields.get("NextToken")]
        return web.json_response({"Shards": shards} | ({"NextToken": token} if token else {}))

    async def story() -> StreamInfo:
        async with server(answer) as url:
            return await described(settings(url, stream="s"))

    info = asyncio.run(story())
    assert [each.shard_id[-1] for each in info.shards.shard_map.shards] == ["1", "2"]
    assert {shard_id[-1]: shard.hash_key_start for shard_id, shard in info.shards.by_id.items()} == {
        "0": 0,
        "1": 0,
        "2": middle,
    }
    assert info.entry_bytes_max == 2048 * 1024
    assert asked == [{"StreamARN": arn}, {"NextToken": "second"}, {"NextToken": "third"}]


def test_the_shards_alone_are_asked_for_as_the_stream_was_named(moto: str) -> None:
    async def story() -> None:
        await make_stream(moto, "looked-at", 3)
        client = KinesisClient(settings(moto, stream="looked-at"), 2)
        try:
            await client.open()
            info = await client.describe()
            shard = info.shards.shard_map.shards[0]
            middle = str((shard.hash_key_start + shard.hash_key_end) // 2)
            split = {"ShardToSplit": shard.shard_id, "NewStartingHashKey": middle}
            await client._client.split_shard(StreamName="looked-at", **split)
            shards = await client.list_shards(info)
            assert len(shards.shard_map) == 4
            assert shard not in shards.shard_map.shards
            assert shards.by_id[shard.shard_id] == shard
            await client._client.delete_stream(StreamName="looked-at")
            with pytest.raises(StreamError) as failed:
                await client.list_shards(info)
            assert failed.value.cause.code == "ResourceNotFoundException"
        finally:
            await client.close()

    asyncio.run(story())


def test_a_proxy_that_does_not_answer_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")

    async def story() -> tuple[StreamError, Reply]:
        client = KinesisClient(settings(region="eu-west-1"), 2)
        try:
            await client.open()
            with pytest.raises(StreamError) as failed:
                await client.describe()
            return failed.value, await client.put_records(b"{}")
        finally:
            await client.close()

    error, reply = asyncio.run(story())
    assert error.cause.code == "ProxyConnectionError"
    assert "see HTTPS_PROXY" in error.cause.message
    assert not error.cause.permanent
    assert error_label(error.cause.code) == error.cause.code
    assert reply.body.startswith(b"ProxyConnectionError: the proxy does not answer (")
    assert settle(1, reply).fate is Fate.RETRY


def test_a_call_goes_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str, bytes]] = []

    async def proxy(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        seen.append((request.raw_path, request.headers["Host"], body))
        return web.Response(body=b"by proxy")

    async def story() -> Reply:
        async with server(proxy) as url:
            monkeypatch.setenv("HTTP_PROXY", url)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "A")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
            client = KinesisClient(settings("http://kinesis.test:4567", region="eu-west-1"), 2)
            try:
                await client.open()
                return await client.put_records(b"x")
            finally:
                await client.close()

    assert asyncio.run(story()) == Reply(200, b"by proxy")
    assert seen == [("http://kinesis.test:4567/", "kinesis.test:4567", b"x")]


def test_opening_again_disturbs_no_call_on_its_way() -> None:
    arrived = asyncio.Event()

    async def slow(_request: web.BaseRequest, _body: bytes) -> web.StreamResponse:
        arrived.set()
        await asyncio.sleep(0.5)
        return web.Response(body=b"whole")

    async def story() -> list[Reply]:
        async with server(slow) as url:
            client = KinesisClient(settings(url), 4)
            await client.open()
            try:
                before = asyncio.create_task(client.put_records(b"{}"))
                await arrived.wait()
                opening = asyncio.create_task(client.open())
                meanwhile = asyncio.create_task(client.put_records(b"{}"))
                await opening
                return [await before, await meanwhile]
            finally:
                await client.close()

    assert asyncio.run(story()) == [Reply(200, b"whole")] * 2


@pytest.mark.parametrize("setting", ["AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_PROFILE", "AWS_ACCESS_KEY_ID"])
def test_a_wrong_configuration_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (tmp_path / "broken").write_text("[default\nregion")
    match setting:
        case "AWS_PROFILE":
            monkeypatch.setenv(setting, "nobody")
        case "AWS_ACCESS_KEY_ID":
            monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        case "AWS_CONFIG_FILE":
            monkeypatch.setenv(setting, str(tmp_path / "broken"))
        case _:
            monkeypatch.setenv(setting, str(tmp_path / "nowhere"))
    with pytest.raises(StreamError) as failed:
        asyncio.run(described(settings("https://127.0.0.1:9", region="eu-west-1")))
    message = failed.value.cause.message
    assert "\n" not in message
    assert setting in message or str(tmp_path) in message or "nobody" in message or "env" in message


def test_a_role_that_may_not_be_assumed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    error = "<Error><Code>AccessDenied</Code><Message>not authorized: sts:AssumeRole</Message></Error>"

    async def deny(_request: web.BaseRequest, _body: bytes) -> web.StreamResponse:
        return web.Response(status=403, text=f"<ErrorResponse>{error}</ErrorResponse>")

    async def story() -> Reply:
        async with server(deny) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
            role = "arn:aws:iam::123456789012:role/tickerd"
            client = KinesisClient(settings(url, region="eu-west-1", role_arn=role), 2)
            await client.open()
            try:
                with pytest.raises(StreamError, match=r"kinesis\.role_arn") as failed:
                    await client.describe()
                assert failed.value.cause.permanent
                return await client.put_records(b"{}")
            finally:
                await client.close()

    reply = asyncio.run(story())
    assert reply.status == 0
    assert b"kinesis.role_arn" in reply.body
    assert settle(3, reply).fate is Fate.HOLD


def test_credentials_come_from_the_environment(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert asyncio.run(access_key(settings(moto))) == "AKIAENVIRONMENT"


def test_credentials_come_from_a_profile(moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    profile = "[here]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = secret\n"
    (tmp_path / "credentials").write_text(profile)
    monkeypatch.setenv("AWS_PROFILE", "here")
    assert asyncio.run(access_key(settings(moto))) == "AKIAPROFILE"


def test_a_role_is_assumed_from_them(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto)
    role = "arn:aws:iam::123456789012:role/tickerd"
    assert asyncio.run(access_key(settings(moto, role_arn=role, region="us-east-1"))).startswith("ASIA")


def test_an_endpoint_on_this_machine_needs_none(moto: str) -> None:
    assert asyncio.run(access_key(settings(moto))) == "local"


@pytest.mark.parametrize(
    ("of", "code", "remedy"),
    [
        (settings(region="eu-west-1"), "NoCredentials", "give the host a role"),
        (settings("http://127.0.0.1:9", stream="s"), "ConnectionError", "see kinesis.endpoint_url"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(of: Kinesis, code: str, remedy: str) -> None:
    with pytest.raises(StreamError) as failed:
        asyncio.run(described(of))
    assert failed.value.cause.code == code
    assert remedy in failed.value.cause.message


def test_a_missing_region_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(StreamError, match=r"set kinesis\.region") as failed:
        asyncio.run(described(settings()))
    assert failed.value.cause.permanent


def test_a_missing_stream_is_named(moto: str) -> None:
    with pytest.raises(StreamError, match="create the stream") as failed:
        asyncio.run(described(settings(moto, stream="nowhere")))
    cause = failed.value.cause
    assert (cause.code, cause.permanent) == ("ResourceNotFoundException", True)
