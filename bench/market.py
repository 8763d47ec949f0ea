"""How many nanoseconds of CPU does the market take for a record: its columns, and the whole record?

Makes full parts in the default mix, and small frames as a daemon at 1,000 records/s makes them. Beside them,
in the same run: splitmix64 in NumPy, one hash a record. Prints one JSON line:
`python bench/market.py [--seconds N]`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from tickerd.market.exactmath import draws
from tickerd.market.market import Market
from tickerd.market.universe import Universe
from tickerd.schedule import RECORDS_PER_PART_MAX, Part, Segment, Timeline, split

SOURCE = "i-0abc123def4567890-0-k7m2qx4d"
MIX = (0.3, 0.65, 0.05)
FIRST_FRAME = 28_728_345_600  # 2026-11-24T12:00:00Z
FIRST_SEQ = 412_316
FULL_RATE = RECORDS_PER_PART_MAX * 16  # records/s, one full part a frame
SMALL_RATE = 1000


def parts(records_per_second: int, frames: int) -> list[Part]:
    """Return the parts of `frames` frames."""
    segment = Segment(FIRST_FRAME, FIRST_SEQ, split(records_per_second * 1000, MIX, 1, 0), "bench")
    timeline = Timeline([segment])
    return [part for frame in range(FIRST_FRAME, FIRST_FRAME + frames) for part in timeline.parts(frame)]


def columns(market: Market, part: Part) -> None:
    """Make the columns of a part, without its records."""
    for feed, (start, stop), n in zip(market.feeds, part.rows, part.counts, strict=True):
        feed.columns(SOURCE, part.frame, start, stop, n)


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
    parser = argparse.ArgumentParser(description="nanoseconds of CPU the market takes for a record")
    parser.add_argument("--seconds", type=float, default=2, help="CPU time of each measurement")
    seconds = parser.parse_args().seconds
    begin_ns = time.process_time_ns()
    market = Market(1, Universe.load())
    start_ns = time.process_time_ns() - begin_ns
    full, small = parts(FULL_RATE, 128), parts(SMALL_RATE, 8192)  # more blocks than a market keeps
    records = sum(part.records for part in full) / len(full)
    sizes = [len(line) for line in map(msgspec.json.encode, market.records(SOURCE, full[0]).records)]
    result = {
        "bench": "market",
        "columns_ns_per_record": round(
            mean_ns(lambda part: columns(market, part), full, seconds) / records, 1
        ),
        "records_ns_per_record": round(
            mean_ns(lambda part: market.records(SOURCE, part), full, seconds) / records, 1
        ),
        "splitmix64_ns_per_record": round(
            mean_ns(lambda part: draws(part.frame, 0, part.records), full, seconds) / records, 1
        ),
        "small_frame_us": round(mean_ns(lambda part: market.records(SOURCE, part), small, seconds) / 1e3, 1),
        "start_ms": round(start_ns / 1e6, 1),
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
