"""One gRPC channel to Pub/Sub: calls with bytes for requests and answers. No retry is made here."""

import logging
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import grpc
import grpc.aio

from tickerd import __version__
from tickerd.config import google_project, pubsub_emulator
from tickerd.pubsub.cause import NO_PROJECT, CallError, NotReadyError
from tickerd.pubsub.credentials import Credentials
from tickerd.settings import PubSub

ENDPOINT = "pubsub.googleapis.com:443"
PLAIN = "http://"
CALL_MAX_S = 60.0  # the generated client's
PUBLISH = "/google.pubsub.v1.Publisher/Publish"
GET_TOPIC = "/google.pubsub.v1.Publisher/GetTopic"
GET_SUBSCRIPTION = "/google.pubsub.v1.Subscriber/GetSubscription"
PULL = "/google.pubsub.v1.Subscriber/Pull"
ACKNOWLEDGE = "/google.pubsub.v1.Subscriber/Acknowledge"
TEST_PERMISSIONS = "/google.iam.v1.IAMPolicy/TestIamPermissions"
OPTIONS = (
    ("grpc.max_send_message_length", -1),  # the service's limits are kept where a request is built
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5000),
    ("grpc.primary_user_agent", f"tickerd/{__version__}"),
)

logging.getLogger("grpc").setLevel(logging.CRITICAL)  # what it has to say of a call, the call says too


class PubSubClient:
    """`open` before the first call. `project` and `target` are known then."""

    def __init__(self, settings: PubSub) -> None:
        self._settings = settings
        self.project = settings.project
        emulator = pubsub_emulator()
        endpoint = f"{PLAIN}{emulator.removeprefix(PLAIN)}" if emulator else settings.endpoint or ENDPOINT
        self.plain = endpoint.startswith(PLAIN)
        self.target = endpoint.removeprefix(PLAIN)
        self._credentials = None if self.plain else Credentials()
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, Any] = {}

    async def open(self) -> None:
        """Find credentials and project, and make the channel; NotReadyError when they are missing."""
        if self._credentials is not None:
            await self._credentials.open()
            self.project = self.project or self._credentials.project
        self.project = self.project or google_project()
        if not self.project:
            raise NotReadyError(NO_PROJECT)
        if self._channel is None and self.plain:
            self._channel = grpc.aio.insecure_channel(self.target, options=OPTIONS)
        elif self._channel is None:
            tls = grpc.ssl_channel_credentials()
            self._channel = grpc.aio.secure_channel(self.target, tls, options=OPTIONS)

    @property
    def topic(self) -> str:
        """The topic's full name."""
        return f"projects/{self.project}/topics/{self._settings.topic}"

    @property
    def subscription(self) -> str:
        """The subscription's full name."""
        return f"projects/{self.project}/subscriptions/{self._settings.subscription}"

    async def call(
        self, method: str, resource: tuple[str, str], request: bytes, max_s: float = CALL_MAX_S
    ) -> bytes:
        """The answer; CallError for any other status than OK. `resource`: by what Google routes the call."""
        assert self._channel is not None
        if method not in self._methods:
            self._methods[method] = self._channel.unary_unary(method)
        name, value = resource
        headers = [("x-goog-request-params", f"{name}={quote(value, safe='')}")]
        if self._credentials is not None:
            headers += self._credentials.headers
        try:
            answer: bytes = await self._methods[method](request, timeout=max_s, metadata=headers)
        except grpc.aio.AioRpcError as error:
            raise CallError(error.code().name, error.details() or "") from error
        return answer

    async def publish(self, request: bytes) -> bytes:
        """Publish to the topic."""
        return await self.call(PUBLISH, ("topic", self.topic), request)

    async def renew_credentials(self) -> None:
        """Have a new token; NotReadyError when there is none, or nothing that it could be of."""
        if self._credentials is not None:
            await self._credentials.renew()

    async def close(self) -> None:
        """Close the channel; also one that was never opened."""
        if self._credentials is not None:
            await self._credentials.close()
        if self._channel is not None:
            with suppress(grpc.aio.UsageError):
                await self._channel.close()
