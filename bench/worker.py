"""How many CPU seconds does the whole way take for a million records, in one saturated worker?

Market, records, encoding, packing, signing, sending and accounting, against `tickerd local --discard` on the
second core: in each mode, and if asked for by TLS, where calls take a while, and with more workers, of whom
the second has that core too. Beside each bare `encode_lines` of the same records, in turns of a second with
the worker, which is stopped meanwhile unless it has a rate: busy neighbours, who come and go within seconds,
slow down both alike.
"""

import argparse
import os
import statistics
import time
from contextlib import nullcontext
from itertools import product
from typing import NamedTuple

from processes import cpu_seconds, local, metrics, run, stopped, wait_for_acks, worker_pids
from recorded import record
from reference import encode_lines
from tls_front import Front

MODES = {"plain": "none", "kpl": "kpl", "lines": "lines"}
LOCAL = ("--shards", "64", "--discard", "--no-shard-limits")
SATURATING = 2_000_000  # records/s: more than a worker can
TURN_S = 1.0  # of the worker
REFERENCES_A_TURN = 20  # a fifth of a second


class Way(NamedTuple):
    """What is measured. `rate`: of each worker; None: as much as it can."""

    mode: str
    request: str
    tls: bool
    latency_ms: int
    workers: int
    rate: int | None


def worker(way: Way, front: Front | None, seconds: float) -> dict[str, float]:
    """The workers between two looks at their counters, after they have warmed up. `front` speaks TLS."""
    settings = {
        "rate.records_per_second": way.workers * (way.rate or SATURATING),
        "kinesis.shard_limits": False,
        "kinesis.aggregation": MODES[way.mode],
        "kinesis.request": way.request,
        "source.workers": way.workers,
    }
    with (
        local(*LOCAL, "--faults", f"latency_ms={way.latency_ms}") as (plain, server),
        front.before(plain) if front is not None and way.tls else nullcontext(plain) as endpoint,
        run(endpoint, **settings) as address,
    ):
        wait_for_acks(address)
        time.sleep(3)
        # Who has a rate would catch up what it missed.
        turned_off = worker_pids(address) if way.rate is None else []
        before, server_before, ran, references = metrics(address), cpu_seconds(server), 0.0, list[float]()
        while ran < seconds:
            began = time.monotonic()
            time.sleep(TURN_S)
            ran += time.monotonic() - began
            with stopped(turned_off):
                began = time.monotonic()
                references.append(encode_lines(REFERENCES_A_TURN))
                ran += 0.0 if turned_off else time.monotonic() - began
        after, server_after = metrics(address), cpu_seconds(server)
    reference = statistics.fmean(references)
    acked = after["tickerd_records_acked_total"] - before["tickerd_records_acked_total"]
    cpu = after["tickerd_worker_cpu_seconds_total"] - before["tickerd_worker_cpu_seconds_total"]
    return {
        "ratio": round(cpu / acked * 1e6 / reference, 2),
        "encode_lines_cpu_s_per_million": round(reference, 3),
        "cpu_s_per_million": round(cpu / acked * 1e6, 3),
        "records_per_second": round(acked / ran),
        "cores": round(cpu / ran, 2),
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
    parser.add_argument("--rate", type=int, help="records/s of each worker (as many as it can)")
    parser.add_argument("--workers", type=int, action="append", help="on as many cores (1)")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    ways = product(
        chosen.mode or MODES,
        [chosen.request],
        (False, True) if chosen.tls else (False,),
        chosen.latency_ms or [0],
        chosen.workers or [1],
        [chosen.rate],
    )
    with Front() if chosen.tls else nullcontext(None) as front:
        for way in map(Way._make, ways):
            record("worker", **way._asdict(), **worker(way, front, chosen.seconds))


if __name__ == "__main__":
    main()
