"""Credentials, region, the stream's description and the signed call, against servers that others wrote."""

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiobotocore.session import get_session

import emulators
from tickerd.kinesis.client import KinesisClient, StreamError, StreamInfo
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
    assert (info.name, len(info.shard_map)) == ("described", 7)
    assert info.arn.endswith(":stream/described")
    assert info.address == b'{"StreamARN":"' + info.arn.encode() + b'"'
    assert info.entry_bytes_max == 1024 * 1024


def test_a_stream_may_be_named_by_its_arn(moto: str) -> None:
    asyncio.run(make_stream(moto, "by-arn", 2))
    arn = asyncio.run(described(settings(moto, stream="by-arn"))).arn
    assert asyncio.run(described(settings(moto, stream=arn))).name == "by-arn"


def test_where_no_arn_is_known_the_stream_is_named() -> None:
    with emulators.kinesalite() as url:
        asyncio.run(make_stream(url, "named", 3))
        info = asyncio.run(described(settings(url, stream="named")))
    assert info.address == b'{"StreamName":"named"'
    assert len(info.shard_map) == 3


def test_a_signed_call_is_understood_by_others(moto: str) -> None:
    async def story() -> list[dict[str, Any]]:
        await make_stream(moto, "signed", 1)
        client = KinesisClient(settings(moto, stream="signed"), 2)
        await client.open()
        try:
            info = await client.describe()
            entry = {"Data": base64.b64encode(b"hello").decode(), "PartitionKey": "k"}
            reply = await client.put_records(
                info.address + b',"Records":' + json.dumps([entry]).encode() + b"}"
            )
            assert reply.status == 200
            assert json.loads(reply.body)["FailedRecordCount"] == 0
            shard = info.shard_map.shards[0].shard_id
            where = {"StreamName": "signed", "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
            iterator = (await client._client.get_shard_iterator(**where))["ShardIterator"]
            records: list[dict[str, Any]] = (await client._client.get_records(ShardIterator=iterator))[
                "Records"
            ]
            return records
        finally:
            await client.close()

    assert [record["Data"] for record in asyncio.run(story())] == [b"hello"]


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
    assert failed.value.cause == (
        "ResourceNotFoundException",
        failed.value.cause.message,
        True,
    )
