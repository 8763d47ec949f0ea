"""What do listeners to /events cost the supervisor, and does the worker notice?

A daemon at a steady rate on the first core; listeners on the other one read all that comes.
"""

import argparse
import asyncio
import time

import uvloop

from processes import local, metrics, run, wait_for_acks
from recorded import record
from stairs import lag_s

RATE = 20_000  # records/s
LISTENERS = (0, 1, 500)
SETTLE_S = 3.0
DOOR = 32  # listeners that come at the same time: the web side has room for so many that ask


async def listen(host: str, port: int, until_s: float, heard: list[int], door: asyncio.Semaphore) -> None:
    """One listener: counts bytes and events until a monotonic time."""
    async with door:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET /events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"bench/events.py: /events answers {head.splitlines()[0].decode()}")
    try:
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + until_s - time.monotonic()):
            while chunk := await reader.read(1 << 20):
                heard[0] += len(chunk)
                heard[1] += chunk.count(b"event: tick")
    except TimeoutError:
        pass
    writer.close()


async def crowd(address: str, listeners: int, seconds: float) -> tuple[list[int], dict[str, float], float]:
    """So many listeners: [bytes, ticks] heard, how the metrics grew, and the seconds that passed."""
    host, _, port = address.removeprefix("http://").partition(":")
    heard = [0, 0]
    until_s = time.monotonic() + 2 * SETTLE_S + seconds + 2
    door = asyncio.Semaphore(DOOR)
    waiting = [asyncio.create_task(listen(host, int(port), until_s, heard, door)) for _ in range(listeners)]
    await asyncio.sleep(2 * SETTLE_S)
    heard[:] = [0, 0]
    before, then = await asyncio.to_thread(metrics, address), time.monotonic()
    await asyncio.sleep(seconds)
    after, now = await asyncio.to_thread(metrics, address), time.monotonic()
    measured = list(heard)
    await asyncio.gather(*waiting)
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    return measured, grown, now - then


def main() -> None:
    """A row for each number of listeners."""
    parser = argparse.ArgumentParser(description="listeners to /events")
    parser.add_argument("--seconds", type=float, default=20)
    seconds = parser.parse_args().seconds
    with local("--discard", "--no-shard-limits", "--shards", "16") as (endpoint, _):
        settings = {"rate.records_per_second": RATE, "kinesis.shard_limits": False}
        with run(endpoint, **settings) as address:
            wait_for_acks(address)
            time.sleep(SETTLE_S)
            for listeners in LISTENERS:
                (received, ticks), grown, passed_s = uvloop.run(crowd(address, listeners, seconds))
                record(
                    "events",
                    listeners=listeners,
                    supervisor_cpu_share=round(grown["process_cpu_seconds_total"] / passed_s, 4),
                    events_per_listener_s=round(ticks / max(listeners, 1) / passed_s, 2),
                    bytes_per_event=round(received / max(ticks, 1)),
                    dropped=round(grown["tickerd_events_dropped_total"]),
                    worker_cpu_share=round(grown["tickerd_worker_cpu_seconds_total"] / passed_s, 3),
                    acked_per_s=round(grown["tickerd_records_acked_total"] / passed_s),
                    lag_s=round(lag_s(address), 2),
                )


if __name__ == "__main__":
    main()
