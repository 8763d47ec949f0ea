"""Requests to Kinesis: control calls by aiobotocore's generated client, PutRecords around it.

The generated client spends most of its time on what is the same for every PutRecords call, so that one is
signed by `sign.py` and sent by `http.py`; credentials, endpoint rules and regions stay the library's work.
No retry of PutRecords is made here: that is delivery's.
"""

import ssl
import time
from typing import Any, NamedTuple

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.utils import get_environ_proxies

from tickerd.cause import Cause
from tickerd.kinesis.cause import cause_of, no_proxy, unreachable
from tickerd.kinesis.formats import FORMATS
from tickerd.kinesis.http import Connections, Endpoint, Times
from tickerd.kinesis.limits import ENTRY_BYTES_MAX_DEFAULT
from tickerd.kinesis.proxied import Proxied, ProxyConnectionError
from tickerd.kinesis.session import open_session
from tickerd.kinesis.shards import Shard, ShardMap
from tickerd.kinesis.sign import Signer, UnusableCredentialsError
from tickerd.settings import Kinesis

CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 30
HASHED = "USER_PARTITION_KEY"  # the distribution of a stream that says nothing of it
NAME_BY_ARN_REFUSED = {"ValidationException", "InvalidArgumentException", "SerializationException"}


class StreamError(Exception):
    """A control call failed; `cause` says why."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.message)
        self.cause = cause


class Shards(NamedTuple):
    """What ListShards says of the stream."""

    shard_map: ShardMap  # the open ones
    by_id: dict[str, Shard]  # closed ones too, as long as the stream has records of theirs


class StreamInfo(NamedTuple):
    """What DescribeStreamSummary and ListShards say of the stream."""

    name: str
    arn: str
    distribution: str  # RecordDistributionStrategy: "AUTO", or by the hash of the partition key
    entry_bytes_max: int
    named: dict[str, str]  # the field by which requests name the stream
    shards: Shards


class Reply(NamedTuple):
    """An answer to PutRecords; status 0 and `code: line for people` as the body when there was none."""

    status: int
    body: bytes


class KinesisClient:
    """One stream, as this process talks to it. `open` before use, `close` after."""

    def __init__(self, settings: Kinesis, connections: int) -> None:
        self._settings = settings
        self._connections = connections
        self._client: Any = None  # the generated client; aiobotocore has no types
        self._http: Connections | Proxied | None = None

    async def open(self) -> None:
        """Find credentials, region and endpoint; StreamError when one of them is missing.

        Again: find them anew. What there was serves until then, and calls on their way are not disturbed.
        """
        settings = self._settings
        try:
            session, region = await open_session(settings.region, settings.endpoint_url, settings.role_arn)
            if await session.get_credentials() is None:
                raise NoCredentialsError
            config = AioConfig(
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=ANSWER_TIMEOUT_S,
                retries={"total_max_attempts": 2, "mode": "standard"},
            )
            endpoint_url = settings.endpoint_url or None
            client = await session.create_client(
                "kinesis", region_name=region, endpoint_url=endpoint_url, config=config
            ).__aenter__()
            before, self._client = self._client, client
            if before is not None:
                await before.__aexit__(None, None, None)
            self._session = session
            url = client.meta.endpoint_url
            endpoint = Endpoint.of(url)
            headers = FORMATS[settings.request].headers
            self._signer = Signer("kinesis", str(region), endpoint.authority, endpoint.path, headers)
            if self._http is None or self._http.endpoint != endpoint:
                connections, self._http = self._http, self._connections_to(url, endpoint, session)
                if connections is not None:  # the region of a profile was changed
                    await connections.close()
        except (BotoCoreError, OSError, ValueError) as error:
            raise StreamError(cause_of(error)) from error

    def _connections_to(self, url: str, endpoint: Endpoint, session: AioSession) -> Connections | Proxied:
        """The connections of the hot call; they outlive credentials. ValueError for unusable certificates."""
        certificates = session.get_config_variable("ca_bundle")
        try:
            secure = ssl.create_default_context(cafile=certificates) if endpoint.secure else None
        except OSError as error:
            raise ValueError(f"AWS_CA_BUNDLE: {certificates} cannot be used ({error.strerror})") from error
        proxy = get_environ_proxies(url).get("https" if endpoint.secure else "http")
        times = Times(CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S)
        if proxy:
            return Proxied(endpoint, proxy, self._connections, secure, times)
        return Connections(endpoint, self._connections, secure, times)

    async def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            await self._client.__aexit__(None, None, None)
            self._client = None
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def describe(self) -> StreamInfo:
        """The stream and its open shards; StreamError when it cannot be had."""
        try:
            name = self._settings.stream
            named = {"StreamARN": name} if name.startswith("arn:") else {"StreamName": name}
            answer = await self._client.describe_stream_summary(**named)
            summary = answer["StreamDescriptionSummary"]
            named = {"StreamARN": summary["StreamARN"]}
            try:
                shards = await self._list_shards(named)
            except ClientError as error:
                # Some emulators know no StreamARN; the name does wherever the stream is the account's own.
                if error.response["Error"]["Code"] not in NAME_BY_ARN_REFUSED:
                    raise
                named = {"StreamName": summary["StreamName"]}
                shards = await self._list_shards(named)
            return StreamInfo(
                summary["StreamName"],
                summary["StreamARN"],
                summary.get("RecordDistributionStrategy", HASHED),
                summary.get("MaxRecordSizeInKiB", ENTRY_BYTES_MAX_DEFAULT // 1024) * 1024,
                named,
                shards,
            )
        except (BotoCoreError, ClientError, ValueError) as error:
            raise StreamError(cause_of(error)) from error

    async def list_shards(self, info: StreamInfo) -> Shards:
        """The shards of a stream that was described; StreamError when they cannot be had."""
        try:
            return await self._list_shards(info.named)
        except (BotoCoreError, ClientError, ValueError) as error:
            raise StreamError(cause_of(error)) from error

    async def _list_shards(self, named: dict[str, str]) -> Shards:
        """All shards, all pages of them."""
        by_id: dict[str, Shard] = {}
        closed: set[str] = set()
        request: dict[str, Any] = named
        while True:
            answer = await self._client.list_shards(**request)
            for shard in answer["Shards"]:
                hash_keys = shard["HashKeyRange"]
                first, last = int(hash_keys["StartingHashKey"]), int(hash_keys["EndingHashKey"])
                by_id[shard["ShardId"]] = Shard(shard["ShardId"], first, last)
                if "EndingSequenceNumber" in shard["SequenceNumberRange"]:
                    closed.add(shard["ShardId"])
            if not answer.get("NextToken"):
                return Shards(ShardMap(each for each in by_id.values() if each.shard_id not in closed), by_id)
            request = {"NextToken": answer["NextToken"]}

    async def put_records(self, body: bytes) -> Reply:
        """Send one PutRecords body and return the answer, whatever it is."""
        if self._http is None:
            return Reply(0, b"NotConnected")
        try:
            credentials = await (await self._session.get_credentials()).get_frozen_credentials()
            headers = self._signer.headers(credentials, body, time.time())
            return Reply(*await self._http.post(headers, body))
        except ProxyConnectionError as error:
            line = f"ProxyConnectionError: {no_proxy(str(error))}"
        except TimeoutError as error:
            line = f"Timeout: {unreachable(str(error) or 'no answer in time')}"
        except OSError as error:
            line = f"ConnectionError: {unreachable(str(error))}"
        except UnusableCredentialsError as error:
            line = f"UnusableCredentials: {error}"
        except (BotoCoreError, ClientError) as error:
            cause = cause_of(error)
            line = f"{cause.code}: {cause.message}"
        return Reply(0, line.encode())
