"""POST requests through a proxy (HTTP_PROXY, HTTPS_PROXY): aiohttp's affair, at aiohttp's speed."""

import asyncio
import io
import ssl
from collections.abc import Mapping

import aiohttp

from tickerd.kinesis.http import Endpoint, Times

LARGE_BYTES = 1024 * 1024  # bodies beyond it are sent in pieces, so that the event loop turns meanwhile


class ProxyConnectionError(ConnectionError):
    """The proxy does not answer."""


class Proxied:
    """What `http.Connections` is, through a proxy."""

    def __init__(
        self,
        endpoint: Endpoint,
        proxy: str,
        most: int,
        secure: ssl.SSLContext | None,
        times: Times,
    ) -> None:
        self.endpoint = endpoint
        scheme = "https" if endpoint.secure else "http"
        self._url = f"{scheme}://{endpoint.authority}{endpoint.path}"
        self._proxy = proxy
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=most, ssl=secure or False),
            timeout=aiohttp.ClientTimeout(total=times.answer_max_s, connect=times.connect_max_s),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
        )

    async def post(self, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Send a request, and return the answer's status and body. TimeoutError, or another OSError."""
        data = body if len(body) <= LARGE_BYTES else io.BytesIO(body)
        try:
            async with self._session.post(self._url, data=data, headers=headers, proxy=self._proxy) as answer:
                return answer.status, await answer.read()
        except aiohttp.ClientProxyConnectionError as error:
            raise ProxyConnectionError(str(error)) from error
        except TimeoutError:  # some of aiohttp's are both
            raise
        except (aiohttp.ClientError, asyncio.IncompleteReadError) as error:
            raise ConnectionError(str(error)) from error

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()
