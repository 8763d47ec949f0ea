"""The records that benches pack and send: the default market and mix, the same ones in every run."""

import math

from tickerd.batch import Batch, Interleaved
from tickerd.encoding import encoder
from tickerd.market.market import Market
from tickerd.market.universe import Universe
from tickerd.schedule import RECORDS_PER_PART_MAX, Segment, Timeline, split
from tickerd.settings import Mix

SOURCE = "i-0abc123def4567890-0-k7m2qx4d"
FIRST_FRAME = 28_728_345_600  # 2026-11-24T12:00:00Z
UNIVERSE = Universe.load()
SHARES = UNIVERSE.shares(Mix().weights)


def columns(records: int) -> list[Interleaved]:
    """About so many records as columns, as a worker at full speed has them: a part of a frame each."""
    frames = math.ceil(records / RECORDS_PER_PART_MAX)
    milli_records_per_second = math.ceil(records / frames) * 16_000
    segment = Segment(FIRST_FRAME, 412_316, split(milli_records_per_second, Mix().weights, 1, 0), "bench")
    market, timeline = Market(1, UNIVERSE), Timeline([segment])
    parts = [part for frame in range(FIRST_FRAME, FIRST_FRAME + frames) for part in timeline.parts(frame)]
    return [market.columns(SOURCE, part) for part in parts]


def batches(records: int) -> list[Batch]:
    """The same as records."""
    return [
        Batch(rows.frame, rows.first_seq, rows.records, rows.instruments, rows.feeds)
        for rows in columns(records)
    ]


def encoded(records: int) -> tuple[list[bytes], list[str]]:
    """So many records as bytes, and their partition keys."""
    data: list[bytes] = []
    keys: list[str] = []
    encode = encoder("json")
    for batch in batches(records + 1000):  # rounding takes up to two records a frame
        data += encode(batch.records)
        keys += [UNIVERSE.instruments[row] for row in batch.instruments.tolist()]
    return data[:records], keys[:records]
