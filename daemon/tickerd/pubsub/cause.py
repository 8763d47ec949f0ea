"""What errors of Pub/Sub and of Google's credentials mean to the operator, as a cause with its remedy."""

from tickerd.cause import Cause, one_line

RETRYABLE = {
    "ABORTED",
    "CANCELLED",
    "DEADLINE_EXCEEDED",
    "INTERNAL",
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
    "UNKNOWN",
}
"""After which the generated client of Pub/Sub sends a publish request again."""

REMEDIES = {
    "NOT_FOUND": "create the topic, or correct pubsub.topic or pubsub.project",
    "PERMISSION_DENIED": "give the service account roles/pubsub.publisher on the topic",
    "UNAUTHENTICATED": "the credentials are not valid, or this host's clock is wrong",
    "RESOURCE_EXHAUSTED": "raise the project's quota of publishing, or lower the rate",
    "UNAVAILABLE": "see pubsub.endpoint and the network",
    "DEADLINE_EXCEEDED": "see pubsub.endpoint and the network",
    "FAILED_PRECONDITION": "see the topic's key (KMS), schema and state",
    "INVALID_ARGUMENT": "see the topic's schema, and pubsub.project and pubsub.topic",
}


class CallError(Exception):
    """A call was answered with another status than OK; `code` is that status."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @property
    def cause(self) -> Cause:
        """What it means to the operator."""
        remedy = REMEDIES.get(self.code, "")
        line = f"{self.code}: {one_line(self.message)}" + (f"; {remedy}" if remedy else "")
        return Cause(self.code, line, permanent=self.code not in RETRYABLE)


class NotReadyError(Exception):
    """There is nothing to call with: no project, no credentials."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.message)
        self.cause = cause


def no_credentials(detail: str) -> Cause:
    """There are none."""
    message = (
        f"no Google credentials ({one_line(detail)}): run as a service account, or set "
        "GOOGLE_APPLICATION_CREDENTIALS"
    )
    return Cause("NoCredentials", message, permanent=True)


def not_renewed(detail: str) -> Cause:
    """There are some, of which no token comes."""
    message = f"no token for the Google credentials ({one_line(detail)}): see the account, network and clock"
    return Cause("UNAUTHENTICATED", message, permanent=True)


NO_PROJECT = Cause("NoProject", "no project is known: set pubsub.project", permanent=True)
