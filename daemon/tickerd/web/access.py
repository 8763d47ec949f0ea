"""Who may do what: the token of control requests, the certificate, and the headers that browsers heed.

Health and the page's files are everybody's; reading is too unless `web.read_needs_token`; changing anything
needs the token, or the control socket, whose file's permissions decide.
"""

import hmac
import logging
import secrets
import socket
import ssl
import stat
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from tickerd.checkpoint import replace_durably
from tickerd.config import SettingsError
from tickerd.settings import Settings
from tickerd.state import StateError
from tickerd.web.problem import ProblemError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEALTH = {"/livez", "/readyz", "/healthz"}
PAGE = "/page/"  # below it lie the files of the live page, which hold no data
OPEN = HEALTH | {"/", "/control"}  # the last one says only whether a token is right, without one
READING = {"GET", "HEAD"}
TOKEN_CHARACTERS_MIN = 16
DENIED_PAUSE_S = 10.0  # between two log lines about requests without the token
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}

log = logging.getLogger(__name__)


class Access:
    """The secrets of the web side, read at the start and at every reload.

    SettingsError when a file that a setting names is not what it should be; StateError when the state
    directory's own token cannot be had.
    """

    def __init__(self, settings: Settings, state: Path) -> None:
        self._settings = settings.web
        self._state = state
        self._denied = 0
        self._denied_told_s = -DENIED_PAUSE_S
        self.tls: ssl.SSLContext | None = None
        if self._settings.tls_certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._token = b""
        self.refresh()

    def refresh(self) -> None:
        """Read the token and the certificate again; what is in force stays when that fails."""
        token = self._read_token()
        if self.tls is not None:
            self._load_certificate(self.tls)
        self._token = token

    def _read_token(self) -> bytes:
        if self._settings.token_file:
            path = Path(self._settings.token_file)
            try:
                token = path.read_bytes().strip()
            except OSError as error:
                right = "name a file that this user can read"
                raise SettingsError([f"web.token_file: {path}: {error.strerror}; {right}"]) from error
            if not _is_token(token):
                right = f"one line of at least {TOKEN_CHARACTERS_MIN} printable characters without spaces"
                raise SettingsError([f"web.token_file: {path} holds no token; {right}"])
            _warn_if_open(path)
            return token
        path = self._state / "token"
        remedy = "remove it, and the next start writes another token"
        try:
            if not path.exists():
                replace_durably(path, secrets.token_urlsafe(32).encode() + b"\n", 0o600)
            token = path.read_bytes().strip()
        except OSError as error:
            raise StateError(f"{path}: {error.strerror}; {remedy}") from error
        if not _is_token(token):  # an empty one would let everybody in
            raise StateError(f"{path} holds no token; {remedy}")
        _warn_if_open(path)
        return token

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        certificate, key = self._settings.tls_certificate, self._settings.tls_key
        try:
            context.load_cert_chain(certificate, key)
        except OSError as error:  # ssl.SSLError is one
            what = error.strerror or "not a certificate with its key"
            fault = f"web.tls_certificate: {certificate} with {key}: {what}; PEM files that belong together"
            raise SettingsError([fault]) from error

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request through that may pass."""
        known = request.match_info.http_exception is None  # what is not there is no secret
        if known and self._is_guarded(request) and not self._is_trusted(request):
            self._tell_denied(request)
            denied = ProblemError(401, "the token is missing or wrong; Authorization: Bearer …").response()
            denied.headers["WWW-Authenticate"] = "Bearer"
            return denied
        return await handler(request)

    @property
    def read_needs_token(self) -> bool:
        """Whether reading needs the token too."""
        return self._settings.read_needs_token

    def trusts(self, request: web.Request) -> bool:
        """Whether a request comes with the token; a wrong one is told in the log."""
        trusted = self._is_trusted(request)
        if not trusted and "Authorization" in request.headers:
            self._tell_denied(request)
        return trusted

    def _is_guarded(self, request: web.Request) -> bool:
        if request.method in READING:
            is_open = request.path in OPEN or request.path.startswith(PAGE)
            return self.read_needs_token and not is_open
        return True

    def _is_trusted(self, request: web.Request) -> bool:
        connection = request.transport.get_extra_info("socket") if request.transport else None
        if (
            connection is not None
            and connection.family == socket.AF_UNIX
            and connection.getsockname() == self._settings.control_socket
        ):
            return True  # its file's permissions have decided; another unix socket is like any address
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # Both are compared whole, whatever their first difference: its place takes no part in the time.
        is_right = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self._token)
        return scheme.lower() == "bearer" and is_right

    def _tell_denied(self, request: web.Request) -> None:
        self._denied += 1
        if time.monotonic() - self._denied_told_s >= DENIED_PAUSE_S:
            self._denied_told_s = time.monotonic()
            log.warning("requests without the token", extra={"count": self._denied, "from": request.remote})
            self._denied = 0


def _is_token(token: bytes) -> bool:
    return len(token) >= TOKEN_CHARACTERS_MIN and all(33 <= byte < 127 for byte in token)


def _warn_if_open(path: Path) -> None:
    """Say that more people than should can read a token."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & stat.S_IRWXO:
        log.warning("%s holds the control token, and everybody may read it (mode %o); chmod 640", path, mode)


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """What every answer says besides its content; a page with scripts brings a policy of its own."""
    set_headers(response)


def set_headers(response: web.StreamResponse) -> None:
    """The same, for an answer that no application prepares."""
    response.headers["Server"] = "tickerd"  # and not which libraries it is made of
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
