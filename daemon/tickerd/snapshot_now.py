"""One record of each pair and stock as they are now, as a source of its own, carried to its acknowledgement.

It is in no checkpoint and none of the counters, and is not made again: whoever asked for it asks again.
"""

import asyncio

import numpy as np

from tickerd.batch import Interleaved, timestamps
from tickerd.checkpoint import Checkpoint, Progress, Recipe
from tickerd.destination import Delivery, Destination
from tickerd.encoding import rows_encoder
from tickerd.gate import Gate
from tickerd.market.market import Market
from tickerd.observe.counters import Report
from tickerd.on_demand import NotSentError, Sent
from tickerd.schedule import QUIET, Segment, snapshot_part
from tickerd.texts import Texts

LOOK_S = 0.1


async def send_snapshot(
    source: str, ms: int, recipe: Recipe, market: Market, destination: Destination, gate: Gate
) -> Sent:
    """Send the snapshot of a millisecond since 1970 beside all else that goes to an open destination.

    NotSentError when the destination takes no records; then, or cancelled, it may have arrived in part.
    """
    universe = market.universe
    part = snapshot_part(ms, (len(universe.pairs), len(universe.stocks), 0), 0)
    rows = market.columns(source, part)
    progress = Progress(_nothing_yet(source, recipe, part.frame))
    progress.begin(part.frame, part.records)
    delivery = destination.deliver(source, progress, Report())
    texts = rows_encoder(recipe.format)(rows)
    if gate.cause is not None:
        gate.hurry()  # let the next probe tell at once whether it still stands
    refusals = gate.refusals
    sending = asyncio.create_task(_sent(delivery, rows, texts))
    try:
        while not sending.done():
            await asyncio.wait({sending}, timeout=LOOK_S)
            if gate.cause is not None and gate.refusals > refusals:
                raise NotSentError(f"the destination takes no records: {gate.cause.message}")
        await sending
    finally:
        sending.cancel()
        await delivery.abandon()
    (time,) = timestamps(ms, np.zeros(1, dtype=np.int64))
    return Sent(source, part.records, time)


async def _sent(delivery: Delivery, rows: Interleaved, texts: Texts) -> None:
    await delivery.submit(rows, texts)
    await delivery.drain()


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
