"""The refusals of the Kinesis API: a code, a message and an HTTP status, raised by the operations.

Promises that a client library sees the codes which the API reference lists; the messages are ours.
"""

ACCOUNT_ID = "000000000000"


class ServiceError(Exception):
    """An answer of the service that is an error. `code` becomes `__type` in the reply."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def invalid_argument(message: str) -> ServiceError:
    """Return InvalidArgumentException: well formed, but not acceptable for this stream."""
    return ServiceError("InvalidArgumentException", message)


def invalid_request(message: str) -> ServiceError:
    """Return ValidationException: a member is missing or outside the bounds of the API model."""
    return ServiceError("ValidationException", f"1 validation error detected: {message}")


def no_such_stream(name: str) -> ServiceError:
    """Return ResourceNotFoundException for a stream."""
    return ServiceError("ResourceNotFoundException", f"Stream {name} under account {ACCOUNT_ID} not found.")


def no_such_shard(shard_id: str, stream: str) -> ServiceError:
    """Return ResourceNotFoundException for a shard."""
    where = f"in stream {stream} under account {ACCOUNT_ID}"
    return ServiceError("ResourceNotFoundException", f"Could not find shard {shard_id} {where}.")
