"""Application default credentials: found once, their token renewed in a thread well before it expires."""

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime

import google.auth
import google.auth.transport.requests
from google.auth.exceptions import GoogleAuthError

from tickerd.pubsub.cause import NotReadyError, no_credentials, not_renewed

SCOPES = ("https://www.googleapis.com/auth/pubsub",)
RENEW_AHEAD_S = 300.0  # tokens last an hour, mostly
RENEW_PAUSE_S = 10.0  # after a token that could not be had
FOREVER_S = 3600.0  # of tokens that do not say when they expire

log = logging.getLogger(__name__)
logging.getLogger("google.auth").setLevel(logging.CRITICAL)  # what it has to say, the causes say


class Credentials:
    """`headers` are what a call needs; `project` is that of the credentials, if they have one."""

    def __init__(self) -> None:
        self.project = ""
        self.headers: tuple[tuple[str, str], ...] = ()
        self._found: google.auth.credentials.Credentials | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """Find the credentials and their first token; NotReadyError when there is none."""
        if self._found is None:
            try:
                self._found, project = await asyncio.to_thread(google.auth.default, scopes=SCOPES)
            except (GoogleAuthError, OSError, ValueError) as error:
                raise NotReadyError(no_credentials(str(error))) from error
            self.project = project or ""
        await self.renew()
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew_ahead())

    async def renew(self) -> None:
        """Have a new token; NotReadyError when there is none. Who asks meanwhile gets the same."""
        if self._lock.locked():
            async with self._lock:
                return
        async with self._lock:
            assert self._found is not None
            try:
                await asyncio.to_thread(self._refresh)
            except (GoogleAuthError, OSError, ValueError) as error:
                raise NotReadyError(not_renewed(str(error))) from error
            headers = [("authorization", f"Bearer {self._found.token}")]
            if quota_project := getattr(self._found, "quota_project_id", None):
                headers.append(("x-goog-user-project", quota_project))
            self.headers = tuple(headers)

    def _refresh(self) -> None:
        assert self._found is not None
        self._found.refresh(google.auth.transport.requests.Request())  # type: ignore[no-untyped-call]

    async def _renew_ahead(self) -> None:
        wait_s = self._left_s() - RENEW_AHEAD_S
        while True:
            await asyncio.sleep(max(RENEW_PAUSE_S, wait_s))
            try:
                await self.renew()
                wait_s = self._left_s() - RENEW_AHEAD_S
            except NotReadyError as error:  # the old token is still good; calls tell when it is not
                log.debug("%s", error)
                wait_s = RENEW_PAUSE_S

    def _left_s(self) -> float:
        """How long the token is good."""
        expiry: datetime | None = getattr(self._found, "expiry", None)
        if expiry is None:
            return FOREVER_S
        return (expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()

    async def close(self) -> None:
        """Renew no more."""
        if self._renewing is not None:
            self._renewing.cancel()
            with suppress(asyncio.CancelledError):
                await self._renewing
