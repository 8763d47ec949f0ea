"""The EC2 instance metadata service, version 2 only: what the instance is, and what is about to become of it.

One process of a host asks it, and only where there is a sign of EC2: elsewhere the address leads nowhere.
"""

import asyncio
import logging
import re
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

USUAL_URL = "http://169.254.169.254"
TOKEN_TTL_S = 6 * 3600
ANSWER_MAX_S = 2.0
ANSWER_BYTES_MAX = 16 * 1024
INSTANCE_ID = re.compile(r"i-[0-9a-f]{8,17}")

log = logging.getLogger(__name__)


class MetadataError(Exception):
    """The service does not answer, or not as it should; the message is one line."""


def is_ec2(root: Path = Path("/")) -> bool:
    """Whether the firmware, or the hypervisor, says that this is an EC2 instance."""
    try:
        return (root / "sys/devices/virtual/dmi/id/sys_vendor").read_text().strip() == "Amazon EC2"
    except OSError:
        pass
    try:
        return (root / "sys/hypervisor/uuid").read_text().lower().startswith("ec2")
    except OSError:
        return False


class Metadata:
    """A session with the service; use it as an asynchronous context."""

    def __init__(self, url: str = "") -> None:
        self._url = url or USUAL_URL
        self._token = ""

    async def __aenter__(self) -> Self:
        """Open the session; nothing is asked yet."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_MAX_S)
        # No proxy: the service answers only those who are one hop away.
        self._session = aiohttp.ClientSession(timeout=timeout, trust_env=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        await self._session.close()

    async def get(self, path: str) -> str | None:
        """A page below /latest/meta-data/, or None when there is none (404); MetadataError."""
        for attempt in (1, 2):  # the token may have become old, or be another machine's in a resumed image
            if not self._token:
                self._token = await self._new_token()
            headers = {"X-aws-ec2-metadata-token": self._token}
            status, text = await self._ask("GET", f"/latest/meta-data/{path}", headers)
            if status == 200:
                return text
            if status == 404:
                return None
            self._token = ""
            if status != 401 or attempt == 2:
                break
        raise MetadataError(f"the instance metadata service answers {status} for {path}")

    async def instance_id(self) -> str:
        """This instance's id, or an empty text when it cannot be had."""
        for _ in range(3):
            try:
                found = (await self.get("instance-id") or "").strip()
            except MetadataError as error:
                log.warning("%s", error)
                await asyncio.sleep(0.5)
            else:
                return found if INSTANCE_ID.fullmatch(found) else ""
        return ""

    async def _new_token(self) -> str:
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_TTL_S)}
        status, text = await self._ask("PUT", "/latest/api/token", headers)
        if status != 200:
            raise MetadataError(f"the instance metadata service gives no token (it answers {status})")
        return text

    async def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        try:
            async with self._session.request(
                method, self._url + path, headers=headers, allow_redirects=False
            ) as answer:
                body = await answer.content.read(ANSWER_BYTES_MAX)
                return answer.status, body.decode("utf-8", "replace")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            what = str(error) or type(error).__name__
            raise MetadataError(f"the instance metadata service does not answer ({what})") from error
