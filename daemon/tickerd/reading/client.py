"""The Kinesis client of the reading side, and the library's errors as one line for people."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, ClientCreatorContext
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
from botocore.parsers import ResponseParserError

from tickerd.kinesis.session import open_session
from tickerd.reading import ReadingError

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


@asynccontextmanager
async def kinesis_client(region: str, endpoint_url: str, role_arn: str = "") -> AsyncIterator[Any]:
    """An aiobotocore Kinesis client, as `open_kinesis` makes it."""
    async with open_kinesis(region, endpoint_url, role_arn) as (client, _):
        yield client


@asynccontextmanager
async def open_kinesis(
    region: str, endpoint_url: str, role_arn: str = ""
) -> AsyncIterator[tuple[Any, AioSession]]:
    """An aiobotocore Kinesis client and the session that its credentials come from.

    An empty `region` or `endpoint_url` is left to the library's chain. Raises ReadingError where no client
    can be made of these settings.
    """
    with errors_as_one_line(region=region, endpoint_url=endpoint_url):
        try:
            making, session = await _making(region, endpoint_url, role_arn)
            client = await making.__aenter__()
        except ValueError as error:  # the word for an endpoint that is not a URL
            if isinstance(error, BotoCoreError):  # a region's name, for one
                raise
            raise ReadingError(
                f"endpoint {endpoint_url!r}: {_line(error)}; give http(s)://host:port"
            ) from None
    try:
        yield client, session
    finally:
        await making.__aexit__(None, None, None)


async def _making(region: str, endpoint_url: str, role_arn: str) -> tuple[ClientCreatorContext, AioSession]:
    if urlsplit(endpoint_url).port == 0:  # asking for the port is what checks it
        raise ValueError("port 0 cannot be called")
    session, found_region = await open_session(region, endpoint_url, role_arn)
    making = session.create_client(
        "kinesis",
        region_name=found_region,
        endpoint_url=endpoint_url or None,
        config=AioConfig(
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=CONNECTIONS_MAX,
            retries={"mode": "standard", "total_max_attempts": 3},
        ),
    )
    return making, session


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
    except ResponseParserError as error:
        raise ReadingError(
            f"endpoint {endpoint_url or 'of Kinesis'}: {_line(error)}; check that it is one of Kinesis"
        ) from None
    except BotoCoreError as error:  # profiles, partial credentials
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
