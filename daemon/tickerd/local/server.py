"""The HTTP side of `tickerd local`: JSON or CBOR over HTTP/1.1, injected faults, and the `/_local/` pages.

Promises that one call never waits for another, whatever the latency, and that bodies are bounded. What an
operation does is not known here. Requests need no signature.
"""

import asyncio
import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from random import Random

import msgspec
import uvloop
from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from tickerd.local.account import Account, epoch_ms
from tickerd.local.errors import ACCOUNT_ID, ServiceError
from tickerd.local.faults import Faults, merge_faults
from tickerd.local.operations import OPERATIONS, call
from tickerd.local.wire import Wire, of_content_type

API = "Kinesis_20131202"
BODY_BYTES_MAX = 24 * 1024 * 1024  # a full call of 10 MiB in base64, with keys escaped, and room to spare
READ_CHUNK_BYTES = 256 * 1024
WRITES = frozenset({"PutRecord", "PutRecords"})
SERVER_ERRORS = (("InternalFailure", 500), ("ServiceUnavailable", 503))


class LocalOptions(msgspec.Struct, frozen=True):
    """How to run the endpoint. port 0: any free one. retention_mb: memory for all records, in MiB."""

    host: str = "127.0.0.1"
    port: int = 4567
    shards: int = 4
    stream: str = "market-log"
    faults: Faults = Faults()
    shard_limits: bool = True
    retention_mb: int = 1024
    discard: bool = False


class LocalEndpoint:
    """The endpoint within an event loop: `url = await endpoint.start()`, then `await endpoint.stop()`.

    `now_ms` is the time since the epoch, `clock_s` a monotonic one. `faults` may be set at any time.
    """

    def __init__(
        self,
        options: LocalOptions | None = None,
        now_ms: Callable[[], int] = epoch_ms,
        clock_s: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        self.options = options or LocalOptions()
        retention_bytes = self.options.retention_mb * 1024 * 1024
        self._account = Account(
            retention_bytes, self.options.shard_limits, self.options.discard, now_ms, clock_s, random
        )
        self.faults = self.options.faults
        self._account.create(self.options.stream, self.options.shards)
        self._requests = 0

    @property
    def faults(self) -> Faults:
        """The faults in force."""
        return self._account.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._account.faults = faults

    async def start(self) -> str:
        """Listen and return the URL. Raises OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._server = web.Server(
            self._answer,
            request_factory=self._request,
            access_log=None,
            auto_decompress=False,
            read_bufsize=READ_CHUNK_BYTES,
        )
        self._listener = await loop.create_server(self._server, self.options.host, self.options.port)
        port = self._listener.sockets[0].getsockname()[1]
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        return f"http://{host}:{port}"

    async def stop(self) -> None:
        """Stop listening and close every connection; answers under way are given a second."""
        self._listener.close()
        await self._server.shutdown(timeout=1.0)
        await self._listener.wait_closed()

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message, payload, protocol, writer, task, self._loop, client_max_size=BODY_BYTES_MAX
        )

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        account = self._account
        control = request.path.startswith("/_local/")
        if account.faults.outage and not control:
            return self._cut(request)
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await request.read()
        if control:
            return self._control(request, body)
        account.stats.calls += 1
        wire = of_content_type(request.headers.get(hdrs.CONTENT_TYPE, ""))
        status, reply, cut = self._act(request, body, wire)
        if account.faults.latency_ms:
            await asyncio.sleep(account.faults.latency_ms / 1000)
        if cut or account.faults.outage:
            return self._cut(request)
        self._requests += 1
        headers = {hdrs.CONTENT_TYPE: wire.content_type, "x-amzn-RequestId": f"{self._requests:032x}"}
        return web.Response(status=status, body=reply, headers=headers)

    def _act(self, request: web.BaseRequest, body: bytes, wire: Wire) -> tuple[int, bytes, bool]:
        """Do what is asked; return status, body and whether the connection is to be cut instead."""
        account = self._account
        operation = "unknown"
        try:
            operation = self._operation(request)
            account.stats.operations[operation] += 1
            reply = self._call_with_faults(operation, body, wire)
        except ServiceError as error:
            account.stats.refused(operation, error.code)
            return error.status, wire.error(error), False
        cut = operation in WRITES and account.random.random() < account.faults.lost_ack
        return 200, reply, cut

    def _operation(self, request: web.BaseRequest) -> str:
        api, _, operation = request.headers.get("X-Amz-Target", "").partition(".")
        if request.method != hdrs.METH_POST or api != API or operation not in OPERATIONS:
            asked = request.headers.get("X-Amz-Target") or f"{request.method} without X-Amz-Target"
            said = asked.encode(errors="replace").decode()  # a header may be any bytes
            raise ServiceError("UnknownOperationException", f"tickerd local does not offer {said}.")
        return operation

    def _call_with_faults(self, operation: str, body: bytes, wire: Wire) -> bytes:
        account = self._account
        if account.faults.deny:
            user = f"arn:aws:iam::{ACCOUNT_ID}:user/local"
            message = f"User: {user} is not authorized to perform: kinesis:{operation}"
            raise ServiceError("AccessDeniedException", message)
        if operation in WRITES and account.random.random() < account.faults.error:
            code, status = account.random.choice(SERVER_ERRORS)
            raise ServiceError(code, "The request failed on demand.", status)
        return call(account, operation, body, wire)

    def _cut(self, request: web.BaseRequest) -> web.Response:
        self._account.stats.cut += 1
        if request.transport is not None:
            request.transport.abort()
        return web.Response()  # goes nowhere: the connection is gone

    def _control(self, request: web.BaseRequest, body: bytes) -> web.Response:
        page = (request.method, request.path)
        if page == ("POST", "/_local/faults"):
            try:
                self.faults = merge_faults(self.faults, body)
            except ValueError as error:
                return web.Response(status=400, text=f"{error}\n")
            return _json(self.faults)
        if page == ("GET", "/_local/faults"):
            return _json(self.faults)
        if page == ("GET", "/_local/stats"):
            return _json(self.stats())
        known = "GET /_local/faults, POST /_local/faults and GET /_local/stats"
        return web.Response(status=404, text=f"no {request.method} {request.path}: there are {known}\n")

    def stats(self) -> dict[str, object]:
        """Return the counters of `GET /_local/stats`."""
        store = self._account.store
        shown: dict[str, object] = msgspec.to_builtins(self._account.stats)
        return shown | {
            "held_records": store.held_records,
            "held_bytes": store.held_bytes,
            "dropped_records": store.dropped_records,
            "dropped_before_ms": store.dropped_before_ms,
        }


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value) + b"\n", content_type="application/json")


def run(options: LocalOptions) -> int:
    """Serve until SIGTERM or SIGINT; return 0, or 1 with one line on standard error when it cannot listen."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(options))
    except OSError as error:
        reason = "is in use: choose another --port" if error.errno == errno.EADDRINUSE else _reason(error)
        sys.stderr.write(f"tickerd local: port {options.port} on {options.host} {reason}\n")
        return 1
    except ServiceError as error:  # of the stream that is there from the start
        sys.stderr.write(f"tickerd local: {error}\n")
        return 1
    return 0


def _reason(error: OSError) -> str:
    return f"cannot be listened on: {os.strerror(error.errno) if error.errno else error}"


async def _serve(options: LocalOptions) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    endpoint = LocalEndpoint(options)
    url = await endpoint.start()
    sys.stdout.write(f"tickerd local: {url} stream {options.stream}, {options.shards} shards\n")
    sys.stdout.flush()
    await stopped.wait()
    await endpoint.stop()
