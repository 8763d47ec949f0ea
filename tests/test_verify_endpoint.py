"""Where `verify` looks for a stream, and what it says where it cannot even ask."""

import asyncio

import pytest

from tickerd.kinesis.session import is_loopback
from tickerd.reading import ReadingError
from tickerd.reading.verify import VerifyOptions, verify


def test_an_unreachable_endpoint_is_named_with_what_to_check() -> None:
    options = VerifyOptions("s", endpoint_url="http://127.0.0.1:9", region="eu-west-1")
    with pytest.raises(
        ReadingError, match=r"^endpoint http://127\.0\.0\.1:9: no answer .*; check the address"
    ):
        asyncio.run(verify(options))


@pytest.mark.parametrize(
    "endpoint_url", ["nonsense", "http://[x", "http://127.0.0.1:port", "http://127.0.0.1:0"]
)
def test_an_endpoint_that_is_no_url_is_named(endpoint_url: str) -> None:
    with pytest.raises(ReadingError, match=r"^endpoint [^\n]*; give http"):
        asyncio.run(verify(VerifyOptions("s", endpoint_url=endpoint_url, region="eu-west-1")))


def test_a_region_that_is_no_name_is_told_as_such() -> None:
    with pytest.raises(ReadingError, match=r"region_name 'eu west' doesn't match"):
        asyncio.run(verify(VerifyOptions("s", endpoint_url="http://127.0.0.1:9", region="eu west")))


def test_without_a_region_the_line_says_how_to_set_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(ReadingError, match=r"^region: none is set; give --region"):
        asyncio.run(verify(VerifyOptions("s")))


def test_without_credentials_the_line_says_how_to_set_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ReadingError, match=r"^credentials: none found"):
        asyncio.run(verify(VerifyOptions("s", region="eu-west-1")))


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:4567", True),
        ("http://127.8.0.1", True),
        ("http://[::1]:4567", True),
        ("http://localhost:4567", True),
        ("http://192.0.2.1", False),
        ("https://kinesis.eu-west-1.amazonaws.com", False),
        ("http://localhost.example.com", False),
        ("", False),
    ],
)
def test_only_this_machines_own_addresses_are_loopback(url: str, local: bool) -> None:
    assert is_loopback(url) is local
