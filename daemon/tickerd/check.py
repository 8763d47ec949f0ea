"""What `tickerd check` says beyond the settings being sound: the ceiling that the partition keys set."""

import numpy as np

from tickerd.kinesis.ceiling import ceiling_records_per_second
from tickerd.kinesis.stream import RECORD_BYTES_MEAN
from tickerd.market.universe import Universe
from tickerd.recipe import market_of, recipe_of
from tickerd.settings import Settings


def check_universe(settings: Settings) -> None:
    """UniverseError when the universe cannot be read, or no market can be made of it."""
    universe = Universe.load(settings.market.universe)
    market_of(recipe_of(settings, universe), universe)


def hottest_key_ceiling(settings: Settings) -> tuple[str, float, float]:
    """The instrument with the largest share of the records, its share, and the rate that fills its shard."""
    universe = Universe.load(settings.market.universe)
    shares = universe.shares(settings.rate.mix.weights)
    hottest = int(shares.argmax())
    share = float(shares[hottest])
    return (
        universe.instruments[hottest],
        share,
        ceiling_records_per_second(
            shares[[hottest]], RECORD_BYTES_MEAN, aggregated=settings.kinesis.aggregation != "none"
        ),
    )


def ceiling_line(settings: Settings) -> str:
    """One line: how many records per second a stream can take with these keys, however many shards it has."""
    a_shard = ceiling_records_per_second(
        np.ones(1), RECORD_BYTES_MEAN, aggregated=settings.kinesis.aggregation != "none"
    )
    if settings.kinesis.partition_key == "even":
        return (
            f'kinesis.partition_key = "even": every shard is filled alike; {a_shard:,.0f} records/s a shard'
        )
    instrument, share, ceiling = hottest_key_ceiling(settings)
    line = (
        f'kinesis.partition_key = "instrument": a stream takes at most {ceiling:,.0f} records/s, however '
        f"many shards it has: {instrument} has {share:.1%} of the records, and a shard takes {a_shard:,.0f}/s"
    )
    if settings.kinesis.shard_limits and settings.rate.records_per_second > ceiling:
        wanted = settings.rate.records_per_second
        line += f'; rate.records_per_second = {wanted:,.0f} is above that: set kinesis.partition_key = "even"'
    return line
