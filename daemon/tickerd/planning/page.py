"""What `tickerd plan` prints: the fleet of each mode side by side, what to mind, and what was assumed."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from tickerd.market.universe import Universe
from tickerd.planning.figures import PlanError, Prices, Speed, read_prices, read_speed
from tickerd.planning.fleet import MIB, MODES, Fleet, fleet
from tickerd.planning.notes import notes
from tickerd.planning.question import Wanted
from tickerd.settings import Settings

COLUMN = 16
NOT_COUNTED = "reading, retention above a day, data transfer between zones and NAT, logs, disks, taxes"


def plan(settings: Settings, wanted: Wanted, *, as_json: bool = False) -> str:
    """The plan as text or JSON; PlanError when none can be made."""
    speed, prices = read_speed(wanted.speed), read_prices(wanted.prices)
    universe = Universe.load(settings.market.universe)
    keys = (universe.instruments, universe.shares(settings.rate.mix.weights))
    fleets = [fleet(wanted, mode, settings, keys, speed, prices) for mode in MODES]
    chosen = next(each for each in fleets if each.mode == settings.kinesis.aggregation)
    minded = notes(settings, wanted, chosen, fleets, keys, prices.regions[wanted.region])
    assumed = assumptions(chosen, speed, prices)
    if as_json:
        shown = {
            "aggregation": chosen.mode,
            "fleets": list(map(as_object, fleets)),
            "notes": minded,
            "assumptions": assumed,
        }
        return orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode() + "\n"
    lines = [
        title(wanted, chosen),
        "",
        *table(fleets, chosen),
        "",
        *(f"! {note}" for note in minded),
        "",
        "assumed:",
        *(f"- {each}" for each in assumed),
    ]
    return "\n".join(lines) + "\n"


def title(wanted: Wanted, chosen: Fleet) -> str:
    """What was asked."""
    return (
        f"{wanted.records_per_second:,.0f} records/s of {chosen.traffic.record_bytes:,.0f} bytes with their "
        f"keys, {wanted.region}, {wanted.headroom:.0%} left free, {wanted.hours:g} hours a month"
    )


def table(fleets: Sequence[Fleet], chosen: Fleet) -> list[str]:
    """A column a mode; the one that the settings ask for is marked."""
    rows: list[tuple[str, Callable[[Fleet], str]]] = [
        ("kinesis.aggregation", lambda f: ("* " if f is chosen else "") + f.mode),
        ("shards", lambda f: f"{f.shards:,}"),
        ("partition keys", lambda f: f.partition_key),
        ("entries/s", lambda f: f"{f.entries_per_second:,.0f}"),
        ("MiB/s", lambda f: f"{f.traffic.bytes_per_second / MIB:,.1f}"),
        ("hosts", lambda f: f"{f.hosts:,} {f.instance}"),
        ("records/s a host, at most", lambda f: f"{f.host_records_per_second:,.0f}"),
        ("  bounded by", lambda f: f.limit),
        ("record delay p99, about", lambda f: f"{f.delay_p99_s:.2f} s"),
        ("dollars a month: hosts", lambda f: f"{f.cost.hosts:,.0f}"),
        ("  shard hours", lambda f: f"{f.cost.shards:,.0f}"),
        ("  PUT payload units", lambda f: f"{f.cost.put_units:,.0f}"),
        ("  all", lambda f: f"{f.cost.total:,.0f}"),
        ("stream on demand instead", lambda f: f"{f.cost.on_demand:,.0f}"),
        ("  On-demand Advantage", lambda f: f"{f.cost.advantage:,.0f}"),
    ]
    return [f"{name:<28}" + "".join(f"{text(each):>{COLUMN}}" for each in fleets) for name, text in rows]


def assumptions(chosen: Fleet, speed: Speed, prices: Prices) -> list[str]:
    """What the figures rest on."""
    checked = "" if prices.checked else "; nobody has checked them: look before you buy"
    instance, curve = prices.instances[chosen.instance], getattr(speed.modes, chosen.mode)
    machine = (
        f"a vCPU of {chosen.instance} is as fast as a core of {speed.machine}, where a worker sustained "
        f"{curve.sustainable_records_per_second:,.0f} records/s of {curve.record_bytes:,.0f} bytes "
        f"({speed.date}, commit {speed.commit}); measure yours with bench/host.py --speed FILE"
    )
    host = (
        f"a host has {instance.vcpus} workers, sustains {instance.network_gbit_per_s:g} Gbit/s and sends "
        "JSON with base64; larger records cost in proportion, smaller ones as much as measured"
    )
    money = (
        f"list prices of {prices.as_of} in US dollars{checked}; the stream stands all month; a PUT unit is "
        "25 KB of an entry, on demand an entry counts as whole KB"
    )
    return [
        machine,
        host,
        "a shard takes 1,000 entries/s and 1 MiB/s; nobody else writes to the stream; shards are equal",
        "shares of instruments are means of the settings' universe and mix",
        money,
        f"not counted: {NOT_COUNTED}",
    ]


def as_object(each: Fleet) -> dict[str, Any]:
    """A fleet for JSON."""
    return {
        "aggregation": each.mode,
        "partition_key": each.partition_key,
        "shards": each.shards,
        "hosts": each.hosts,
        "instance": each.instance,
        "host_records_per_second_max": round(each.host_records_per_second),
        "host_limit": each.limit,
        "workers": each.traffic.workers,
        "record_bytes": each.traffic.record_bytes,
        "entries_per_second": round(each.entries_per_second),
        "entry_bytes": round(each.entry_bytes),
        "bytes_per_second": round(each.traffic.bytes_per_second),
        "delay_p99_s": round(each.delay_p99_s, 3),
        "dollars_per_month": {name: round(value, 2) for name, value in each.cost._asdict().items()}
        | {"total": round(each.cost.total, 2)},
        "on_demand_below_hours": each.on_demand_below_hours,
        "on_demand_warm_up_minutes": each.warm_up_minutes,
    }


__all__ = ["PlanError", "plan"]
