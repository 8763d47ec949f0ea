"""How many requests does the web side answer, how fast, at what cost, and does the worker notice?

A daemon at a steady rate; 16 connections ask for a page again and again without a pause, from the other core.
"""

import argparse
import asyncio
import time
import urllib.error
import urllib.request

import numpy as np
import uvloop

from processes import local, metrics, run, wait_for_acks
from recorded import record
from stairs import lag_s

PAGES = ("/livez", "/metrics", "/status", "/logs", "/logs?feed=stock&limit=10")
CONNECTIONS = 16
RATE = 50_000  # records/s


async def ask(host: str, port: int, page: str, ends: float, took_s: list[float], headers: str) -> int:
    """Ask over one connection, or where the server closes it over the next, until a monotonic time.

    The bytes of the bodies.
    """
    reader, writer = await asyncio.open_connection(host, port)
    request = f"GET {page} HTTP/1.1\r\nHost: {host}:{port}\r\n{headers}\r\n".encode()
    received = 0
    while (began := time.monotonic()) < ends:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        status = head[9:12]
        if status not in {b"200", b"304"}:
            raise SystemExit(f"bench/http_load.py: {page} answers {head.splitlines()[0].decode()}")
        if status == b"200":
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            received += len(await reader.readexactly(length))
        took_s.append(time.monotonic() - began)
        if b"connection: close" in head.lower():
            writer.close()
            reader, writer = await asyncio.open_connection(host, port)
    writer.close()
    await writer.wait_closed()
    return received


async def load(address: str, page: str, seconds: float, headers: str = "") -> tuple[list[float], int]:
    """The times of all answers, and the bytes of their bodies; `headers` end with a line's end each."""
    host, _, port = address.removeprefix("http://").partition(":")
    took_s: list[float] = []
    ends = time.monotonic() + seconds
    asking = (ask(host, int(port), page, ends, took_s, headers) for _ in range(CONNECTIONS))
    received = await asyncio.gather(*asking)
    return took_s, sum(received)


def is_served(address: str, page: str) -> bool:
    """Whether this version has the page."""
    try:
        with urllib.request.urlopen(address + page, timeout=10):  # noqa: S310 - our own address
            return True
    except urllib.error.HTTPError:
        return False


def measure(address: str, page: str, seconds: float) -> None:
    """One row."""
    before, then = metrics(address), time.monotonic()
    took_s, received = uvloop.run(load(address, page, seconds))
    after, now = metrics(address), time.monotonic()
    cpu_s = after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
    acked = after["tickerd_records_acked_total"] - before["tickerd_records_acked_total"]
    p50, p99 = np.quantile(took_s, [0.5, 0.99]) * 1000
    record(
        "http",
        page=page,
        requests_per_s=round(len(took_s) / seconds),
        p50_ms=round(float(p50), 2),
        p99_ms=round(float(p99), 2),
        cpu_ms_per_request=round(cpu_s / len(took_s) * 1000, 3),
        bytes=round(received / len(took_s)),
        acked_per_s=round(acked / (now - then)),
        lag_s=round(lag_s(address), 2),
    )


def main() -> None:
    """Measure each page that there is."""
    parser = argparse.ArgumentParser(description="the web side under load")
    parser.add_argument("--seconds", type=float, default=5, help="of each page")
    seconds = parser.parse_args().seconds
    with local("--discard", "--no-shard-limits") as (endpoint, _):
        settings = {"rate.records_per_second": RATE, "kinesis.shard_limits": False}
        with run(endpoint, **settings) as address:
            wait_for_acks(address)
            for page in PAGES:
                if is_served(address, page):
                    measure(address, page, seconds)


if __name__ == "__main__":
    main()
