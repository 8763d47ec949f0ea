"""The Kinesis stream as a destination: packs a batch into calls and sends a call.

It knows the stream's shards and refreshes them. Which calls are on their way, and their fate, is delivery's.
"""

import asyncio
import logging
import random
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tickerd.batch import Batch
from tickerd.encoding import Encode
from tickerd.kinesis.calls import Call, Packer
from tickerd.kinesis.client import KinesisClient, Reply, StreamError, StreamInfo
from tickerd.kinesis.gate import Gate
from tickerd.kinesis.route import Route
from tickerd.observe.counters import Report, StreamReport
from tickerd.settings import Kinesis

REFRESH_S = 60.0
RECORD_BYTES_MEAN = 175  # data and key, with the default mix; only the stated ceiling depends on it

log = logging.getLogger(__name__)


class KinesisStream:
    """One worker's view of the stream. `open` waits until the stream can be described."""

    def __init__(
        self,
        settings: Kinesis,
        instruments: Sequence[str],
        shares: NDArray[np.float64],
        workers: int,
        gate: Gate,
        report: Report,
    ) -> None:
        self._settings = settings
        self._instruments = instruments
        self._shares = shares
        self._workers = workers
        self._gate = gate
        self._report = report
        self._client = KinesisClient(settings, settings.calls_in_flight_max)
        self._renewing = asyncio.Lock()
        self._next_route: Route | None = None
        self._pending_since_s = 0.0

    async def open(self) -> None:
        """Describe the stream, and wait through whatever stands in the way of that."""
        while True:
            try:
                await self._client.open()
                info = await self._client.describe()
                break
            except StreamError as error:
                self._gate.close(error.cause, probed=True)
                await self._gate.passage()
        self._gate.open()
        self._packer = Packer(info.address, self._route(info), info.entry_bytes_max)
        self._refreshing = asyncio.create_task(self._refresh())

    async def close(self) -> None:
        """Close every connection; a stream that was never opened too."""
        if hasattr(self, "_refreshing"):
            self._refreshing.cancel()
        await self._client.close()

    def pack(self, batch: Batch, encode: Encode) -> list[Call]:
        """Encode the batch and return the calls that became full."""
        calls: list[Call] = []
        if self._next_route is not None:
            calls = self._packer.reroute(self._next_route)
            self._next_route = None
        waited = self._packer.pending
        keys = self._packer.route.keys_of(batch.instruments)
        calls += self._packer.add(encode(batch.records), keys, batch.feeds, batch.frame)
        if calls or not waited:
            self._pending_since_s = time.monotonic()
        return calls

    def lingering(self) -> list[Call]:
        """The call that is not full, once its first record has waited for `linger_ms`."""
        waited_s = time.monotonic() - self._pending_since_s
        return self._packer.flush() if waited_s * 1000 >= self._settings.linger_ms else []

    def flush(self) -> list[Call]:
        """The call that is not full."""
        return self._packer.flush()

    def again(self, call: Call, entries: Sequence[int]) -> Call:
        """A call of these entries of an earlier one."""
        return self._packer.build(call.pick(entries))

    async def turn(self, call: Call) -> None:
        """Wait until the call's shards can take it."""
        limiter = call.route.limiter
        if limiter is not None:
            entry_shards = call.route.key_shards[call.keys]
            wait_s = limiter.wait_s(entry_shards, call.entry_bytes, time.monotonic())
            if wait_s > 0:
                await asyncio.sleep(wait_s)

    async def send(self, call: Call) -> Reply:
        """Send the call, and return the answer, whatever it is."""
        return await self._client.put_records(call.body)

    async def renew_credentials(self) -> None:
        """Find new credentials, once for all calls that ask at the same time."""
        if self._renewing.locked():
            async with self._renewing:
                return
        async with self._renewing:
            await self._client.open()

    def _route(self, info: StreamInfo) -> Route:
        share = 1 / self._workers if self._settings.shard_limits else None
        route = Route(info.shard_map, self._instruments, self._shares, self._settings.partition_key, share)
        ceiling = route.ceiling_records_per_second(RECORD_BYTES_MEAN)
        self._report.stream = StreamReport(info.name, len(info.shard_map), info.distribution, ceiling)
        return route

    async def _refresh(self) -> None:
        """Look at the shards from time to time; the service allows a stream 100 such calls a second."""
        while True:
            await asyncio.sleep(REFRESH_S * self._workers * random.uniform(0.8, 1.2))
            try:
                info = await self._client.describe()
            except StreamError as error:
                log.debug("the stream could not be described: %s", error.cause.message)
                continue
            if info.shard_map != self._packer.route.shard_map:
                log.info("the stream has been resharded", extra={"shards": len(info.shard_map)})
                self._next_route = self._route(info)
