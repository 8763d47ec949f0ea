"""Connections to one endpoint for POST requests, on the event loop's own protocols: HTTP/1.1, kept alive.

A call waits for one future: it has no streams, locks or tasks of its own. No request is sent twice, but for
one on a connection that had rested and that the server closed without a byte of answer.
"""

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast
from urllib.parse import quote, urlsplit

from botocore.utils import normalize_url_path

from tickerd.kinesis.answer import Answer, AnswerReader

IDLE_MAX_S = 15.0  # below what servers usually allow
RESTED_S = 1.0  # a connection that rested for less was not closed for it
PORTS = {"http": 80, "https": 443}


class Endpoint(NamedTuple):
    """Where requests go, from a URL."""

    secure: bool
    host: str  # a name or an address, without brackets
    port: int
    authority: str  # of the Host header
    path: str  # of the request line

    @classmethod
    def of(cls, url: str) -> "Endpoint":
        """ValueError when the URL is none for HTTP. User, query and fragment are ignored."""
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise ValueError(f"{url} is not http(s)://host:port")
        standard = PORTS[parts.scheme]
        port = parts.port or standard
        authority = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        if port != standard:
            authority += f":{port}"
        path = quote(normalize_url_path(parts.path), safe="/%:@!$&'()*+,;=~")
        return cls(parts.scheme == "https", parts.hostname, port, authority, path)


class Times(NamedTuple):
    """How long things may take, in seconds."""

    connect_max_s: float  # to have a connection
    answer_max_s: float  # a whole request


LookUp = Callable[[str, int], Awaitable[Sequence[tuple[int, tuple[Any, ...]]]]]
"""From a name and a port to addresses: family and what its sockets connect to."""


async def look_up(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    """What the system says, best first; OSError when it knows none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


class _Connection(asyncio.Protocol):
    """One connection: `ask`, and again once the answer `stays`. `abort` at any time."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.free_since_s = 0.0
        self.usable = False  # connected, and with no request on its way
        self._reader = AnswerReader()
        self._waiter: asyncio.Future[Answer] | None = None

    def ask(self, head: bytes, body: bytes) -> "asyncio.Future[Answer]":
        """Send a request. The future fails with AnswerError, another OSError, or what `fail` was told."""
        self.usable = False
        self._reader = AnswerReader()
        self._waiter = asyncio.get_running_loop().create_future()
        self.transport.writelines((head, body))  # uvloop: one system call, and no copy of the two together
        return self._waiter

    @property
    def unanswered(self) -> bool:
        """Whether nothing of an answer to the last request has arrived."""
        return not self._reader.begun

    def fail(self, error: OSError) -> None:
        """Give up the request on its way, and the connection with it."""
        self.usable = False
        self.transport.abort()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def abort(self) -> None:
        """Close at once."""
        self.usable = False
        self.transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.abort()  # nothing was asked
            return
        try:
            answer = self._reader.feed(data)
        except OSError as error:
            self.fail(error)
            return
        if answer is not None:
            self._answered(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self._waiter is None or self._waiter.done():
            return
        if exc is not None:
            self._waiter.set_exception(exc)
            return
        try:
            answer = self._reader.end()
        except OSError as error:
            self._waiter.set_exception(error)
        else:
            assert answer is not None
            self._waiter.set_result(answer)

    def _answered(self, answer: Answer) -> None:
        assert self._waiter is not None
        self._waiter.set_result(answer)
        # What is left to write of a request that was answered early would be taken for the next one.
        if answer.stays and not self.transport.get_write_buffer_size():
            self.usable = True
        else:
            self.abort()


class Connections:
    """At most `most` connections to an endpoint, opened when needed. `close` when done."""

    def __init__(
        self,
        endpoint: Endpoint,
        most: int,
        secure: ssl.SSLContext | None,
        times: Times,
        look_up: LookUp = look_up,
    ) -> None:
        self.endpoint = endpoint
        self._look_up = look_up
        self._secure = secure if endpoint.secure else None
        self._times = times
        self._start = f"POST {endpoint.path} HTTP/1.1\r\n"
        self._room = asyncio.Semaphore(most)
        self._free: deque[_Connection] = deque()  # the one that rested least is last
        self._asked: set[_Connection] = set()
        self._looking: asyncio.TimerHandle | None = None
        self._closed = False

    async def post(self, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Send a request, and return the answer's status and body. TimeoutError, or another OSError.

        `headers` are all but Content-Length.
        """
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = f"{self._start}{lines}Content-Length: {len(body)}\r\n\r\n".encode()
        loop = asyncio.get_running_loop()
        due_s = loop.time() + self._times.answer_max_s
        async with self._room:
            connection = self._rested()
            if connection is not None:
                old = loop.time() - connection.free_since_s >= RESTED_S
                try:
                    return await self._ask(connection, head, body, due_s)
                except TimeoutError:
                    raise
                except OSError:
                    if not (old and connection.unanswered):
                        raise
            return await self._ask(await self._connected(), head, body, due_s)

    async def close(self) -> None:
        """Close every connection; whoever still waits for an answer gets a ConnectionError."""
        self._closed = True
        while self._free:
            self._free.pop().abort()
        if self._looking is not None:
            self._looking.cancel()
        for connection in list(self._asked):
            connection.fail(ConnectionAbortedError("the client was closed"))
        await asyncio.sleep(0)  # so that the event loop lets go of them

    async def _ask(
        self, connection: _Connection, head: bytes, body: bytes, due_s: float
    ) -> tuple[int, bytes]:
        loop = asyncio.get_running_loop()
        self._asked.add(connection)
        # A timer costs 1 us a call, a third of asyncio.timeout.
        timer = loop.call_at(due_s, connection.fail, TimeoutError("no answer in time"))
        try:
            answer = await connection.ask(head, body)
        finally:
            timer.cancel()
            self._asked.discard(connection)
            if connection.usable and not self._closed:
                self._keep(connection)
            else:
                connection.abort()  # also when this call was cancelled
        return answer.status, answer.body

    def _rested(self) -> _Connection | None:
        while self._free:
            connection = self._free.pop()
            if connection.usable and not connection.transport.is_closing():
                return connection
        return None

    def _keep(self, connection: _Connection) -> None:
        loop = asyncio.get_running_loop()
        connection.free_since_s = loop.time()
        self._free.append(connection)
        if self._looking is None:
            self._looking = loop.call_later(IDLE_MAX_S, self._look)

    def _look(self) -> None:
        """Close what has rested for long."""
        loop = asyncio.get_running_loop()
        self._looking = None
        while self._free and (
            not self._free[0].usable or self._free[0].free_since_s <= loop.time() - IDLE_MAX_S
        ):
            self._free.popleft().abort()
        if self._free:
            self._looking = loop.call_at(self._free[0].free_since_s + IDLE_MAX_S, self._look)

    async def _connected(self) -> _Connection:
        """A new connection: to the first of the name's addresses, looked up anew, that takes it in time."""
        loop = asyncio.get_running_loop()
        due_s = loop.time() + self._times.connect_max_s
        host, port = self.endpoint.host, self.endpoint.port
        try:
            async with asyncio.timeout_at(due_s):
                addresses = await self._look_up(host, port)
        except TimeoutError:
            raise TimeoutError(f"the name {host} was not found in time") from None
        failed: OSError = ConnectionError(f"{host} has no address")
        for tried, (family, address) in enumerate(addresses):
            share_s = (due_s - loop.time()) / (len(addresses) - tried)
            try:
                async with asyncio.timeout(share_s):
                    return await self._connected_to(family, address)
            except TimeoutError:
                failed = TimeoutError(f"no connection to {self.endpoint.authority} in time")
            except OSError as error:
                why = (
                    os.strerror(error.errno) if error.errno and not isinstance(error, ssl.SSLError) else error
                )
                failed = ConnectionError(f"no connection to {self.endpoint.authority}: {why}")
        raise failed

    async def _connected_to(self, family: int, address: tuple[Any, ...]) -> _Connection:
        loop = asyncio.get_running_loop()
        plain = socket.socket(family, socket.SOCK_STREAM)
        try:
            plain.setblocking(False)
            await loop.sock_connect(plain, address)
            name = self.endpoint.host if self._secure else None
            _, connection = await loop.create_connection(
                _Connection, sock=plain, ssl=self._secure, server_hostname=name
            )
        except BaseException:
            plain.close()
            raise
        return connection
