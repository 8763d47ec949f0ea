"""What is asked of a plan."""

from pathlib import Path
from typing import NamedTuple


class Wanted(NamedTuple):
    """A rate of all hosts, and under which conditions."""

    records_per_second: float
    record_bytes: float | None = None  # with the key; None: as measured
    headroom: float = 0.25  # the share of shards and hosts that is left free
    hours: float = 730.0  # a month in which records flow
    region: str = "us-east-1"
    instance: str | None = None  # None: the cheapest
    speed: Path | None = None  # a file of one's own instead of the package's
    prices: Path | None = None  # the same
