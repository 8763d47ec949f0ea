"""What does a second worker add? CPU seconds per million records with one worker and with two, in turns.

One daemon with two saturated workers, of whom the second is stopped in every other turn, so that both ways
meet the same neighbours. By CPU time and not by the clock, as `tickerd local` needs a core too: on two cores
it shares the second one. `added`: what the second does of what one does alone, the median of pairs of turns.
"""

import argparse
import os
import statistics
import time

from processes import local, metrics, run, stopped, wait_for_acks, worker_pids
from recorded import record
from worker import LOCAL, MODES, SATURATING

TURN_S = 3.0
SETTLED_S = 1.5  # a worker's report, which has its CPU time and its records, is a second old at most


def cost(address: str) -> float:
    """CPU seconds per million records of the workers that run, in one turn."""
    time.sleep(SETTLED_S)
    before = metrics(address)
    time.sleep(TURN_S)
    after = metrics(address)
    cpu, acked = (
        after[name] - before[name]
        for name in ("tickerd_worker_cpu_seconds_total", "tickerd_records_acked_total")
    )
    return cpu / acked * 1e6


def main() -> None:
    """Measure each mode."""
    parser = argparse.ArgumentParser(description="what a second worker adds, by CPU time")
    parser.add_argument("--turns", type=int, default=6, help="of each way")
    parser.add_argument("--mode", choices=MODES, action="append")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for mode in chosen.mode or MODES:
        settings = {
            "rate.records_per_second": 2 * SATURATING,
            "kinesis.shard_limits": False,
            "kinesis.aggregation": MODES[mode],
            "source.workers": 2,
        }
        alone, both = list[float](), list[float]()
        with local(*LOCAL) as (endpoint, _), run(endpoint, **settings) as address:
            wait_for_acks(address)
            time.sleep(3)
            second = worker_pids(address)[1:]
            for _ in range(chosen.turns):
                with stopped(second):
                    alone.append(cost(address))
                both.append(cost(address))
        added = statistics.median(2 * one / two - 1 for one, two in zip(alone, both, strict=True))
        record(
            "second_worker",
            mode=mode,
            one_cpu_s_per_million=round(statistics.median(alone), 3),
            two_cpu_s_per_million=round(statistics.median(both), 3),
            added=round(added, 2),
        )


if __name__ == "__main__":
    main()
