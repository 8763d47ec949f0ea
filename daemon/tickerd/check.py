"""What `tickerd check` says beyond the settings being sound: where records go, and what limits that."""

import numpy as np

from tickerd.kinesis.ceiling import ceiling_records_per_second
from tickerd.kinesis.stream import RECORD_BYTES_MEAN
from tickerd.market.universe import Universe
from tickerd.pubsub.limits import ORDERING_KEY_BYTES_PER_SECOND
from tickerd.recipe import market_of, recipe_of
from tickerd.settings import Settings

TAKES = {"stdout": "as fast as it is read", "null": "everything, and keeps nothing"}


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


def destination_line(settings: Settings) -> str:
    """One line: where records go, and how many of them the keys let through where that is known."""
    match settings.destination.kind:
        case "kinesis":
            return ceiling_line(settings)
        case "pubsub":
            return _topic_line(settings)
        case "file":
            where = settings.file.path or "`records` in the state directory"
            return f'destination.kind = "file": files in {where}'
        case kind:
            return f'destination.kind = "{kind}": {TAKES[kind]}'


def _topic_line(settings: Settings) -> str:
    pubsub = settings.pubsub
    if pubsub.order == "relaxed":
        return f'destination.kind = "pubsub": topic {pubsub.topic}; the quota of its project and region holds'
    shares = Universe.load(settings.market.universe).shares(settings.rate.mix.weights)
    keys = np.bincount(np.arange(len(shares)) % pubsub.ordering_keys, shares)
    ceiling = ORDERING_KEY_BYTES_PER_SECOND / (RECORD_BYTES_MEAN * float(keys.max()))
    return (
        f'pubsub.order = "key": a worker publishes at most {ceiling:,.0f} records/s before compression: of '
        f"{pubsub.ordering_keys} ordering keys the busiest has {keys.max():.1%} of the records, and a key "
        f"takes {ORDERING_KEY_BYTES_PER_SECOND / 1e6:.0f} MB/s"
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
        f"many shards it has: {instrument} has {share:.1%} of the records on average (in busy hours an "
        f"instrument may have twice its share), and a shard takes {a_shard:,.0f}/s"
    )
    if settings.kinesis.shard_limits and settings.rate.records_per_second > ceiling:
        wanted = settings.rate.records_per_second
        line += f'; rate.records_per_second = {wanted:,.0f} is above that: set kinesis.partition_key = "even"'
    return line
