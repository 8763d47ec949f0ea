"""AWS Signature Version 4 of one kind of request: a POST of a body to one URL, again and again.

What calls have in common is made once a second for given credentials; a call costs its body's SHA-256 and
two short hashes more. How the signature is made: IAM User Guide, "Create a signed AWS API request".
"""

import hmac
import time
from hashlib import sha256
from typing import NamedTuple, Protocol
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"


class Credentials(Protocol):
    """What botocore calls frozen credentials."""

    @property
    def access_key(self) -> str:
        """The name of the key."""

    @property
    def secret_key(self) -> str:
        """The key."""

    @property
    def token(self) -> str | None:
        """The session's token, of temporary credentials."""


class UnusableCredentialsError(ValueError):
    """Credentials that no header can carry."""


class _Frame(NamedTuple):
    """What the signatures of a second have in common."""

    headers: dict[str, str]
    canonical_start: bytes  # the canonical request, but for the body's digest at its end
    to_sign_start: bytes  # the string to sign, but for the canonical request's digest at its end
    mac: hmac.HMAC  # with the day's key, and nothing else yet
    authorization_start: str


class Signer:
    """Signs requests to `host` (as in the Host header) and `path` (as in the request line) with `headers`."""

    def __init__(self, service: str, region: str, host: str, path: str, headers: dict[str, str]) -> None:
        self._service = service
        self._region = region
        self._headers = {"Host": host, **headers}
        self._canonical_path = quote(path, safe="/~")  # once more than in the request line, but for S3
        self._second = -1
        self._credentials: Credentials | None = None
        self._frame: _Frame
        self._keys: dict[tuple[str, str], bytes] = {}

    def headers(self, credentials: Credentials, body: bytes, now_s: float) -> dict[str, str]:
        """All headers of the request but those of the connection; UnusableCredentialsError."""
        second = int(now_s)
        if second != self._second or credentials != self._credentials:
            self._frame = self._new_frame(credentials, second)
            self._second, self._credentials = second, credentials
        frame = self._frame
        canonical = frame.canonical_start + sha256(body).hexdigest().encode()
        to_sign = frame.to_sign_start + sha256(canonical).hexdigest().encode()
        mac = frame.mac.copy()  # beside large bodies 3 us; setting up a new one takes 30 us of a cold cache
        mac.update(to_sign)
        return {**frame.headers, "Authorization": frame.authorization_start + mac.hexdigest()}

    def _new_frame(self, credentials: Credentials, second: int) -> _Frame:
        timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        headers = {**self._headers, "X-Amz-Date": timestamp}
        if credentials.token:
            headers["X-Amz-Security-Token"] = credentials.token
        if not (credentials.access_key + (credentials.token or "")).isprintable():
            raise UnusableCredentialsError("the access key or the session token has a control character")
        lower = sorted((name.lower(), " ".join(value.split())) for name, value in headers.items())
        names = ";".join(name for name, _ in lower)
        lines = "".join(f"{name}:{value}\n" for name, value in lower)
        date = timestamp[:8]
        scope = f"{date}/{self._region}/{self._service}/aws4_request"
        return _Frame(
            headers,
            f"POST\n{self._canonical_path}\n\n{lines}\n{names}\n".encode(),
            f"{ALGORITHM}\n{timestamp}\n{scope}\n".encode(),
            hmac.new(self._key(credentials.secret_key, date), digestmod="sha256"),
            f"{ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature=",
        )

    def _key(self, secret: str, date: str) -> bytes:
        """The key for a day; only the last one is kept."""
        key = self._keys.get((secret, date))
        if key is None:
            key = f"AWS4{secret}".encode()
            for part in (date, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._keys = {(secret, date): key}
        return key
