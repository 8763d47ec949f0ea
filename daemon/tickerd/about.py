"""What a setting is beside its type, and the forms of text that settings have.

Pure functions; which settings there are is settings.py's business, how they are checked that of checks.py.
"""

import ipaddress
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit


def always(_value: object) -> bool:
    """For settings whose type and range say everything."""
    return True


class About(NamedTuple):
    """What a setting is beside its type; `tickerd config` and the errors are written from it."""

    text: str
    low: float = -math.inf
    high: float = math.inf
    unit: str = ""
    right: str = ""  # what would be right, where type and range do not say it
    valid: Callable[[Any], bool] = always  # called with a value of the right type and range


def looks_like(pattern: str) -> Callable[[str], bool]:
    """Whether a whole text matches a regular expression."""
    return lambda text: re.fullmatch(pattern, text) is not None


def listen_address(listen: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[IPv6 address]:port`; ValueError when it is neither."""
    host, _, port = listen.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    elif not re.fullmatch(r"[A-Za-z0-9._-]+", host):
        raise ValueError(f"no host in {listen}")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError(f"no port in {listen}")
    return host, int(port)


def is_listen_address(text: str) -> bool:
    """Whether it is what `listen_address` takes."""
    try:
        listen_address(text)
    except ValueError:
        return False
    return True


def is_endpoint(text: str) -> bool:
    """Empty, or an http(s) URL of host, port and path that every client library will take."""
    try:
        url = urlsplit(text)
        host = url.hostname if url.port != 0 else None
    except ValueError:
        return False
    plain = re.fullmatch(r"[A-Za-z]+://[^\s@?#]+", text) and host and re.fullmatch(r"[A-Za-z0-9._:-]+", host)
    return not text or (url.scheme in {"http", "https"} and bool(plain))


def is_grpc_endpoint(text: str) -> bool:
    """Empty, or host and port with or without http:// before it."""
    return not text or (is_listen_address(text.removeprefix("http://")) and not text.endswith(":0"))


def is_in_thousandths(number: float) -> bool:
    """Whether a rate is a whole number of milli-records, so that none is rounded away."""
    return round(number, 3) == number
