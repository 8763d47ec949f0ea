"""Raw HTTP servers that do as they are told, and connections to them, on both event loops."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from tickerd.kinesis.http import Connections, Endpoint, LookUp, Times, look_up

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
Serve = Callable[[Reader, Writer], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


Run: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Any]
"""The fixture `run`: runs a story on the event loop of the daemon, and on the other one."""


class Server:
    """A server that does as it is told with every connection, and what it has seen."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.connections = 0
        self.open = 0

    async def handle(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        self.open += 1
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.transport.abort()


@asynccontextmanager
async def serving(
    serve: Serve, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Server, str]]:
    server = Server(serve)
    listener = await asyncio.start_server(server.handle, host, 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield server, f"http{'s' if tls else ''}://{'[::1]' if ':' in host else host}:{port}"
    finally:
        listener.close()


@asynccontextmanager
async def connections(
    url: str,
    most: int = 4,
    secure: ssl.SSLContext | None = None,
    connect_max_s: float = 5,
    answer_max_s: float = 5,
    look_up: LookUp = look_up,
) -> AsyncIterator[Connections]:
    made = Connections(Endpoint.of(url), most, secure, Times(connect_max_s, answer_max_s), look_up)
    try:
        yield made
    finally:
        await made.close()


async def request(reader: Reader) -> tuple[bytes, bytes]:
    """The head and body of the next request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head, await reader.readexactly(length)


def saying(*answers: bytes, then: float = 0.0) -> Serve:
    """A server that says these to the requests of each connection, and closes it after `then` seconds."""

    async def serve(reader: Reader, writer: Writer) -> None:
        for answer in answers:
            await request(reader)
            writer.write(answer)
            await writer.drain()
        await asyncio.sleep(then)

    return serve


async def echo(reader: Reader, writer: Writer) -> None:
    while True:
        _, body = await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def answers(serve: Serve, calls: int = 1, body: bytes = b"body") -> list[tuple[int, bytes]]:
    async with serving(serve) as (_, url), connections(url) as made:
        return [await made.post({"Host": "h"}, body) for _ in range(calls)]


class Names:
    """A directory in which every name has the same addresses, and the names that were asked for."""

    def __init__(self, *addresses: tuple[str, int]) -> None:
        self.asked: list[str] = []
        self._addresses = addresses

    async def __call__(self, host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
        self.asked.append(host)
        return [(socket.AF_INET, address) for address in self._addresses]
