"""A Pub/Sub of one's own, as a process: what Google's emulator does not do, and faults on demand.

It keeps the published limits, has messages decoded by google-cloud-pubsub's own types, publishes, lends and
takes back by gRPC, in clear or with TLS and a token, and is told by HTTP what is to go wrong. Of ordering
keys it lends one batch at a time, in order. Run it: `python tests/fake_pubsub.py [--discard] …`.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from aiohttp import web

MESSAGES_MAX, REQUEST_BYTES_MAX, KEY_BYTES_MAX = 1000, 10_000_000, 1024
LENT_S = 10.0
RETRYABLE = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL", "DEADLINE_EXCEEDED", "ABORTED", "UNKNOWN")


class Refused(Exception):  # noqa: N818 - what the service says
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Topic:
    """All messages that were published, and those that the one subscription has not acknowledged."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.waiting: deque[int] = deque()
        self.lent: dict[int, float] = {}  # by message: until when
        self.busy: dict[str, set[int]] = {}  # by ordering key: what of it is lent

    def publish(self, messages: list[Any]) -> list[str]:
        first = len(self.messages)
        for number, message in enumerate(messages, first):
            message.message_id = str(10**15 + number)
            message.publish_time.FromNanoseconds(time.time_ns())
            self.messages.append(message)
            self.waiting.append(number)
        return [message.message_id for message in messages]

    def lend(self, most: int) -> list[int]:
        now_s = time.monotonic()
        late = sorted(number for number, until_s in self.lent.items() if until_s < now_s)
        for number in reversed(late):
            del self.lent[number]
            self.busy.get(self.messages[number].ordering_key, set()).discard(number)
            self.waiting.appendleft(number)
        given: list[int] = []
        kept: list[int] = []
        begun: set[str] = set()
        while self.waiting and len(given) < most:
            number = self.waiting.popleft()
            key = self.messages[number].ordering_key
            if key and key not in begun and self.busy.get(key):
                kept.append(number)
                continue
            if key:
                begun.add(key)
                self.busy.setdefault(key, set()).add(number)
            self.lent[number] = now_s + LENT_S
            given.append(number)
        self.waiting.extendleft(reversed(kept))
        return given

    def acknowledge(self, number: int) -> None:
        if self.lent.pop(number, None) is not None:
            self.busy.get(self.messages[number].ordering_key, set()).discard(number)


class Service:
    """The handlers, what they have counted, and the faults in force."""

    def __init__(self, *, discard: bool, token: str) -> None:
        self.discard = discard
        self.token = token
        self.topic = Topic()
        self.faults: dict[str, Any] = {
            "error": 0.0,  # share of publish requests refused with one of `codes`
            "codes": list(RETRYABLE),
            "lost_ack": 0.0,  # share of publish requests that are taken, and answered by UNAVAILABLE
            "latency_ms": 0.0,
            "outage": False,
            "deny": "",  # a code, of every publish request
        }
        self.stats: dict[str, Any] = {
            "requests": 0, "published": 0, "lost_acks": 0, "limits": [], "most_of_a_key": 0, "tokens": [],
            "codes": {}, "attributes": {},
        }  # fmt: skip
        self.under_way: dict[str, int] = {}

    async def __call__(self, method: str, request: bytes, context: Any) -> bytes:
        if self.token:
            metadata = dict(context.invocation_metadata())
            said = metadata.get("authorization", "")
            if said not in self.stats["tokens"]:
                self.stats["tokens"].append(said)
            if said != f"Bearer {self.token}":
                raise Refused("UNAUTHENTICATED", "Request had invalid authentication credentials.")
        match method:
            case "Publish":
                return await self.publish(request)
            case "Pull":
                return await self.pull(request)
            case "Acknowledge":
                return self.acknowledge(request)
            case "GetTopic" | "GetSubscription":
                return request
            case "TestIamPermissions":
                return b"\x0a\x15pubsub.topics.publish"
        raise Refused("UNIMPLEMENTED", method)

    async def publish(self, request: bytes) -> bytes:
        self.stats["requests"] += 1
        await self.go_wrong()
        if self.discard:
            return ids(count(request))
        from google.pubsub_v1 import types  # noqa: PLC0415 - heavy, and not needed to discard

        if len(request) > REQUEST_BYTES_MAX:
            self.over(f"a request of {len(request)} bytes")
        messages = list(types.PublishRequest.pb().FromString(request).messages)
        self.keep_limits(messages)
        key = messages[0].ordering_key
        if key:
            self.under_way[key] = self.under_way.get(key, 0) + 1
            self.stats["most_of_a_key"] = max(self.stats["most_of_a_key"], self.under_way[key])
            await asyncio.sleep(0)
            self.under_way[key] -= 1
        self.stats["published"] += len(messages)
        self.stats["attributes"] = dict(messages[0].attributes)
        found = self.topic.publish(messages)
        if random.random() < self.faults["lost_ack"]:
            self.stats["lost_acks"] += 1
            raise Refused("UNAVAILABLE", "the acknowledgement is lost")
        answer: bytes = types.PublishResponse.pb()(message_ids=found).SerializeToString()
        return answer

    async def go_wrong(self) -> None:
        faults = self.faults
        if faults["latency_ms"]:
            await asyncio.sleep(faults["latency_ms"] / 1000 * random.uniform(0.5, 1.5))
        if faults["outage"]:
            raise Refused("UNAVAILABLE", "an outage")
        if faults["deny"]:
            raise Refused(faults["deny"], "denied by the test")
        if random.random() < faults["error"]:
            raise Refused(random.choice(faults["codes"]), "injected")

    def keep_limits(self, messages: list[Any]) -> None:
        keys = {message.ordering_key for message in messages}
        if not 1 <= len(messages) <= MESSAGES_MAX:
            self.over(f"{len(messages)} messages")
        if len(keys) > 1:
            self.over(f"{len(keys)} ordering keys in a request")
        if any(len(key.encode()) > KEY_BYTES_MAX for key in keys):
            self.over("a long ordering key")
        if any(not message.data and not message.attributes for message in messages):
            self.over("an empty message")

    def over(self, what: str) -> None:
        self.stats["limits"].append(what)
        raise Refused("INVALID_ARGUMENT", what)

    async def pull(self, request: bytes) -> bytes:
        from google.pubsub_v1 import types  # noqa: PLC0415

        asked = types.PullRequest.pb().FromString(request)
        given = self.topic.lend(asked.max_messages)
        if not given:
            await asyncio.sleep(0.2)
        answer = types.PullResponse.pb()()
        for number in given:
            lent = answer.received_messages.add()
            lent.ack_id = str(number)
            lent.message.CopyFrom(self.topic.messages[number])
        encoded: bytes = answer.SerializeToString()
        return encoded

    def acknowledge(self, request: bytes) -> bytes:
        from google.pubsub_v1 import types  # noqa: PLC0415

        for ack_id in types.AcknowledgeRequest.pb().FromString(request).ack_ids:
            self.topic.acknowledge(int(ack_id))
        return b""


def count(request: bytes) -> int:
    """Messages of a request, by walking over its fields alone."""
    at = many = 0
    while at < len(request):
        tag, size, at, shift = request[at], 0, at + 1, 0
        while True:
            byte = request[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        many += tag == 0x12
        at += size
    return many


def ids(many: int) -> bytes:
    return b"\x0a\x101234567890123456" * many


async def serve(options: argparse.Namespace) -> None:
    service = Service(discard=options.discard, token=options.token)

    class Methods(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            method = handler_call_details.method.rpartition("/")[2]

            async def handle(request: bytes, context: Any) -> bytes:
                try:
                    return await service(method, request, context)
                except Refused as refused:
                    service.stats["codes"][refused.code] = service.stats["codes"].get(refused.code, 0) + 1
                    await context.abort(getattr(grpc.StatusCode, refused.code), str(refused))
                    raise

            return grpc.unary_unary_rpc_method_handler(handle)

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((Methods(),))
    address = f"127.0.0.1:{options.port}"
    if options.tls:
        credentials = grpc.ssl_server_credentials([options.tls])
        port = server.add_secure_port(address, credentials)
    else:
        port = server.add_insecure_port(address)
    await server.start()

    async def faults(request: web.Request) -> web.Response:
        service.faults |= await request.json()
        return web.json_response(service.faults)

    async def stats(_: web.Request) -> web.Response:
        left = len(service.topic.waiting) + len(service.topic.lent)
        return web.json_response(
            service.stats | {"unacknowledged": left, "stored": len(service.topic.messages)}
        )

    async def token(_: web.Request) -> web.Response:
        return web.json_response({"access_token": service.token, "expires_in": 3600, "token_type": "Bearer"})

    async def change_token(request: web.Request) -> web.Response:
        service.token = (await request.json())["token"]
        return web.Response()

    app = web.Application()
    app.add_routes(
        [
            web.post("/faults", faults),
            web.get("/stats", stats),
            web.post("/token", token),
            web.post("/change-token", change_token),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    addresses = {"grpc": f"127.0.0.1:{port}", "http": f"http://127.0.0.1:{runner.addresses[0][1]}"}
    sys.stdout.write(json.dumps(addresses) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--discard", action="store_true", help="acknowledge and keep nothing")
    parser.add_argument("--tls", nargs=2, metavar=("KEY", "CERTIFICATE"))
    parser.add_argument("--token", default="", help="that every call has to bear")
    options = parser.parse_args()
    if options.tls:
        options.tls = tuple(Path(file).read_bytes() for file in options.tls)
    asyncio.run(serve(options))


if __name__ == "__main__":
    main()
