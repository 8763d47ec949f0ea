"""What does a million records cost tickerd and its peers, side by side in one run?

Each in a process of its own on one core, against the same `tickerd local --discard` on the other. Peers get
records that were made and encoded before; tickerd also makes and encodes its own, signs and accounts. Needs
the libraries of the dependency group `bench` (requirements-bench.lock).
"""

import argparse
import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from processes import local, metrics, on_cores, run, wait_for_acks
from recorded import record

LOCAL = ("--shards", "64", "--discard", "--no-shard-limits")
TICKERD = {"tickerd": "none", "tickerd kpl": "kpl", "tickerd lines": "lines"}
PEERS = {  # what it is, and how many records it gets for each second that it may take about
    "boto3": ("put_records, one call after the other", 60_000),
    "boto3-unvalidated": ("the same, without parameter validation", 80_000),
    "aiobotocore": ("16 calls at a time", 60_000),
    "aiobotocore-tuned": ("the same, without validation, 16 connections", 80_000),
    "async-kinesis": ("an entry a record; one call at a time", 4_000),
    "async-kinesis-kpl": ("aggregates; no key a record", 100_000),
    "async-kinesis-lines": ("lines; no key a record", 150_000),
    "aws-kinesis-agg": ("aggregates, sent by boto3; shards not considered", 100_000),
    "aiokpl": ("aggregates by shard", 3_000),
    "aiokpl-plain": ("an entry a record", 2_500),
}
SENDERS = Path(__file__).with_name("peer_senders.py")


def tickerd(endpoint: str, aggregation: str, seconds: float) -> tuple[float, float]:
    """CPU seconds of a saturated worker for a million records, and records/s."""
    settings = {"rate.records_per_second": 2_000_000, "kinesis.shard_limits": False}
    with run(endpoint, **settings, **{"kinesis.aggregation": aggregation}) as address:
        wait_for_acks(address)
        time.sleep(2)
        before, then = metrics(address), time.monotonic()
        time.sleep(seconds)
        after, now = metrics(address), time.monotonic()
    records = after["tickerd_records_acked_total"] - before["tickerd_records_acked_total"]
    cpu_s = after["tickerd_worker_cpu_seconds_total"] - before["tickerd_worker_cpu_seconds_total"]
    return cpu_s / records * 1e6, records / (now - then)


def sent_by(peer: str, endpoint: str, records: int) -> tuple[float, float] | None:
    """The same of a peer; None when it did not manage."""
    before = entries_at(endpoint)
    command = [sys.executable, str(SENDERS), peer, endpoint, str(records)]
    with on_cores([0], command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, said = process.communicate()
    if process.returncode:
        print(f"  {peer}: {said.strip().splitlines()[-1] if said.strip() else process.returncode}")
        return None
    result = json.loads(out)
    entries = entries_at(endpoint) - before  # and one or two for warming up
    aggregates = any(word in PEERS[peer][0] for word in ("aggregates", "lines"))
    assert (entries < records / 10) if aggregates else (entries >= records), f"{peer} sent {entries} entries"
    return result["cpu_s"] / result["records"] * 1e6, result["records"] / result["wall_s"]


def entries_at(endpoint: str) -> int:
    """How many entries the endpoint has acknowledged."""
    with urllib.request.urlopen(f"{endpoint}/_local/stats", timeout=30) as answer:  # noqa: S310 - our own address
        return int(json.load(answer)["records"])


def main() -> None:
    """Measure tickerd, then each peer."""
    parser = argparse.ArgumentParser(description="CPU seconds per million records of tickerd and its peers")
    parser.add_argument("--seconds", type=float, default=8, help="that each may take about")
    parser.add_argument("--peer", choices=[*TICKERD, *PEERS], action="append")
    chosen = parser.parse_args()
    with local(*LOCAL) as (endpoint, _):
        for name in chosen.peer or [*TICKERD, *PEERS]:
            if name in TICKERD:
                how = "whole way: makes and encodes its records too"
                measured: tuple[float, float] | None = tickerd(endpoint, TICKERD[name], chosen.seconds)
            else:
                how, each_second = PEERS[name]
                measured = sent_by(name, endpoint, round(each_second * chosen.seconds))
            if measured is None:
                continue
            cost, rate = measured
            record(
                "peers",
                sender=name,
                cpu_s_per_million=round(cost, 2),
                records_per_cpu_s=round(1e6 / cost),
                records_per_s=round(rate),
                how=how,
            )


if __name__ == "__main__":
    main()
