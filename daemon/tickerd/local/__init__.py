"""The in-memory Kinesis endpoint behind `tickerd local`, `tickerd demo`, the tests and the benchmarks."""

from tickerd.local.faults import Faults, merge_faults, parse_faults
from tickerd.local.server import LocalEndpoint, LocalOptions, run

__all__ = ["Faults", "LocalEndpoint", "LocalOptions", "merge_faults", "parse_faults", "run"]
