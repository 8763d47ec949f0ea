"""How many records a second do all workers of this machine carry, before they fall behind, and at what cost?

In each mode the rate rises until the daemon lags. `tickerd local --discard` takes one core, the workers the
others. `--speed FILE` writes the curve that `tickerd plan --speed FILE` and bench/sizing.py go by.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from processes import cpu_seconds, local, metrics, run, wait_for_acks
from recorded import commit, machine, record
from stairs import Step, climb

LOCAL = ("--shards", "64", "--discard", "--no-shard-limits")
MODES = {"none": "plain", "kpl": "kpl", "lines": "lines"}
SHARES = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1)  # of what the probe reached
SHARES_SHORT = (0.25, 0.6, 0.9)
SATURATING = 2_000_000  # records/s of a worker: more than any can
LOCAL_BUSY = 0.95  # of its core: then it is the endpoint that is measured


def probe(endpoint: str, workers: int, seconds: float, settings: dict[str, object]) -> tuple[float, float]:
    """Records/s of all workers when they have no rest, and bytes of a record with its key."""
    with run(endpoint, **settings, **{"rate.records_per_second": SATURATING * workers}) as address:
        wait_for_acks(address)
        time.sleep(2)
        before, then = metrics(address), time.monotonic()
        time.sleep(seconds)
        after, now = metrics(address), time.monotonic()
    acked = after["tickerd_records_acked_total"] - before["tickerd_records_acked_total"]
    sent = after["tickerd_bytes_acked_total"] - before["tickerd_bytes_acked_total"]
    return acked / (now - then), sent / acked


def measure(mode: str, workers: int, seconds: float, shares: tuple[float, ...]) -> dict[str, Any]:
    """Climb in one mode until it lags; the curve as `tickerd plan` reads it."""
    settings: dict[str, object] = {
        "kinesis.aggregation": mode,
        "kinesis.shard_limits": False,
        "source.workers": workers,
    }
    kept: list[Step] = []
    with local(*LOCAL, core=workers) as (endpoint, server):
        most, record_bytes = probe(endpoint, workers, seconds, settings)
        rates = [max(1, round(share * most / workers)) * workers for share in shares]
        spent_s, then = cpu_seconds(server), time.monotonic()
        for step in climb(endpoint, rates, seconds, **settings):
            busy = (cpu_seconds(server) - spent_s) / (time.monotonic() - then)
            spent_s, then = cpu_seconds(server), time.monotonic()
            record(
                "host",
                mode=MODES[mode],
                workers=workers,
                wanted=step.target,
                acked=round(step.acked),
                cores=round(step.cpu, 2),
                lag_s=round(step.lag_s, 2),
                p99_s=round(step.p99_s, 3),
                kept_up=step.kept_up,
            )
            if busy > LOCAL_BUSY:
                print("  tickerd local has no rest either: more than this is not its workers' limit")
            if not step.kept_up:
                break
            kept.append(step)
    if not kept:
        raise SystemExit(f"bench/host.py: {MODES[mode]}: not even {rates[0]:,} records/s kept up")
    return {
        "record_bytes": round(record_bytes, 1),
        "sustainable_records_per_second": round(kept[-1].target / workers),
        "steps": [
            {
                "records_per_second": round(step.target / workers),
                "cpu": round(step.cpu / workers, 3),
                "delay_p99_s": round(step.p99_s, 3),
            }
            for step in kept
        ],
    }


def main() -> None:
    """Measure every mode."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description="the rate that this machine sustains")
    parser.add_argument("--seconds", type=float, default=8, help="of each step")
    parser.add_argument("--workers", type=int, default=max(1, cores - 1))
    parser.add_argument("--mode", choices=MODES, action="append")
    parser.add_argument("--short", action="store_true", help="three steps instead of eight")
    parser.add_argument("--speed", type=Path, metavar="FILE", help="write the curve for tickerd plan")
    chosen = parser.parse_args()
    shares = SHARES_SHORT if chosen.short else SHARES
    modes = chosen.mode or MODES
    curves = {mode: measure(mode, chosen.workers, chosen.seconds, shares) for mode in modes}
    if chosen.speed:
        speed = {
            "machine": machine(),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "commit": commit(),
            "workers": chosen.workers,
            "modes": curves,
        }
        chosen.speed.write_text(json.dumps(speed, indent=1) + "\n")


if __name__ == "__main__":
    main()
