"""The Kinesis client of the control calls and of reading: region, endpoint, credentials, errors as one line.

Credentials come from the library's own chain. A loopback endpoint without any gets a fixed pair, so that
`tickerd local` needs none. The call that carries the records to a stream is not made here.
"""

import ipaddress
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, ClientCreatorContext, get_session
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
)
from botocore.exceptions import (
    ConnectionError as NoConnectionError,
)

from tickerd.reading import ReadingError

LOOPBACK_KEY = "local"  # both halves of the pair that a loopback endpoint gets when there is no other
LOOPBACK_REGION = "us-east-1"
CONNECTIONS_MAX = 16
REFUSED_CREDENTIALS = {
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
}


def is_loopback(endpoint_url: str) -> bool:
    """Whether an endpoint is on this machine; no name but `localhost` is looked up."""
    host = urlsplit(endpoint_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@asynccontextmanager
async def kinesis_client(region: str, endpoint_url: str) -> AsyncIterator[Any]:
    """An aiobotocore Kinesis client; an empty `region` or `endpoint_url` is left to the library's chain.

    Raises ReadingError where no client can be made of these settings.
    """
    with errors_as_one_line(region=region, endpoint_url=endpoint_url):
        try:
            making = await _making(region, endpoint_url)
            client = await making.__aenter__()
        except ValueError as error:  # the word for an endpoint that is not a URL
            if isinstance(error, BotoCoreError):  # a region's name, for one
                raise
            raise ReadingError(
                f"endpoint {endpoint_url!r}: {_line(error)}; give http(s)://host:port"
            ) from None
    try:
        yield client
    finally:
        await making.__aexit__(None, None, None)


async def _making(region: str, endpoint_url: str) -> ClientCreatorContext:
    if urlsplit(endpoint_url).port == 0:  # asking for the port is what checks it
        raise ValueError("port 0 cannot be called")
    session = get_session()
    keys: dict[str, str] = {}
    if is_loopback(endpoint_url):
        region = region or session.get_config_variable("region") or LOOPBACK_REGION
        keys = await _loopback_keys(session)
    return session.create_client(
        "kinesis",
        region_name=region or None,
        endpoint_url=endpoint_url or None,
        config=AioConfig(
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=CONNECTIONS_MAX,
            retries={"mode": "standard", "total_max_attempts": 3},
        ),
        **keys,
    )


async def _loopback_keys(session: AioSession) -> dict[str, str]:
    # An instance's or a container's role is never meant for an endpoint on this machine, and asking for it
    # where there is none costs seconds.
    providers = session.get_component("credential_provider")
    for role in ("container-role", "iam-role"):
        providers.remove(role)
    if await session.get_credentials() is not None:
        return {}
    return {"aws_access_key_id": LOOPBACK_KEY, "aws_secret_access_key": LOOPBACK_KEY}


@contextmanager
def errors_as_one_line(region: str, endpoint_url: str, stream: str = "") -> Iterator[None]:
    """Turn what the library raises inside into a ReadingError; `stream` is its name or ARN, where known."""
    try:
        yield
    except ClientError as error:
        raise ReadingError(_refused(error, region, endpoint_url, stream)) from None
    except NoCredentialsError:
        raise ReadingError(
            "credentials: none found in the environment, the profile or the instance's role; "
            "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None
    except NoRegionError:
        raise ReadingError("region: none is set; give --region or set AWS_REGION") from None
    except (NoConnectionError, HTTPClientError) as error:
        raise ReadingError(
            f"endpoint {endpoint_url or 'of Kinesis'}: no answer ({_line(error)}); "
            f"check the address, the region {region or '(none)'} and that it is up"
        ) from None
    except BotoCoreError as error:  # profiles, partial credentials, an answer that is not Kinesis'
        raise ReadingError(f"endpoint {endpoint_url or 'of Kinesis'}: {_line(error)}") from None


def _refused(error: ClientError, region: str, endpoint_url: str, stream: str) -> str:
    code, message = error.response["Error"].get("Code", ""), _line(error.response["Error"].get("Message", ""))
    where = f"region {region}" + (f" at {endpoint_url}" if endpoint_url else "")
    if code == "ResourceNotFoundException":
        return f"stream {stream}: there is none in {where}; check the name, the region and the account"
    if code in REFUSED_CREDENTIALS:
        return (
            f"stream {stream}: {error.operation_name} was refused in {where}: {code} {message}; "
            f"check the credentials and that they allow kinesis:{error.operation_name}"
        )
    return f"stream {stream}: {error.operation_name} failed in {where}: {code} {message}"


def _line(text: object) -> str:
    return " ".join(str(text).split())
