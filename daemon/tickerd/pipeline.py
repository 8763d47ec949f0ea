"""The data plane: clock, frame, market, records, bytes, shard, entry, call, acknowledgement, checkpoint.

Everything here is per part of a frame or per call. `submit` is the only place that waits for the destination.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tickerd.destination import Delivery
from tickerd.encoding import EncodeRows
from tickerd.market.market import Market
from tickerd.observe.counters import NO_FRAME
from tickerd.source import Source


@dataclass(slots=True)
class Pipeline:
    """Carries the records of one source to the destination. `making` is told which frame is being made."""

    source: Source
    market: Market
    encode: EncodeRows
    delivery: Delivery
    making: Callable[[int], None]

    async def run(self) -> None:
        """Carry frames until the source gives out no more, then wait until all is acknowledged."""
        async for part in self.source.parts():  # which frame is due, with which counts and first seq
            if part.records:
                self.making(part.frame)
                rows = self.market.columns(self.source.name, part)
                texts = self.encode(rows)  # columns -> records -> bytes
                self.making(NO_FRAME)
                await asyncio.sleep(0)  # answers and timers wait for half of the work only
                await self.delivery.submit(rows, texts)  # the only place that waits: backpressure
                del texts  # else the encoder, before the next part, would copy for us what has gone
            await asyncio.sleep(0)  # calls go out now, not after the next part
        await self.delivery.drain()
