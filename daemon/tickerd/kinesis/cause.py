"""What errors of the service and of the library mean to the operator, as a cause with its remedy."""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    ProxyConnectionError,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from tickerd.cause import Cause, one_line

CODE_CHARACTERS_MAX = 100  # of what a server says; it is shown on one line


def cause_of(error: Exception) -> Cause:
    """What a library's error means to the operator, with the remedy in the line."""
    match error:
        case ClientError():
            code = str(error.response["Error"].get("Code", "Unknown"))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
            return service_cause(code, str(error.response["Error"].get("Message", "")), status)
        case NoRegionError():
            return Cause("NoRegion", "no region is known: set kinesis.region or AWS_DEFAULT_REGION", True)
        case NoCredentialsError():
            message = "no AWS credentials found: give the host a role, or set a profile or AWS_ACCESS_KEY_ID"
            return Cause("NoCredentials", message, True)
        case ProxyConnectionError():
            return Cause("ProxyConnectionError", no_proxy(str(error)), False)
        case NoConnectionError() | HTTPClientError():
            return Cause("ConnectionError", unreachable(str(error)), False)
        case _:  # not the library's: a map with holes, an endpoint that is no URL, a file that cannot be read
            permanent = isinstance(error, BotoCoreError)
            return Cause(type(error).__name__, one_line(str(error)), permanent)


def unreachable(detail: str) -> str:
    """The line for an endpoint that does not answer."""
    see = "see kinesis.endpoint_url, kinesis.region and the network"
    return f"the endpoint does not answer ({one_line(detail)}): {see}"


def no_proxy(detail: str) -> str:
    """The line for a proxy that does not answer."""
    return f"the proxy does not answer ({one_line(detail)}): see HTTPS_PROXY, HTTP_PROXY and NO_PROXY"


REMEDIES = {
    "ResourceNotFoundException": "create the stream, or correct kinesis.stream or kinesis.region",
    "AccessDenied": "allow sts:AssumeRole on kinesis.role_arn, and let the role trust these credentials",
    "AccessDeniedException": "allow kinesis:PutRecords, ListShards and DescribeStreamSummary on the stream",
    "UnrecognizedClientException": "the credentials are not valid in this region",
    "InvalidSignatureException": "check the credentials and this host's clock",
    "ExpiredTokenException": "the credentials have expired and could not be renewed",
}


def service_cause(code: str, message: str, status: int, otherwise: str = "") -> Cause:
    """What an error answer of the service means, with its remedy, or `otherwise` where there is none."""
    remedy = REMEDIES.get(code, otherwise)
    if code.startswith("KMS"):
        remedy = "allow kms:GenerateDataKey on the stream's key, and see that it is enabled"
    code = one_line(code)[:CODE_CHARACTERS_MAX]
    line = f"{code}: {one_line(message)}" + (f"; {remedy}" if remedy else "")
    return Cause(code, line, permanent=not is_retryable(code, status))


RETRYABLE = {
    "ProvisionedThroughputExceededException",
    "LimitExceededException",
    "ThrottlingException",
    "RequestLimitExceeded",
    "KMSThrottlingException",
    "InternalFailure",
    "InternalFailureException",
    "ServiceUnavailable",
    "RequestTimeout",
    "RequestTimeoutException",
}


def is_retryable(code: str, status: int) -> bool:
    """Whether the same request may succeed later without anybody's help."""
    return status >= 500 or code in RETRYABLE
