"""What stands against a plan, or speaks for another: keys, lingering, modes, on demand, quotas; in words."""

from collections.abc import Sequence

from numpy import float64
from numpy.typing import NDArray

from tickerd.planning.arguments import HOURS_PER_MONTH
from tickerd.planning.figures import Region
from tickerd.planning.fleet import MIB, Fleet
from tickerd.planning.question import Wanted
from tickerd.settings import Settings

MUCH_CHEAPER, MANY_MORE, HARDLY_FILLED = 0.8, 1.5, 0.9  # shares worth a note
FLUCTUATION = 1.5  # of an instrument's share, at most about: market/choice.py
WARM_MIB_PER_S_MAX = 10 * 1024
ENTRIES_PER_MIB = 1000  # that a stream takes with each MiB/s


def notes(
    settings: Settings,
    wanted: Wanted,
    chosen: Fleet,
    fleets: Sequence[Fleet],
    keys: tuple[Sequence[str], NDArray[float64]],
    region: Region,
) -> list[str]:
    """The notes; `chosen` is the fleet of the settings' mode."""
    return [
        *_keys(settings, wanted, chosen, keys),
        *_lingering(settings, chosen),
        *_modes(chosen, fleets),
        *_on_demand(chosen),
        *_warm(settings, chosen),
        *_quota(chosen, region),
    ]


def _keys(
    settings: Settings, wanted: Wanted, chosen: Fleet, keys: tuple[Sequence[str], NDArray[float64]]
) -> list[str]:
    if settings.kinesis.partition_key == "even":
        return []
    names, shares = keys
    hottest, share = names[int(shares.argmax())], float(shares.max())
    has = f"{hottest} has {share:.1%} of the records, {share * wanted.records_per_second:,.0f}/s"
    if chosen.partition_key == "even":
        advice = 'set kinesis.partition_key = "even", as planned here'
        if settings.kinesis.order == "key":
            advice += ', which kinesis.order = "key" does not allow: no stream takes this rate in order'
        return [f"{has}: more than a shard carries with {wanted.headroom:.0%} left free; {advice}"]
    if chosen.shards > MANY_MORE * chosen.even_shards:
        fewer = f'with kinesis.partition_key = "even" {chosen.even_shards:,} shards carry the rate'
        return [f"{has}: {fewer} instead of {chosen.shards:,}"]
    if not chosen.traffic.is_carried(FLUCTUATION * share, 0.0):
        busier = "when news makes it half as busy again for a while, its shard throttles and records are late"
        return [f"{has}; {busier}: a larger --headroom avoids that"]
    return []


def _lingering(settings: Settings, chosen: Fleet) -> list[str]:
    most = settings.kinesis.aggregate_bytes_max
    if chosen.mode == "none" or chosen.entry_bytes > HARDLY_FILLED * most:
        return []
    text = (
        f"{chosen.traffic.workers:,} workers fill an aggregate for each of {chosen.shards:,} shards: after "
        f"kinesis.linger_ms = {settings.kinesis.linger_ms} it holds {chosen.entry_bytes:,.0f} of at most "
        f"{most:,} bytes; a longer linger makes fewer entries and later records"
    )
    return [text]


def _modes(chosen: Fleet, fleets: Sequence[Fleet]) -> list[str]:
    cheapest = min(fleets, key=lambda each: each.cost.total)
    if cheapest.cost.total > MUCH_CHEAPER * chosen.cost.total:
        return []
    text = (
        f'kinesis.aggregation = "{cheapest.mode}" costs {cheapest.cost.total:,.0f} dollars a month instead '
        f"of {chosen.cost.total:,.0f}; consumers have to take the entries apart, as the "
        "Kinesis Client Library does for kpl"
    )
    return [text]


def _on_demand(chosen: Fleet) -> list[str]:
    cost, hours = chosen.cost, chosen.on_demand_below_hours
    best = min(cost.on_demand, cost.advantage)
    if best < cost.stream:
        kind = "with On-demand Advantage" if cost.advantage < cost.on_demand else "on demand"
        said = [f"the stream costs less {kind}: {best:,.0f} dollars a month instead of {cost.stream:,.0f}"]
    else:
        said = [f"a provisioned stream costs less than one on demand: {cost.stream:,.0f}, not {best:,.0f}"]
    if hours is not None and 1 <= hours < HOURS_PER_MONTH:
        said.append(f"on demand is the better choice when records flow less than {hours:,.0f} hours a month")
    if chosen.mode == "kpl":
        said.append(
            "on demand, kpl needs RecordDistributionStrategy USER_PARTITION_KEY: AUTO loses aggregates"
        )
    return said


def _warm(settings: Settings, chosen: Fleet) -> list[str]:
    if not chosen.warm_up_minutes:
        return []
    mib = max(chosen.traffic.bytes_per_second / MIB, chosen.entries_per_second / ENTRIES_PER_MIB)
    text = (
        f"a new on-demand stream throttles for about {chosen.warm_up_minutes} minutes before it takes the "
        f"rate: have its warm throughput at {mib:,.0f} MiB/s before{_peak(settings)} (On-demand Advantage, "
        "UpdateStreamWarmThroughput; that takes minutes itself)"
    )
    said = [text]
    if mib > WARM_MIB_PER_S_MAX:
        said.append("that is more than warm throughput is sold for: several streams, or provisioned ones")
    return said


def _peak(settings: Settings) -> str:
    """When the rate schedule needs the most."""
    stages = settings.rate.stages
    if not stages:
        return " the start"
    rates = [stage.records_per_second for stage in stages]
    seconds = sum(stage.for_s for stage in stages[: rates.index(max(rates)) + 1])
    return f" the peak of rate.stages, {seconds:,} s after the start"


def _quota(chosen: Fleet, region: Region) -> list[str]:
    if chosen.shards <= region.shards_quota:
        return []
    usual = f"an account's usual quota of {region.shards_quota:,}"
    return [f"{chosen.shards:,} shards are above {usual}: have it raised, or aggregate"]
