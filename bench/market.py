"""How much CPU does the market take: a record's columns, the whole record, a frame, a cold start, a price?

Columns in calls of 10,000 rows, full parts in the default mix, small frames as a daemon at 1,000 records/s
has them. Beside them, in the same run: splitmix64 and Generator.standard_normal, one number a record.
Prints one JSON line: `python bench/market.py [--seconds N] [--universe default|large]`.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from tickerd.market.bridge import FRAMES_PER_BLOCK
from tickerd.market.exactmath import draws
from tickerd.market.market import Market
from tickerd.market.universe import Universe
from tickerd.records import FEEDS
from tickerd.schedule import RECORDS_PER_PART_MAX, Part, Segment, Timeline, split

SOURCE = "i-0abc123def4567890-0-k7m2qx4d"
MIX = (0.3, 0.65, 0.05)
FIRST_FRAME = 28_728_345_600  # 2026-11-24T12:00:00Z
FIRST_SEQ = 412_316
FULL_RATE = RECORDS_PER_PART_MAX * 16  # records/s, one full part a frame
SMALL_RATE = 1000
ROWS = 10_000  # of one call for columns


def parts(records_per_second: int, frames: int) -> list[Part]:
    """Return the parts of `frames` frames."""
    segment = Segment(FIRST_FRAME, FIRST_SEQ, split(records_per_second * 1000, MIX, 1, 0), "bench")
    timeline = Timeline([segment])
    return [part for frame in range(FIRST_FRAME, FIRST_FRAME + frames) for part in timeline.parts(frame)]


def columns(market: Market, kind: int, part: Part) -> None:
    """Make `ROWS` rows of a feed's columns."""
    market.feeds[kind].columns(SOURCE, part.frame, 0, ROWS, ROWS)


def frame_us(market: Market, blocks: int) -> float:
    """Return the microseconds that a frame's prices cost when frames follow each other."""
    first = FIRST_FRAME // FRAMES_PER_BLOCK + 10_000
    begin_ns = time.process_time_ns()
    for number in range(first, first + blocks):
        for _ in market.prices.steps(number):
            pass
    return (time.process_time_ns() - begin_ns) / 1e3 / blocks / FRAMES_PER_BLOCK


def longest_call_ms(market: Market, made: list[Part]) -> float:
    """Return the CPU of the longest of many calls for small frames that follow each other."""
    longest = 0
    for part in made:
        begin_ns = time.process_time_ns()
        market.records(SOURCE, part)
        longest = max(longest, time.process_time_ns() - begin_ns)
    return longest / 1e6


def at_ms(market: Market, prices: int) -> float:
    """Return the milliseconds of one price at a time and of an instrument that were not asked for before."""
    begin_ns = time.process_time_ns()
    for i in range(prices):
        market.at(market.universe.instruments[i * 5], 1_600_000_000_000 + i * 10**10)
    return (time.process_time_ns() - begin_ns) / 1e6 / prices


def resident_mb() -> float:
    """Return the process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def mean_ns(each: Callable[[Part], object], made: list[Part], seconds: float) -> float:
    """Return the mean nanoseconds of CPU of one call of `each`, over whole rounds of `made`."""
    calls, begin_ns = 0, time.process_time_ns()
    while True:
        for part in made:
            each(part)
        calls += len(made)
        spent_ns = time.process_time_ns() - begin_ns
        if spent_ns > seconds * 1e9:
            return spent_ns / calls


def commit() -> str:
    """Return the short commit of the tree, with + when it has changes."""
    shown = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"],  # noqa: S607  the developer's own git is meant
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return shown.stdout.strip() or "unknown"


def processor() -> str:
    """Return the processor's model name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} x {os.cpu_count()}"


def main() -> None:
    """Measure and print the result."""
    parser = argparse.ArgumentParser(description="CPU that the market takes")
    parser.add_argument("--seconds", type=float, default=2, help="CPU time of each measurement")
    parser.add_argument("--universe", default="default")
    arguments = parser.parse_args()
    seconds = arguments.seconds
    universe = Universe.load(arguments.universe)
    before_mb = resident_mb()
    begin_ns = time.process_time_ns()
    market = Market(1, universe)
    start_ns = time.process_time_ns() - begin_ns
    full, small = parts(FULL_RATE, 128), parts(SMALL_RATE, 4096)
    begin_ns = time.process_time_ns()
    market.records(SOURCE, small[0])
    cold_ns = time.process_time_ns() - begin_ns
    longest_ms = longest_call_ms(market, small[1:])
    market_mb = resident_mb() - before_mb
    each_feed = {
        name: mean_ns(partial(columns, market, kind), full, seconds) / ROWS for kind, name in enumerate(FEEDS)
    }
    records = sum(part.records for part in full) / len(full)
    sizes = [len(line) for line in map(msgspec.json.encode, market.records(SOURCE, full[0]).records)]
    normals = np.random.default_rng(1)
    result = {
        "bench": "market",
        "universe": f"{len(universe.pairs)} pairs, {len(universe.stocks)} stocks",
        "columns_ns_per_record": {name: round(ns, 1) for name, ns in each_feed.items()},
        "records_ns_per_record": round(
            mean_ns(lambda part: market.records(SOURCE, part), full, seconds) / records, 1
        ),
        "splitmix64_ns_per_record": round(
            mean_ns(lambda part: draws(part.frame, 0, ROWS), full, seconds) / ROWS, 1
        ),
        "standard_normal_ns_per_record": round(
            mean_ns(lambda _: normals.standard_normal(ROWS), full, seconds) / ROWS, 1
        ),
        "frame_us": round(frame_us(market, 32), 1),
        "small_frame_us": round(mean_ns(lambda part: market.records(SOURCE, part), small, seconds) / 1e3, 1),
        "longest_call_ms": round(longest_ms, 1),
        "at_ms": round(at_ms(market, 20), 1),
        "start_ms": round(start_ns / 1e6, 1),
        "cold_ms": round(cold_ns / 1e6, 1),
        "market_mb": round(market_mb, 1),
        "records_per_part": round(records),
        "json_bytes_per_record": round(sum(sizes) / len(sizes), 1),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": processor(),
        "commit": commit(),
        "command": " ".join(["bench/market.py", *sys.argv[1:]]),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
