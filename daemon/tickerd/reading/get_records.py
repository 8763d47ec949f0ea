"""GetRecords around the generated client: signed by botocore, sent over an own session, decoded by msgspec.

The generated client takes some 16 us an entry, this call 1.4 (connection and HTTP included). Errors are
botocore's, so that who reads need not know which client asked. No retry is made here.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiobotocore.session import AioSession
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError
from botocore.utils import get_environ_proxies

CONNECT_TIMEOUT_S = 5
SILENCE_MAX_S = 60  # between two pieces of an answer


class Entry(msgspec.Struct, rename="pascal", gc=False):
    """An entry as GetRecords has it; the arrival in seconds since 1970, with milliseconds."""

    sequence_number: str
    data: bytes
    approximate_arrival_timestamp: float = 0.0

    @property
    def arrival_ms(self) -> int:
        """Milliseconds since 1970."""
        return round(self.approximate_arrival_timestamp * 1000)


class Reply(msgspec.Struct, rename="pascal"):
    """The answer of GetRecords; without a next iterator the shard is closed and has been read."""

    records: list[Entry] = msgspec.field(default_factory=list)
    next_shard_iterator: str | None = None
    millis_behind_latest: int | None = None


class _Refusal(msgspec.Struct):
    code: str = msgspec.field(name="__type", default="")
    message: str = ""
    Message: str = ""  # some say it so


_reply = msgspec.json.Decoder(Reply)
_refusal = msgspec.json.Decoder(_Refusal)


class RecordsCall:
    """GetRecords of one endpoint, through an open session."""

    def __init__(self, session: AioSession, region: str, url: str, http: aiohttp.ClientSession) -> None:
        self._session = session
        self._region = region
        self._url = url.rstrip("/") + "/"
        self._http = http
        self._proxy = get_environ_proxies(self._url).get(urlsplit(self._url).scheme)

    async def __call__(self, **asked: object) -> Reply:
        """Ask once; ClientError for a refusal, another BotoCoreError where there is no answer."""
        body = msgspec.json.encode(asked)
        headers = await self._signed(body)
        try:
            async with self._http.post(self._url, data=body, headers=headers, proxy=self._proxy) as answer:
                status, content = answer.status, await answer.read()
                named = answer.headers.get("x-amzn-errortype", "")
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=self._url, error=error) from error
        except aiohttp.ClientConnectorError as error:
            raise EndpointConnectionError(endpoint_url=self._url, error=error) from error
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            raise HTTPClientError(error=error) from error
        if status != HTTPStatus.OK:
            raise _error(status, content, named)
        try:
            return _reply.decode(content)
        except ValueError as error:  # not JSON, or not of this shape
            raise ResponseParserError(f"the answer to GetRecords cannot be read: {error}") from error

    async def _signed(self, body: bytes) -> dict[str, str]:
        credentials = await self._session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        headers = {
            "X-Amz-Target": "Kinesis_20131202.GetRecords",
            "Content-Type": "application/x-amz-json-1.1",
        }
        request = AWSRequest("POST", self._url, data=body, headers=headers)
        frozen = await credentials.get_frozen_credentials()
        SigV4Auth(frozen, "kinesis", self._region).add_auth(request)
        return dict(request.headers.items())


def _error(status: int, content: bytes, named: str) -> ClientError:
    try:
        refusal = _refusal.decode(content)
    except ValueError:  # a proxy's page, or nothing
        refusal = _Refusal(message=content[:200].decode(errors="replace"))
    code = (refusal.code or named or f"HTTP {status}").rpartition("#")[2].partition(":")[0]
    told = {"Code": code, "Message": refusal.message or refusal.Message}
    return ClientError({"Error": told, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetRecords")


@asynccontextmanager
async def records_call(
    session: AioSession, region: str, url: str, connections: int
) -> AsyncIterator[RecordsCall]:
    """The call, with so many connections kept; HTTPClientError where AWS_CA_BUNDLE cannot be used."""
    certificates = session.get_config_variable("ca_bundle")
    try:
        context = ssl.create_default_context(cafile=certificates) if url.startswith("https:") else False
    except OSError as error:
        raise HTTPClientError(error=f"AWS_CA_BUNDLE {certificates}: {error.strerror}") from error
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, ssl=context),
        timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_MAX_S),
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
    ) as http:
        yield RecordsCall(session, region, url, http)
