"""How many CPU seconds does the whole way take for a million records, in one saturated worker?

Market, records, encoding, packing, signing, sending and accounting, against `tickerd local --discard` on the
other core: in each mode, and if asked for by TLS and where calls take a while. Beside each, measured before
and after it: bare `encode_lines` of the same records, which busy neighbours slow down as they do the worker.
"""

import argparse
import os
import time
from contextlib import nullcontext
from itertools import product

from processes import cpu_seconds, local, metrics, run, wait_for_acks
from recorded import record
from reference import encode_lines
from tls_front import Front

MODES = {"plain": "none", "kpl": "kpl", "lines": "lines"}
LOCAL = ("--shards", "64", "--discard", "--no-shard-limits")


def worker(
    aggregation: str, request: str, latency_ms: int, front: Front | None, seconds: float
) -> dict[str, float]:
    """A saturated worker between two looks at its counters, after it has warmed up."""
    settings = {
        "rate.records_per_second": 2_000_000,
        "kinesis.shard_limits": False,
        "kinesis.aggregation": aggregation,
        "kinesis.request": request,
    }
    with (
        local(*LOCAL, "--faults", f"latency_ms={latency_ms}") as (plain, server),
        nullcontext(plain) if front is None else front.before(plain) as endpoint,
        run(endpoint, **settings) as address,
    ):
        wait_for_acks(address)
        time.sleep(3)
        before, server_before, began = metrics(address), cpu_seconds(server), time.monotonic()
        time.sleep(seconds)
        after, server_after, ended = metrics(address), cpu_seconds(server), time.monotonic()
    acked = after["tickerd_records_acked_total"] - before["tickerd_records_acked_total"]
    cpu = after["tickerd_worker_cpu_seconds_total"] - before["tickerd_worker_cpu_seconds_total"]
    return {
        "cpu_s_per_million": round(cpu / acked * 1e6, 3),
        "records_per_second": round(acked / (ended - began)),
        "cores": round(cpu / (ended - began), 2),
        "resident_mb": round(after["tickerd_worker_resident_memory_bytes"] / 1e6, 1),
        "local_cpu_s_per_million": round((server_after - server_before) / acked * 1e6, 3),
    }


def main() -> None:
    """Measure each mode, in each way that is asked for."""
    parser = argparse.ArgumentParser(description="CPU seconds per million records, the whole way")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--mode", choices=MODES, action="append")
    parser.add_argument("--request", choices=("json", "cbor"), default="json", help="its format")
    parser.add_argument("--tls", action="store_true", help="by TLS too")
    parser.add_argument("--latency-ms", type=int, action="append", help="of a call (0)")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    ways = product(chosen.mode or MODES, (False, True) if chosen.tls else (False,), chosen.latency_ms or [0])
    with Front() if chosen.tls else nullcontext(None) as front:
        for mode, tls, latency_ms in ways:
            before = encode_lines()
            figures = worker(MODES[mode], chosen.request, latency_ms, front if tls else None, chosen.seconds)
            reference = (before + encode_lines()) / 2
            record(
                "worker",
                mode=mode,
                request=chosen.request,
                tls=tls,
                latency_ms=latency_ms,
                ratio=round(figures["cpu_s_per_million"] / reference, 2),
                encode_lines_cpu_s_per_million=round(reference, 3),
                **figures,
            )


if __name__ == "__main__":
    main()
