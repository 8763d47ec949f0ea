"""Bodies as they are sent: encoded, compressed and tagged once, for everybody who asks for the same."""

import gzip
import hashlib
import sys
from functools import lru_cache
from typing import NamedTuple

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

IDENTITY = "identity"
CODINGS = ("zstd", "gzip", IDENTITY)
"""Content codings, the one that is preferred among equals first."""

GZIP_LEVEL, ZSTD_LEVEL = 6, 3
SMALL_BYTES = 1024  # what fits into one packet anyway is not compressed
ACCEPT_CHARACTERS_MAX = 200  # of a header worth to be remembered


class Encoded(NamedTuple):
    """A body in one coding, with its strong entity tag (RFC 9110, 8.8.3), which no other bytes have."""

    coding: str
    body: bytes
    etag: str


Body = dict[str, Encoded]
"""By coding."""


def encoded(content: bytes, codings: tuple[str, ...] = CODINGS) -> Body:
    """The content in these codings; a small one only as it is."""
    if len(content) < SMALL_BYTES:
        codings = (IDENTITY,)
    return {coding: _tagged(coding, _compressed(content, coding)) for coding in codings}


def _compressed(content: bytes, coding: str) -> bytes:
    match coding:
        case "zstd":
            return zstd.compress(content, ZSTD_LEVEL)
        case "gzip":
            return gzip.compress(content, GZIP_LEVEL, mtime=0)
    return content


def _tagged(coding: str, body: bytes) -> Encoded:
    return Encoded(coding, body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"')


def coding_for(accept: str) -> str:
    """The coding for an Accept-Encoding header (RFC 9110, 12.5.3); identity when none of ours is wanted."""
    return _coding_for(accept) if len(accept) <= ACCEPT_CHARACTERS_MAX else IDENTITY


@lru_cache(maxsize=256)
def _coding_for(accept: str) -> str:
    wanted: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, _, parameters = part.partition(";")
        wanted[name.strip()] = _quality(parameters)
    if "x-gzip" in wanted:
        wanted.setdefault("gzip", wanted["x-gzip"])
    others = wanted.get("*", 0.0)
    # Whoever names other codings takes the body as it is too, but only where none of them can be had.
    qualities = {coding: wanted.get(coding, others) for coding in CODINGS[:-1]}
    qualities[IDENTITY] = wanted.get(IDENTITY, wanted.get("*", 0.001))
    best = max(CODINGS, key=lambda coding: qualities[coding])
    return best if qualities[best] > 0 else IDENTITY


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0


@lru_cache(maxsize=64)
def tags_of(header: str) -> frozenset[str]:
    """The entity tags of an If-None-Match header, compared weakly as it asks for (RFC 9110, 13.1.2)."""
    return frozenset(tag.strip().removeprefix("W/") for tag in header.split(","))
