"""A fleet for a rate: hosts by measured speed and network, shards by limits, and what both cost in a month.

It promises a plan for every rate there can be, with what stands against it as notes in words. How it is shown
is page.py's business.
"""

from collections.abc import Sequence
from math import ceil, log2
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.planning.arguments import HOURS_PER_MONTH
from tickerd.planning.figures import Curve, Instance, PlanError, Prices, Region, Speed
from tickerd.planning.question import Wanted
from tickerd.planning.shards import ROUNDING, Mode, Traffic, even_shards, keyed_shards
from tickerd.settings import Settings

PUT_UNIT_BYTES, KB, MIB, GB = 25 * 1024, 1024, 1024**2, 1024**3
ENTRY_JSON_BYTES = (
    31  # of a plain entry in a request: names of its fields, quotes, braces, rounding of base64
)
WIRE_SHARE = 1.03  # with heads, TLS and TCP
ON_DEMAND_MIB_PER_S, ON_DEMAND_ENTRIES_PER_S = 4, 4000  # a new stream's
DOUBLING_MINUTES = 15
MODES: tuple[Mode, ...] = ("none", "kpl", "lines")


class Cost(NamedTuple):
    """Dollars a month."""

    hosts: float
    shards: float
    put_units: float
    on_demand: float  # instead of shards and units
    advantage: float  # the same, On-demand Advantage

    @property
    def stream(self) -> float:
        """Of a provisioned stream."""
        return self.shards + self.put_units

    @property
    def total(self) -> float:
        """With a provisioned stream."""
        return self.hosts + self.stream


class Fleet(NamedTuple):
    """What one mode needs."""

    mode: Mode
    partition_key: str
    shards: int
    even_shards: int  # as many as partition_key "even" needs
    instance: str
    hosts: int
    host_records_per_second: float  # that one carries, with nothing left free
    limit: str  # "CPU" or "network": what bounds a host
    traffic: Traffic
    entry_bytes: float
    delay_p99_s: float
    cost: Cost
    on_demand_below_hours: float | None  # a month, below which on-demand costs less; None: never

    @property
    def entries_per_second(self) -> float:
        """Of the whole stream."""
        return self.traffic.bytes_per_second / self.entry_bytes

    @property
    def warm_up_minutes(self) -> int:
        """How long a new on-demand stream doubles until it takes the rate."""
        times = max(
            self.traffic.bytes_per_second / MIB / ON_DEMAND_MIB_PER_S,
            self.entries_per_second / ON_DEMAND_ENTRIES_PER_S,
        )
        return DOUBLING_MINUTES * max(0, ceil(log2(times)))


def region_of(prices: Prices, name: str) -> Region:
    """A region's prices; PlanError when there are none."""
    if name not in prices.regions:
        known = ", ".join(prices.regions)
        raise PlanError(f"no prices of the region {name}: there are those of {known}; give --prices FILE")
    return prices.regions[name]


def fleet(
    wanted: Wanted,
    mode: Mode,
    settings: Settings,
    keys: tuple[Sequence[str], NDArray[np.float64]],
    speed: Speed,
    prices: Prices,
) -> Fleet:
    """The cheapest fleet of one type of instance; `keys` are the instruments and their shares."""
    curve: Curve = getattr(speed.modes, mode)
    region = region_of(prices, wanted.region)
    types = region.instance_hour
    if wanted.instance is not None and wanted.instance not in types:
        raise PlanError(f"no price of {wanted.instance} in {wanted.region}: there are {', '.join(types)}")
    record_bytes = wanted.record_bytes or curve.record_bytes
    rate = wanted.records_per_second
    candidates: list[tuple[float, int, str]] = []
    for name in [wanted.instance] if wanted.instance else types:
        most, _ = host_speed(prices.instances[name], curve, record_bytes, mode)
        hosts = max(1, ceil(rate / (most * (1 - wanted.headroom)) * (1 - ROUNDING)))
        candidates.append((hosts * types[name], hosts, name))
    _, hosts, name = min(candidates)
    most, limit = host_speed(prices.instances[name], curve, record_bytes, mode)
    workers = hosts * prices.instances[name].vcpus
    traffic = Traffic(
        rate,
        record_bytes,
        mode,
        workers,
        settings.kinesis.linger_ms / 1000,
        settings.kinesis.aggregate_bytes_max,
    )
    evenly = even_shards(traffic, wanted.headroom)
    keyed = keyed_shards(traffic, wanted.headroom, *keys) if _by_instrument(settings) else None
    shards = keyed or evenly
    entry_bytes = traffic.entry_bytes(1 / shards)
    cost, below_hours = _cost(wanted, region, traffic, shards, entry_bytes, hosts * types[name])
    busy = rate / workers * max(1.0, record_bytes / curve.record_bytes)
    return Fleet(
        mode,
        "instrument" if keyed else "even",
        shards,
        evenly,
        name,
        hosts,
        most,
        limit,
        traffic,
        entry_bytes,
        curve.delay_p99_s(busy),
        cost,
        below_hours,
    )


def _by_instrument(settings: Settings) -> bool:
    return settings.kinesis.partition_key == "instrument"


def host_speed(instance: Instance, curve: Curve, record_bytes: float, mode: Mode) -> tuple[float, str]:
    """Records/s that a host carries with nothing left free, and what bounds it: "CPU" or "network".

    A worker on each vCPU is as fast as the measured one; larger records cost in proportion, smaller ones as
    much.
    """
    cpu = instance.vcpus * curve.sustainable_records_per_second / max(1.0, record_bytes / curve.record_bytes)
    body = record_bytes * 4 / 3 + (ENTRY_JSON_BYTES if mode == "none" else 0)
    network = instance.network_gbit_per_s * 1e9 / 8 / (body * WIRE_SHARE)
    return (cpu, "CPU") if cpu <= network else (network, "network")


def _cost(
    wanted: Wanted, region: Region, traffic: Traffic, shards: int, entry_bytes: float, hosts_hour: float
) -> tuple[Cost, float | None]:
    """Dollars a month, and the hours below which an on-demand stream costs less than a provisioned one.

    A stream stands the whole month, hosts and data flow for the wanted hours.
    """
    entries_per_hour = traffic.bytes_per_second / entry_bytes * 3600
    units_hour = entries_per_hour * ceil(entry_bytes / PUT_UNIT_BYTES) / 1e6 * region.million_put_units
    gb_per_hour = entries_per_hour * ceil(entry_bytes / KB) * KB / GB
    least_gb = region.advantage_mib_per_s_min * MIB * 3600 * HOURS_PER_MONTH / GB
    standing, standing_on_demand = (
        shards * region.shard_hour * HOURS_PER_MONTH,
        region.on_demand_stream_hour * HOURS_PER_MONTH,
    )
    cost = Cost(
        hosts_hour * wanted.hours,
        standing,
        units_hour * wanted.hours,
        standing_on_demand + gb_per_hour * region.on_demand_gb_in * wanted.hours,
        max(gb_per_hour * wanted.hours, least_gb) * region.advantage_gb_in,
    )
    saved, extra_hour = standing - standing_on_demand, gb_per_hour * region.on_demand_gb_in - units_hour
    if saved <= 0:
        return cost, None
    return cost, saved / extra_hour if extra_hour * HOURS_PER_MONTH > saved else float(HOURS_PER_MONTH)
