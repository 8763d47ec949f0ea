"""How much CPU does the market take: a record's columns, the whole record, a frame, a cold start, a price?

Columns in calls of 10,000 rows, full parts in the default mix, small frames as a daemon at 1,000 records/s
has them (over a midnight), thin ones as `generate` makes them. Memory is with the universe. Beside them, in
the same run: splitmix64 and Generator.standard_normal, one number a record.
Prints one JSON line: `python bench/market.py [--seconds N] [--universe default|large]`.
"""

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from recorded import record
from tickerd.market.bridge import FRAMES_PER_BLOCK
from tickerd.market.exactmath import draws
from tickerd.market.market import Market
from tickerd.market.universe import Universe
from tickerd.records import FEEDS
from tickerd.schedule import RECORDS_PER_PART_MAX, Part, Segment, Timeline, split
from tickerd.stretch import Stretch, batches

SOURCE = "i-0abc123def4567890-0-k7m2qx4d"
MIX = (0.3, 0.65, 0.05)
FIRST_FRAME = 28_728_345_600  # 2026-11-24T12:00:00Z
MIDNIGHT = FIRST_FRAME + 12 * 3600 * 16
FIRST_SEQ = 412_316
FULL_RATE = RECORDS_PER_PART_MAX * 16  # records/s, one full part a frame
SMALL_RATE = 1000
ROWS = 10_000  # of one call for columns


def parts(records_per_second: int, first: int, frames: int) -> list[Part]:
    """Return the parts of `frames` frames."""
    segment = Segment(first, FIRST_SEQ, split(records_per_second * 1000, MIX, 1, 0), "bench")
    timeline = Timeline([segment])
    return [part for frame in range(first, first + frames) for part in timeline.parts(frame)]


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


def thin_frame_us(market: Market, blocks: int) -> float:
    """Return the microseconds of a frame of 4 records where `generate` makes a block's frames together."""
    first = FIRST_FRAME + 20_000 * FRAMES_PER_BLOCK
    segment = Segment(first, 0, split(64_000, MIX, 1, 0), "bench")
    made = Stretch(SOURCE, (segment,), first, first + blocks * FRAMES_PER_BLOCK, 10**9)
    begin_ns = time.process_time_ns()
    for _ in batches(market, made):
        pass
    return (time.process_time_ns() - begin_ns) / 1e3 / blocks / FRAMES_PER_BLOCK


def longest_call_ms(universe: Universe, made: list[Part]) -> float:
    """Return the CPU of the longest of many calls for small frames that follow each other, the first aside.

    Of each call the cheapest of three, in as many markets: so that no interrupt counts.
    """
    rounds: list[list[int]] = []
    for _ in range(3):
        each, times = Market(1, universe), []
        for part in made:
            begin_ns = time.process_time_ns()
            each.records(SOURCE, part)
            times.append(time.process_time_ns() - begin_ns)
        rounds.append(times[1:])
    cheapest = [min(times) for times in zip(*rounds, strict=True)]
    return float(max(cheapest)) / 1e6


def cold_ms(universe: Universe, times: int) -> float:
    """Return the CPU of the first records at a time that a market was never asked for, the median of some."""
    spent = []
    for number in range(times):
        market = Market(1, universe)
        (part,) = parts(SMALL_RATE, FIRST_FRAME - number * 10**9, 1)
        begin_ns = time.process_time_ns()
        market.records(SOURCE, part)
        spent.append(time.process_time_ns() - begin_ns)
    return median(spent) / 1e6


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


def median_ns(each: Callable[[Part], object], made: list[Part], seconds: float) -> float:
    """Return the nanoseconds of CPU of one call of `each`, in the median of rounds over `made`."""
    rounds: list[int] = []
    while sum(rounds) < seconds * 1e9:
        begin_ns = time.process_time_ns()
        for part in made:
            each(part)
        rounds.append(time.process_time_ns() - begin_ns)
    return median(rounds) / len(made)


def main() -> None:
    """Measure and print the result."""
    parser = argparse.ArgumentParser(description="CPU that the market takes")
    parser.add_argument("--seconds", type=float, default=2, help="CPU time of each measurement")
    parser.add_argument("--universe", default="default")
    arguments = parser.parse_args()
    seconds = arguments.seconds
    before_mb = resident_mb()
    universe = Universe.load(arguments.universe)
    begin_ns = time.process_time_ns()
    market = Market(1, universe)
    start_ns = time.process_time_ns() - begin_ns
    small = parts(SMALL_RATE, MIDNIGHT - 2048, 4096)
    for part in small:
        market.records(SOURCE, part)
    market_mb = resident_mb() - before_mb
    longest_ms = longest_call_ms(universe, small)
    full = parts(FULL_RATE, FIRST_FRAME, 128)
    each_feed = {
        name: median_ns(partial(columns, market, kind), full, seconds) / ROWS
        for kind, name in enumerate(FEEDS)
    }
    records = sum(part.records for part in full) / len(full)
    sizes = [len(line) for line in map(msgspec.json.encode, market.records(SOURCE, full[0]).records)]
    normals = np.random.default_rng(1)
    rounded = partial(round, ndigits=1)
    record(
        "market",
        universe=f"{len(universe.pairs)} pairs, {len(universe.stocks)} stocks",
        columns_ns_per_record={name: rounded(ns) for name, ns in each_feed.items()},
        records_ns_per_record=rounded(
            median_ns(lambda part: market.records(SOURCE, part), full, seconds) / records
        ),
        splitmix64_ns_per_record=rounded(
            median_ns(lambda part: draws(part.frame, 0, ROWS), full, seconds) / ROWS
        ),
        standard_normal_ns_per_record=rounded(
            median_ns(lambda _: normals.standard_normal(ROWS), full, seconds) / ROWS
        ),
        frame_us=rounded(frame_us(market, 32)),
        small_frame_us=rounded(median_ns(lambda part: market.records(SOURCE, part), small, seconds) / 1e3),
        thin_frame_us=rounded(thin_frame_us(market, 32)),
        longest_call_ms=rounded(longest_ms),
        at_ms=rounded(at_ms(market, 20)),
        start_ms=rounded(start_ns / 1e6),
        cold_ms=rounded(cold_ms(universe, 7)),
        market_mb=rounded(market_mb),
        records_per_part=round(records),
        json_bytes_per_record=rounded(sum(sizes) / len(sizes)),
        numpy=np.__version__,
    )


if __name__ == "__main__":
    main()
