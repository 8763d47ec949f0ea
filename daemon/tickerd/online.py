"""What `tickerd check --online` finds out: whether the settings would work, now; of Kinesis all of it.

It asks what the daemon would ask, and writes nothing: PutRecords is tried with DryRun only. Each finding is
one line that names the setting, permission or resource, what is wrong, and what would be right.
"""

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError  # noqa: A004

from tickerd import cbor
from tickerd.cause import one_line
from tickerd.config import state_directory
from tickerd.destination import file_directory
from tickerd.files.online import check_directory
from tickerd.findings import Finding, fails, works
from tickerd.kinesis.cause import CODE_CHARACTERS_MAX
from tickerd.kinesis.client import KinesisClient, StreamError
from tickerd.kinesis.limits import SHARD_ENTRIES_PER_SECOND
from tickerd.kinesis.replies import UNKNOWN, error_of, is_answer
from tickerd.kinesis.session import open_session
from tickerd.kinesis.settle import FORMAT_REMEDY, format_remedy
from tickerd.settings import Kinesis, Settings

CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S = 5, 15
SERVER_ERROR = 500
READS_CBOR = "kinesis.request: the endpoint reads CBOR"
SAID_CHARACTERS_MAX = 200  # of an answer that is shown as it came
SKEW_TOLD_S = 1.0
SKEW_MAX_S = 300.0  # Signature Version 4: the service refuses a request that is further off
REFUSED_CREDENTIALS = {
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
}


async def check_online(settings: Settings) -> list[Finding]:
    """Look at everything of the destination that can be looked at."""
    match settings.destination.kind:
        case "kinesis":
            return await check_stream(settings)
        case "pubsub":
            from tickerd.pubsub.online import check_topic  # noqa: PLC0415 - an extra

            return await check_topic(settings.pubsub)
        case "file":
            return check_directory(file_directory(settings, state_directory(settings)))
        case kind:
            return [works(f'destination.kind = "{kind}": there is nothing to ask')]


async def check_stream(settings: Settings) -> list[Finding]:
    """Look at everything of a stream; what depends on something missing is left out."""
    kinesis = settings.kinesis
    try:
        session, region = await open_session(kinesis.region, kinesis.endpoint_url, kinesis.role_arn)
        found = [await _credentials(session, kinesis.role_arn), _region(region)]
        if not all(finding.works for finding in found):
            return found
        async with session.create_client(
            "kinesis",
            region_name=region,
            endpoint_url=kinesis.endpoint_url or None,
            config=AioConfig(
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=ANSWER_TIMEOUT_S,
                parameter_validation=False,  # of the question whether DryRun is known
                retries={"total_max_attempts": 3, "mode": "standard"},
            ),
        ) as client:
            return found + await Service(client, kinesis).findings(settings.rate.records_per_second)
    except (BotoCoreError, ValueError) as error:  # a profile or a region that does not exist, no URL
        return [
            fails(f"AWS configuration: {one_line(str(error))}; see kinesis.region and kinesis.endpoint_url")
        ]


async def _credentials(session: AioSession, role_arn: str) -> Finding:
    try:
        credentials = await session.get_credentials()
        if credentials is None:
            return fails(
                "credentials: none found; give the host a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID"
            )
        await credentials.get_frozen_credentials()
    except ClientError as error:
        code, message = _code(error), one_line(error.response["Error"].get("Message", ""))
        return fails(
            f"permission: {code} {message}; allow sts:AssumeRole on kinesis.role_arn = {role_arn}, and let "
            "the role trust these credentials"
        )
    except (ConnectionError, HTTPClientError) as error:
        return fails(
            f"credentials: they cannot be fetched ({one_line(str(error))}); see the network of the host"
        )
    return works(f"credentials: found ({credentials.method})")


def _region(region: str | None) -> Finding:
    if region is None:
        return fails("kinesis.region: none is known; set it, or AWS_DEFAULT_REGION")
    return works(f"region: {region}")


class Service:
    """The stream's service, asked one thing after the other."""

    def __init__(self, client: Any, kinesis: Kinesis) -> None:
        self._client = client  # aiobotocore has no types
        self._kinesis = kinesis
        self._clock = Clock()
        name = kinesis.stream
        self._named = {"StreamARN": name} if name.startswith("arn:") else {"StreamName": name}

    async def findings(self, records_per_second: float) -> list[Finding]:
        """What the service says; after a call that nobody answers nothing more is asked."""
        try:
            found = [
                *await self._stream(records_per_second),
                await self._shards(),
                await self._put(),
                *await self._request_format(),
            ]
        except (ConnectionError, HTTPClientError) as error:
            at = self._kinesis.endpoint_url or f"the endpoint of {self._client.meta.region_name}"
            see = "see kinesis.endpoint_url, kinesis.region and the network"
            return [fails(f"endpoint: {at} does not answer ({one_line(str(error))}); {see}")]
        return [*found, *self._clock.findings()]

    async def _ask(self, operation: str, **fields: object) -> dict[str, Any]:
        """One call to the stream; ClientError when it is refused."""
        began_s = time.time()
        try:
            answer: dict[str, Any] = await getattr(self._client, operation)(**fields, **self._named)
        except ClientError as error:
            self._clock.heard(error.response, began_s, time.time())
            raise
        self._clock.heard(answer, began_s, time.time())
        return answer

    async def _stream(self, records_per_second: float) -> list[Finding]:
        try:
            answer = await self._ask("describe_stream_summary")
        except ClientError as error:
            return [self._refused("DescribeStreamSummary", error)]
        return list(described(answer["StreamDescriptionSummary"], self._kinesis, records_per_second))

    async def _shards(self) -> Finding:
        try:
            await self._ask("list_shards", MaxResults=1, ShardFilter={"Type": "AT_LATEST"})
        except ClientError as error:
            return self._refused("ListShards", error)
        return works("permission: kinesis:ListShards is there")

    async def _put(self) -> Finding:
        host = urlsplit(self._client.meta.endpoint_url).hostname or ""
        try:
            if not host.endswith((".amazonaws.com", ".amazonaws.com.cn")) and not await self._knows_dry_run():
                return works("permission: kinesis:PutRecords was not tried, as this endpoint knows no DryRun")
            record = {"Data": b"{}", "PartitionKey": "tickerd-check"}
            await self._ask("put_records", DryRun=True, Records=[record])
        except ClientError as error:
            if _code(error) == "DryRunOperationException":
                return works("permission: kinesis:PutRecords is there (DryRun)")
            return self._refused("PutRecords", error)
        return works("permission: kinesis:PutRecords is there; the endpoint ignored DryRun and took a record")

    async def _knows_dry_run(self) -> bool:
        """Whether the endpoint looks at DryRun at all, asked by a call that can write nothing."""
        try:
            await self._ask("put_records", DryRun="a word", Records=[])
        except ClientError as error:
            if "AccessDenied" in _code(error):
                raise
            return _code(error) == "SerializationException"
        return False

    async def _request_format(self) -> list[Finding]:
        """Whether the endpoint reads requests in CBOR, asked by a call that can write nothing."""
        if self._kinesis.request == "json":
            return []
        client = KinesisClient(self._kinesis, 1)
        try:
            await client.open()
            reply = await client.put_records(cbor.encode({**self._named, "DryRun": True, "Records": []}))
        except StreamError as error:
            return [fails(f"kinesis.request: {error.cause.message}")]
        finally:
            await client.close()
        said = one_line(reply.body.decode(errors="replace"))[:SAID_CHARACTERS_MAX]
        if reply.status == 0:
            return [fails(f"kinesis.request: {said}")]
        if cbor.is_cbor(reply.body) and is_answer(reply.body):
            return [works(READS_CBOR)]
        refusal = error_of(reply.body)
        code = refusal.type.rpartition("#")[2] if refusal else UNKNOWN
        if code != UNKNOWN:
            said = one_line(code)[:CODE_CHARACTERS_MAX]
        if code != UNKNOWN and not format_remedy(self._kinesis.request, reply.body, code):
            return [works(READS_CBOR)]
        line = f"the endpoint does not answer as one that reads CBOR (HTTP {reply.status} {said})"
        again = "" if reply.status < SERVER_ERROR else "ask again, and "
        return [fails(f"kinesis.request: {line}; {again}{FORMAT_REMEDY}")]

    def _refused(self, operation: str, error: ClientError) -> Finding:
        """What a refusal means, with the IAM action or the setting that would be right."""
        code, message = _code(error), one_line(error.response["Error"].get("Message", ""))
        stream = self._kinesis.stream
        if code.startswith("KMS"):
            see = "allow kms:GenerateDataKey on the stream's key, and see that it is enabled"
            return fails(f"permission: {code} {message}; {see}")
        if "AccessDenied" in code:
            return fails(f"permission: kinesis:{operation} is missing on {stream}; allow it ({message})")
        if code in REFUSED_CREDENTIALS:
            return fails(f"credentials: {code} {message}; check them, their region and this host's clock")
        if code == "ResourceNotFoundException":
            see = "create it, or correct kinesis.stream or kinesis.region"
            return fails(f"kinesis.stream: there is no {stream} ({message}); {see}")
        return fails(f"{operation} of {stream}: {code} {message}")


def described(summary: dict[str, Any], kinesis: Kinesis, records_per_second: float) -> Iterator[Finding]:
    """What a StreamDescriptionSummary means for these settings."""
    name, shards, status = summary["StreamName"], summary["OpenShardCount"], summary["StreamStatus"]
    mode = summary.get("StreamModeDetails", {}).get("StreamMode", "PROVISIONED")
    record_kib_max = summary.get("MaxRecordSizeInKiB", 1024)
    if status not in {"ACTIVE", "UPDATING"}:
        yield fails(f"kinesis.stream: {name} is {status}; wait until it is ACTIVE, or name another")
    yield works(f"stream: {name} is {status}, {mode}, {shards} open shards, records to {record_kib_max} KiB")
    takes = shards * SHARD_ENTRIES_PER_SECOND
    if kinesis.aggregation == "none" and kinesis.shard_limits and records_per_second > takes:
        yield works(
            f"rate.records_per_second: {records_per_second:,.0f} is more than the {takes:,} that {shards} "
            "shards take; add shards, or lower it"
        )
    if summary.get("RecordDistributionStrategy") == "AUTO":
        yield from _auto(name, kinesis)
    if kinesis.aggregation != "none" and kinesis.aggregate_bytes_max > record_kib_max * 1024:
        yield fails(
            f"kinesis.aggregate_bytes_max: {kinesis.aggregate_bytes_max} is above the stream's "
            f"MaxRecordSizeInKiB; at most {record_kib_max * 1024} is right"
        )


def _auto(name: str, kinesis: Kinesis) -> Iterator[Finding]:
    auto = f"{name} has RecordDistributionStrategy AUTO, which ignores keys"
    use = "or switch the stream to USER_PARTITION_KEY"
    if kinesis.aggregation == "kpl":
        yield fails(f'kinesis.aggregation: {auto}: "kpl" would lose records; use "none" or "lines", {use}')
    if kinesis.order == "key":
        yield fails(f'kinesis.order: {auto}: "key" cannot be kept; use "relaxed", {use}')
    if kinesis.aggregation == "none":
        yield works(f"stream: {auto}: an instrument does not stay on one shard")


class Clock:
    """How far this host's clock is from the service's, as narrowly as the Date headers tell."""

    def __init__(self) -> None:
        self._ahead_min_s, self._ahead_max_s = float("-inf"), float("inf")

    def heard(self, answer: dict[str, Any], began_s: float, ended_s: float) -> None:
        """Take in an answer to a call that was made between these moments (UTC, seconds since 1970)."""
        date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        if date is None:
            return
        try:
            said_s = parsedate_to_datetime(date).timestamp()  # cut to a whole second
        except ValueError:
            return
        self._ahead_min_s = max(self._ahead_min_s, began_s - said_s - 1)
        self._ahead_max_s = min(self._ahead_max_s, ended_s - said_s)

    def findings(self) -> Iterator[Finding]:
        """One line, or none where no answer had a date."""
        if self._ahead_max_s == float("inf"):
            return
        ahead_s = max(self._ahead_min_s, min(0.0, self._ahead_max_s))
        line = f"clock: {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the service's"
        if abs(ahead_s) > SKEW_MAX_S:
            yield fails(f"{line}, which refuses more than {SKEW_MAX_S:.0f}; set it right (chrony, ntp)")
        elif abs(ahead_s) > SKEW_TOLD_S:
            yield works(f"{line}: records carry this host's time; see to chrony or ntp")
        else:
            yield works("clock: agrees with the service's")


def _code(error: ClientError) -> str:
    return one_line(error.response["Error"].get("Code", "Unknown"))
