"""Does a worker's memory stay the same while its stream takes half of what is wanted, for an hour?

Two daemons of one worker, plain entries and aggregates in order, each at twice what the four shards of its
own `tickerd local` take; the limits are kept on both sides, and 10 % of the entries are throttled besides.
"""

import argparse
import sys
import time
from contextlib import ExitStack, suppress

from processes import local, metrics, run, wait_for_acks
from recorded import record

SHARDS = 4
FAULTS = "throttled=0.1,latency_ms=20"
WAYS: dict[str, tuple[int, dict[str, object]]] = {  # records/s that the shards take, settings
    "plain": (4_000, {}),  # 1,000 entries/s a shard
    "kpl in order": (24_000, {"kinesis.aggregation": "kpl", "kinesis.order": "key"}),  # 1 MiB/s a shard
}
SAMPLE_S = 10.0
FLAT = 0.1  # of the mean: so far a sample may lie from it
MIB = 2**20


def main() -> int:
    """Sample both, print a row each, and fail when the memory of one is not flat."""
    parser = argparse.ArgumentParser(description="a worker's memory under throttling")
    parser.add_argument("--minutes", type=float, default=60, help="that are judged")
    parser.add_argument("--warm-up", type=float, default=5, help="minutes before, in which backlogs fill")
    options = parser.parse_args()
    with ExitStack() as stack:
        daemons = {}
        for way, (takes, settings) in WAYS.items():
            endpoint, _ = stack.enter_context(local("--shards", str(SHARDS), "--discard", "--faults", FAULTS))
            ours = {**settings, "rate.records_per_second": 2 * takes}
            daemons[way] = stack.enter_context(run(endpoint, **ours))
        for address in daemons.values():
            wait_for_acks(address)
        time.sleep(60 * options.warm_up)
        before = {way: metrics(address) for way, address in daemons.items()}
        began_s = time.monotonic()
        memory: dict[str, list[float]] = {way: [] for way in WAYS}
        while time.monotonic() < began_s + 60 * options.minutes:
            for way, address in daemons.items():
                with suppress(OSError):  # one look of hundreds, on a machine that has no time for it
                    memory[way].append(metrics(address)["tickerd_worker_resident_memory_bytes"] / MIB)
                    print(
                        f"{time.monotonic() - began_s:.0f} s, {way}: {memory[way][-1]:.1f} MiB",
                        file=sys.stderr,
                    )
            time.sleep(SAMPLE_S)
        seconds = time.monotonic() - began_s
        after = {way: metrics(address) for way, address in daemons.items()}
    flat = True
    for way, samples in memory.items():
        grown = {name: after[way][name] - before[way].get(name, 0.0) for name in after[way]}
        mean, quarter = sum(samples) / len(samples), len(samples) // 4
        flat &= max(samples) <= (1 + FLAT) * mean and min(samples) >= (1 - FLAT) * mean
        record(
            "throttled_hour",
            way=way,
            minutes=round(seconds / 60, 1),
            wanted_per_s=2 * WAYS[way][0],
            acked_per_s=round(grown["tickerd_records_acked_total"] / seconds),
            retries_per_s=round(grown["tickerd_record_retries_total"] / seconds),
            first_quarter_mib=round(sum(samples[:quarter]) / quarter, 1),
            last_quarter_mib=round(sum(samples[-quarter:]) / quarter, 1),
            least_mib=round(min(samples), 1),
            most_mib=round(max(samples), 1),
        )
    return int(not flat)


if __name__ == "__main__":
    sys.exit(main())
