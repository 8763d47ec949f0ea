"""What a plan goes by: measured speed (speed.json, by bench/host.py) and list prices (prices.toml).

Both are data that a file of the user's may replace. It promises that what is read is complete and positive;
a `PlanError` names the file and what is wrong.
"""

import tomllib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

Positive = Annotated[float, Meta(gt=0, lt=1e12)]
NotNegative = Annotated[float, Meta(ge=0, lt=1e12)]
Read = TypeVar("Read")


class PlanError(Exception):
    """No plan can be made; the message is one line."""


class Step(Struct, frozen=True):
    """What a worker did at one rate: share of its core, and the delay of its records."""

    records_per_second: Positive
    cpu: NotNegative
    delay_p99_s: NotNegative


class Curve(Struct, frozen=True):
    """A worker in one mode. `record_bytes`: of a record with its key, as measured; steps rise."""

    record_bytes: Positive
    sustainable_records_per_second: Positive
    steps: Annotated[list[Step], Meta(min_length=1)]

    def delay_p99_s(self, records_per_second: float) -> float:
        """The delay at a rate, on the straight line between two steps."""
        before = self.steps[0]
        for step in self.steps:
            if step.records_per_second >= records_per_second:
                run = step.records_per_second - before.records_per_second
                share = (records_per_second - before.records_per_second) / run if run else 0.0
                return before.delay_p99_s + max(0.0, share) * (step.delay_p99_s - before.delay_p99_s)
            before = step
        return before.delay_p99_s


class Modes(Struct, frozen=True):
    """A curve for each value of kinesis.aggregation."""

    none: Curve
    kpl: Curve
    lines: Curve


class Speed(Struct, frozen=True):
    """What was measured, where and when."""

    machine: str
    date: str
    commit: str
    workers: Annotated[int, Meta(ge=1)]
    modes: Modes


class Instance(Struct, frozen=True):
    """A type of EC2 instance."""

    vcpus: Annotated[int, Meta(ge=1)]
    network_gbit_per_s: Positive


class Region(Struct, frozen=True):
    """Prices in dollars."""

    shard_hour: NotNegative
    million_put_units: NotNegative
    on_demand_stream_hour: NotNegative
    on_demand_gb_in: NotNegative
    advantage_gb_in: NotNegative
    advantage_mib_per_s_min: NotNegative
    shards_quota: Annotated[int, Meta(ge=1)]
    instance_hour: Annotated[dict[str, NotNegative], Meta(min_length=1)]


class Prices(Struct, frozen=True):
    """Everything that has a price, and when it had it."""

    as_of: str
    checked: bool
    instances: dict[str, Instance]
    regions: Annotated[dict[str, Region], Meta(min_length=1)]


def read_speed(path: Path | None) -> Speed:
    """The speed measured on the machine of this version's makers, or one's own."""
    return _converted(path, "speed.json", Speed, msgspec.json.decode)


def read_prices(path: Path | None) -> Prices:
    """The prices in the package, or one's own."""
    prices = _converted(path, "prices.toml", Prices, lambda content: tomllib.loads(content.decode()))
    for name, region in prices.regions.items():
        for instance in region.instance_hour:
            if instance not in prices.instances:
                raise PlanError(f"{path}: regions.{name} has a price for {instance}, which instances lacks")
    return prices


def _converted(path: Path | None, name: str, kind: type[Read], decode: Callable[[bytes], object]) -> Read:
    try:
        content = path.read_bytes() if path else (files("tickerd.planning") / name).read_bytes()
        return msgspec.convert(decode(content), kind)
    except OSError as error:
        raise PlanError(f"{path} cannot be read ({error.strerror})") from error
    except (msgspec.MsgspecError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise PlanError(f"{path}: not as {name} should be: {reason}") from error
