"""What does tickerd cost when it has little to do, how soon does it deliver, how much memory does it take?

Three runs with one worker against `tickerd local` on the other core: from start to the first acknowledged
record; CPU share at 10 records/s; resident memory at 200,000 records/s.
"""

import argparse
import time

from processes import local, metrics, run, wait_for_acks
from recorded import record


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description="start-up, idle CPU and memory of one worker")
    parser.add_argument("--seconds", type=float, default=20)
    seconds = parser.parse_args().seconds
    with local("--discard") as (endpoint, _):
        began = time.monotonic()
        with run(endpoint, **{"rate.records_per_second": 1000}) as address:
            wait_for_acks(address)
            start_s = time.monotonic() - began
        with run(endpoint, **{"rate.records_per_second": 10}) as address:
            wait_for_acks(address)
            time.sleep(2)
            before, then = metrics(address), time.monotonic()
            time.sleep(seconds)
            after, now = metrics(address), time.monotonic()
    names = {"worker": "tickerd_worker_cpu_seconds_total", "supervisor": "process_cpu_seconds_total"}
    idle = {who: round((after[name] - before[name]) / (now - then), 4) for who, name in names.items()}
    with local("--discard", "--no-shard-limits", "--shards", "64") as (endpoint, _):
        settings = {"rate.records_per_second": 200_000, "kinesis.shard_limits": False}
        with run(endpoint, **settings) as address:
            wait_for_acks(address)
            time.sleep(seconds)
            loaded = metrics(address)
    record(
        "idle",
        first_acknowledgement_s=round(start_s, 2),
        worker_cpu_share_at_10_per_s=idle["worker"],
        supervisor_cpu_share_at_10_per_s=idle["supervisor"],
        resident_mb_at_200000_per_s=round(loaded["tickerd_worker_resident_memory_bytes"] / 1e6, 1),
        records_acked=round(loaded["tickerd_records_acked_total"]),
        lag_s=round(loaded["tickerd_lag_seconds"], 3),
    )


if __name__ == "__main__":
    main()
