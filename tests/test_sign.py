"""Signatures, held to botocore's signer for the same request at the same time."""

import time
from datetime import UTC, datetime
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import example, given
from hypothesis import strategies as st

from tickerd.kinesis.http import Endpoint
from tickerd.kinesis.sign import Signer, UnusableCredentialsError

HEADERS = {"X-Amz-Target": "Kinesis_20131202.PutRecords", "Content-Type": "application/x-amz-json-1.1"}
NOON_S = 1_795_521_600

KEYS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=20)
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
TOKENS = st.none() | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=400)
REGIONS = st.sampled_from(["us-east-1", "eu-west-1", "cn-north-1", "us-gov-west-1"])
HOSTS = st.sampled_from(
    ["kinesis.us-east-1.amazonaws.com", "LocalHost", "127.0.0.1", "[::1]", "my_host", "a-b.c"]
)
PORTS = st.sampled_from(["", ":80", ":443", ":4567", ":1", ":65535"])
PATHS = st.lists(
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#%[]\\"), max_size=6)
    | st.sampled_from(["", ".", "..", "%20", "a%2Fb", "~x", "a b", "ключ"]),
    max_size=4,
).map(lambda parts: "".join(f"/{part}" for part in parts))


def by_botocore(
    url: str, region: str, credentials: ReadOnlyCredentials, body: bytes, now_s: float
) -> dict[str, str]:
    request = AWSRequest("POST", url, data=body, headers=dict(HEADERS))
    now = datetime.fromtimestamp(int(now_s), UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=now):
        SigV4Auth(credentials, "kinesis", region).add_auth(request)
    return dict(request.headers.items())


def signer_of(url: str, region: str) -> tuple[Signer, str]:
    """A signer, and the URL as it goes on the wire."""
    endpoint = Endpoint.of(url)
    scheme = "https" if endpoint.secure else "http"
    signer = Signer("kinesis", region, endpoint.authority, endpoint.path, HEADERS)
    return signer, f"{scheme}://{endpoint.authority}{endpoint.path}"


@given(
    scheme=st.sampled_from(["http", "https"]),
    host=HOSTS,
    port=PORTS,
    path=PATHS,
    region=REGIONS,
    credentials=st.builds(ReadOnlyCredentials, KEYS, SECRETS, TOKENS),
    body=st.binary(max_size=200),
    now_s=st.floats(0, 4_000_000_000),
)
@example("https", "localhost", "", "", "eu-west-1", ReadOnlyCredentials("A", "b", " a  b "), b"", NOON_S)
def test_any_request_is_signed_as_botocore_signs_it(
    scheme: str,
    host: str,
    port: str,
    path: str,
    region: str,
    credentials: ReadOnlyCredentials,
    body: bytes,
    now_s: float,
) -> None:
    signer, url = signer_of(f"{scheme}://{host}{port}{path}", region)
    headers = signer.headers(credentials, body, now_s)
    assert headers.pop("Host") == Endpoint.of(url).authority
    assert headers == by_botocore(url, region, credentials, body, now_s)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([ReadOnlyCredentials("A", "b", None), ReadOnlyCredentials("A", "b", "c")])
            | st.builds(ReadOnlyCredentials, KEYS, SECRETS, TOKENS),
            st.sampled_from([NOON_S, NOON_S + 0.5, NOON_S + 1, NOON_S - 86_400, NOON_S + 86_400]),
            st.binary(max_size=8),
        ),
        max_size=8,
    )
)
def test_what_is_kept_of_a_call_never_spoils_the_next(
    calls: list[tuple[ReadOnlyCredentials, float, bytes]],
) -> None:
    signer, url = signer_of("https://kinesis.us-east-1.amazonaws.com", "us-east-1")
    for credentials, now_s, body in calls:
        headers = signer.headers(credentials, body, now_s)
        del headers["Host"]
        assert headers == by_botocore(url, "us-east-1", credentials, body, now_s)


def test_a_body_of_ten_megabytes_is_signed_whole() -> None:
    signer, url = signer_of("http://127.0.0.1:4567", "us-east-1")
    credentials = ReadOnlyCredentials("A", "b", None)
    body = bytes(range(256)) * 40_960
    now_s = time.time()
    headers = signer.headers(credentials, body, now_s)
    assert (
        headers["Authorization"] == by_botocore(url, "us-east-1", credentials, body, now_s)["Authorization"]
    )


@pytest.mark.parametrize("control", ["\r\nX-Evil: 1", "\n", "\0", "\x7f"])
def test_credentials_that_would_add_a_header_are_refused(control: str) -> None:
    signer, _ = signer_of("http://127.0.0.1:4567", "us-east-1")
    for credentials in (
        ReadOnlyCredentials("A" + control, "b", None),
        ReadOnlyCredentials("A", "b", "token" + control),
    ):
        with pytest.raises(UnusableCredentialsError, match="control character"):
            signer.headers(credentials, b"", NOON_S)
