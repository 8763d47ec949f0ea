"""One record of each pair and stock as they are now, as a source of its own, carried to its acknowledgement.

It is in no checkpoint and none of the counters, and is not made again: whoever asked for it asks again.
"""

import numpy as np

from tickerd.batch import timestamps
from tickerd.checkpoint import Checkpoint, Progress, Recipe
from tickerd.encoding import rows_encoder
from tickerd.kinesis.delivery import Delivery
from tickerd.kinesis.gate import Gate
from tickerd.kinesis.stream import KinesisStream
from tickerd.market.market import Market
from tickerd.observe.counters import Report
from tickerd.on_demand import NotSentError, Sent
from tickerd.schedule import QUIET, Segment, snapshot_part
from tickerd.settings import Kinesis


async def send_snapshot(
    source: str, ms: int, recipe: Recipe, market: Market, stream: KinesisStream, gate: Gate, settings: Kinesis
) -> Sent:
    """Send the snapshot of a millisecond since 1970 beside all else that goes to an open stream.

    NotSentError when the stream takes no records; cancelled, it may have arrived in part.
    """
    if gate.cause is not None:
        raise NotSentError(f"the destination takes no records: {gate.cause.message}")
    universe = market.universe
    part = snapshot_part(ms, (len(universe.pairs), len(universe.stocks), 0), 0)
    rows = market.columns(source, part)
    progress = Progress(_nothing_yet(source, recipe, part.frame))
    progress.begin(part.frame, part.records)
    delivery = Delivery(stream, gate, progress, Report(), settings)
    try:
        await delivery.submit(rows, rows_encoder(recipe.format)(rows))
        await delivery.drain()
    finally:
        await delivery.abandon()
    (time,) = timestamps(ms, np.zeros(1, dtype=np.int64))
    return Sent(source, part.records, time)


def _nothing_yet(source: str, recipe: Recipe, frame: int) -> Checkpoint:
    """What delivery takes acknowledgements off; it is never written."""
    return Checkpoint(
        source=source,
        recipe=recipe,
        first_frame=frame,
        lowest_unacknowledged=frame,
        begun_below=frame,
        segments=[Segment(frame, 0, QUIET, "")],
    )
