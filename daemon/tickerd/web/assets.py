"""The files of the live page: read once, served as they lie in the package, below a path with their digest.

`index.html` refers to the others below `page/`; it is answered with the digest of all files in that place, so
that they may be kept for ever, and another version of the daemon has other addresses.
"""

import gzip
import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from aiohttp import web

from tickerd.web.problem import ProblemError

TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
    "txt": "text/plain",
}
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
DIGEST_CHARACTERS = 16


class Asset(NamedTuple):
    """A file as it is sent."""

    content_type: str
    body: bytes
    zipped: bytes
    etag: str


def _asset(name: str, body: bytes) -> Asset:
    kind = TYPES[name.rpartition(".")[2]]
    zipped = body if kind.startswith("font/") else gzip.compress(body, mtime=0)
    return Asset(kind, body, zipped, hashlib.sha256(body).hexdigest()[:DIGEST_CHARACTERS])


def _below(directory: Traversable, prefix: str = "") -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for entry in sorted(directory.iterdir(), key=lambda each: each.name):
        if entry.is_dir():
            found |= _below(entry, f"{prefix}{entry.name}/")
        elif entry.name.rpartition(".")[2] in TYPES:
            found[prefix + entry.name] = entry.read_bytes()
    return found


class Assets:
    """The page and what it needs."""

    def __init__(self) -> None:
        bodies = _below(files("tickerd.web") / "page")
        content = b"".join(name.encode() + b"\0" + body for name, body in bodies.items())
        self.digest = hashlib.sha256(content).hexdigest()[:DIGEST_CHARACTERS]
        index = bodies.pop("index.html").replace(b'"page/', f'"page/{self.digest}/'.encode())
        self._index = _asset("index.html", index)
        self._files = {name: _asset(name, body) for name, body in bodies.items()}

    def add_to(self, app: web.Application) -> None:
        """Add `/` and `/page/…`."""
        app.router.add_get("/", self._answer_index)
        app.router.add_get("/page/{digest}/{name:.+}", self._answer_file)

    async def _answer_index(self, request: web.Request) -> web.Response:
        return self._answer(request, self._index, "no-cache")

    async def _answer_file(self, request: web.Request) -> web.Response:
        asset = self._files.get(request.match_info["name"])
        if asset is None or request.match_info["digest"] != self.digest:
            return ProblemError(404, "no such file; load the page again").response()
        return self._answer(request, asset, "public, max-age=31536000, immutable")

    def _answer(self, request: web.Request, asset: Asset, caching: str) -> web.Response:
        zips = asset.zipped is not asset.body and "gzip" in request.headers.get("Accept-Encoding", "")
        etag = asset.etag + ("-gzip" if zips else "")
        headers = {
            "Cache-Control": caching,
            "Content-Security-Policy": POLICY,
            "ETag": f'"{etag}"',
            "Vary": "Accept-Encoding",
        }
        if any(known.value in {etag, "*"} and not known.is_weak for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        if zips:
            headers["Content-Encoding"] = "gzip"
        return web.Response(
            body=asset.zipped if zips else asset.body,
            headers=headers | {"Content-Type": f"{asset.content_type}; charset=utf-8"},
        )
