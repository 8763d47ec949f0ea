"""How many times the records per CPU second does `/logs` serve that the usual way does, and what is a 304?

The same body of the same rows from both, in one run, each from the first core, the clients on the other:
tickerd's `/logs`, and Flask, SQLAlchemy and SQLite under gunicorn (bench/sample_app.py).
"""

import argparse
import json
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from http_load import load
from processes import cpu_seconds, free_port, local, metrics, on_cores, run, wait_for_acks
from recorded import record

SAMPLE = "flask, sqlalchemy, sqlite, gunicorn"


@contextmanager
def sample(body: bytes) -> Iterator[tuple[str, Callable[[], float]]]:
    """The usual way with these rows: its address, and the CPU seconds of its processes so far."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        rows = Path(directory) / "rows.json"
        rows.write_bytes(body)
        environment = os.environ | {
            "SAMPLE_DATABASE": str(Path(directory) / "sample.db"),
            "SAMPLE_ROWS": str(rows),
        }
        command = [sys.executable, "-m", "gunicorn", "--workers", "1", "--bind", f"127.0.0.1:{port}"]
        command += ["--no-control-socket", "--log-level", "error", "sample_app:create_app()"]
        here = Path(__file__).resolve().parent
        with on_cores([0], command, env=environment, cwd=here) as gunicorn:
            address = f"http://127.0.0.1:{port}"
            until_served(f"{address}/logs")
            yield address, lambda: sum(map(cpu_seconds, family(gunicorn.pid)))


def family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def until_served(url: str) -> bytes:
    """The body, once there is somebody to answer."""
    ends = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own address
                body: bytes = answer.read()
                return body
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)


def measure(
    way: str, address: str, cpu_s: Callable[[], float], seconds: float, records: int, headers: str = ""
) -> float:
    """One row; the records for each CPU second (of a 304 there are none)."""
    uvloop.run(load(address, "/logs", seconds / 4, headers))  # warm
    before = cpu_s()
    took_s, received = uvloop.run(load(address, "/logs", seconds, headers))
    used_s = cpu_s() - before
    rate = len(took_s) * records / used_s
    record(
        "http_ratio",
        way=way,
        asked=headers.strip() or "-",
        requests_per_s=round(len(took_s) / seconds),
        cpu_us_per_request=round(used_s / len(took_s) * 1e6, 1),
        bytes=round(received / len(took_s)),
        records_per_cpu_s=round(rate),
    )
    return rate


def main() -> None:
    """Measure both, and say the ratio."""
    parser = argparse.ArgumentParser(description="`/logs` beside the usual way")
    parser.add_argument("--seconds", type=float, default=5, help="of each row")
    seconds = parser.parse_args().seconds
    # The stream goes on beside it, at a rate that leaves the core to the web side.
    settings: dict[str, object] = {"rate.records_per_second": 100, "database.url": ""}
    with local("--discard", "--no-shard-limits") as (endpoint, _), run(endpoint, **settings) as address:
        wait_for_acks(address)
        body = until_served(f"{address}/logs")
        records = sum(map(len, json.loads(body).values()))

        def cpu_s() -> float:
            return metrics(address)["process_cpu_seconds_total"]

        ours = measure("tickerd", address, cpu_s, seconds, records)
        measure("tickerd", address, cpu_s, seconds, records, "Accept-Encoding: gzip\r\n")
        measure("tickerd", address, cpu_s, seconds, records, "Accept-Encoding: zstd\r\n")
        measure("tickerd", address, cpu_s, seconds, 0, "If-None-Match: *\r\n")
    with sample(body) as (address, sample_cpu_s):
        if json.loads(until_served(f"{address}/logs")) != json.loads(body):
            raise SystemExit("bench/http_ratio.py: the sample's body is another one")
        theirs = measure(SAMPLE, address, sample_cpu_s, seconds, records)
    record("http_ratio", way="ratio", records=records, body_bytes=len(body), times=round(ours / theirs, 1))


if __name__ == "__main__":
    main()
