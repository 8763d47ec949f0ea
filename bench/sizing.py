"""What do shards, hosts and a month cost at rising rates, and does a planned fleet carry its rate?

Asks `tickerd plan` for each rate and mode, and has the fleet simulated (bench/fleet.py) at the rate with its
headroom used up: the planned one, and one host fewer.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

from fleet import Simulated, simulate
from processes import TICKERD
from recorded import record

RATES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000)
MODES = ("none", "kpl", "lines")


def planned(rate: float, *options: str) -> dict[str, dict[str, Any]]:
    """What `tickerd plan` says, by mode; its one line when it refuses."""
    command = [*TICKERD, "plan", "--json", "--rate", str(rate), *options]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(ran.stderr.strip())
    return {fleet["aggregation"]: fleet for fleet in json.loads(ran.stdout)["fleets"]}


def simulated(fleet: dict[str, Any], rate: float) -> Simulated:
    """The fleet as the simulation has it, with every worker of it at work."""
    return Simulated(
        rate,
        fleet["hosts"],
        fleet["host_records_per_second_max"],
        fleet["workers"],
        fleet["shards"],
        fleet["partition_key"],
        fleet["aggregation"],
        fleet["record_bytes"],
    )


def measure(rate: float, headroom: float, seconds: int, options: list[str]) -> None:
    """A row for each mode."""
    for mode, fleet in planned(rate, "--headroom", str(headroom), *options).items():
        full = simulated(fleet, rate / (1 - headroom))
        fewer = full._replace(hosts=full.hosts - 1)
        record(
            "sizing",
            rate=rate,
            mode=mode,
            shards=fleet["shards"],
            hosts=f"{fleet['hosts']} {fleet['instance']}",
            dollars_per_month=round(fleet["dollars_per_month"]["total"]),
            delay_p99_s=fleet["delay_p99_s"],
            carried=simulate(full, seconds).carried,
            one_host_fewer=simulate(fewer, seconds).carried if fewer.hosts else False,
        )


def main() -> None:
    """Plan and simulate."""
    parser = argparse.ArgumentParser(description="fleets by rate, held against a simulation")
    parser.add_argument("--rate", type=float, action="append")
    parser.add_argument("--headroom", type=float, default=0.25)
    parser.add_argument("--seconds", type=int, default=60, help="of simulated time")
    parser.add_argument("plan", nargs="*", help="further options of tickerd plan, after --")
    chosen = parser.parse_args()
    for rate in chosen.rate or RATES:
        measure(rate, chosen.headroom, chosen.seconds, chosen.plan)


if __name__ == "__main__":
    main()
