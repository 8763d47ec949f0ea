"""The connections of the web side: as many as are allowed, none that stays silent, all closed at the end."""

import asyncio
import socket
import ssl

from aiohttp import web

from tickerd.web.connection import Connection

CONNECTIONS_MAX = 64
BACKLOG = 1024  # who finds the kernel's queue full is not refused, but waits a second or more to try again
HEAD_MAX_S = 5.0  # from a connection's start to the end of its first request's head, and for TLS to begin
COUNT_AFTER_S = 0.01

Silent = dict[web.RequestHandler, asyncio.TimerHandle]
"""The connections that have not asked for anything yet, and when they are closed for that."""

Streaming = set[web.RequestHandler]
"""The connections that listen to events: they last, and are counted for themselves."""


class Pages:
    """The web side while it listens; `cleanup` ends it. `silent` loses a connection when it asks."""

    def __init__(self, runner: web.AppRunner, silent: Silent, streaming: Streaming) -> None:
        self._runner = runner
        self._silent = silent
        self._streaming = streaming
        self._servers: list[asyncio.Server] = []
        self._counting: asyncio.TimerHandle | None = None

    async def listen(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept connections, over TCP or a unix socket; OSError when that is not possible."""
        loop = asyncio.get_running_loop()
        if listener.family == socket.AF_UNIX:
            server = await loop.create_unix_server(self._connect, sock=listener, backlog=BACKLOG)
        else:
            server = await loop.create_server(
                self._connect,
                sock=listener,
                backlog=BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=HEAD_MAX_S if tls else None,
            )
        self._servers.append(server)

    async def cleanup(self) -> None:
        """Listen no more, and close every connection."""
        for server in self._servers:
            server.close()
        for timer in [*self._silent.values(), self._counting]:
            if timer is not None:
                timer.cancel()
        await self._runner.cleanup()
        for server in self._servers:
            await server.wait_closed()

    def _connect(self) -> asyncio.BaseProtocol:
        """So many connections at most: one more takes the place of the oldest, so that health answers."""
        assert self._runner.server is not None
        self._close_oldest(CONNECTIONS_MAX - 1)
        loop = asyncio.get_running_loop()
        # A connection is known to the server only a little later: those that come at once are counted then.
        if self._counting is None:
            self._counting = loop.call_later(COUNT_AFTER_S, self._count_again)
        connection = Connection(self._runner.server)
        self._silent[connection] = loop.call_later(HEAD_MAX_S, self._close, connection)
        return connection

    def _close(self, connection: web.RequestHandler) -> None:
        del self._silent[connection]
        connection.force_close()

    def _count_again(self) -> None:
        self._counting = None
        self._close_oldest(CONNECTIONS_MAX)

    def _close_oldest(self, left: int) -> None:
        assert self._runner.server is not None
        # Those without a transport are closed already, and only on their way out.
        living = [
            each
            for each in self._runner.server.connections
            if each.transport is not None and each not in self._streaming
        ]
        for connection in living[:-left]:
            connection.force_close()
