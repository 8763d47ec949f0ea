"""One worker's view of the Kinesis stream: its shards, how records are addressed, and sending a call.

It follows the stream's reshards and its distribution, by a look now and then and whenever an answer comes
from an unexpected shard. Which calls are on their way, and their fate, is delivery's.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Iterable, Sequence

from numpy import float64
from numpy.typing import NDArray

from tickerd.gate import Gate
from tickerd.kinesis.client import KinesisClient, Reply, StreamError, StreamInfo
from tickerd.kinesis.formats import FORMATS
from tickerd.kinesis.pacing import Pacer
from tickerd.kinesis.route import Route
from tickerd.kinesis.shards import Shard
from tickerd.observe.counters import Problem, Report, StreamReport
from tickerd.settings import Kinesis

REFRESH_S = 30.0  # times workers: an account may describe its streams 20 times a second
# At least, between two looks at the shards: a stream may be asked 100 times a second, by all hosts together.
REFRESH_PAUSE_S = 5.0
REFRESH_PAUSE_CHANGED_S = 1.0  # after a look that told something new: reshards seldom come alone
EXPLAIN_LOOKS_MAX = 4
RECORD_BYTES_MEAN = 175  # data and key, with the default mix; only the stated ceiling depends on it
AUTO = "AUTO"

log = logging.getLogger(__name__)


class KinesisStream:
    """`open` waits until the stream can be described; `route` is replaced whole when the shards change."""

    route: Route
    _info: StreamInfo

    def __init__(
        self,
        settings: Kinesis,
        instruments: Sequence[str],
        shares: NDArray[float64],
        workers: int,
        gate: Gate,
        report: Report,
    ) -> None:
        self._settings = settings
        self._format = FORMATS[settings.request]
        self._instruments = instruments
        self._shares = shares
        self._workers = workers
        self._gate = gate
        self._report = report
        self._client = KinesisClient(settings, settings.calls_in_flight_max)
        self._renewing = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None
        self._look = asyncio.Event()  # somebody wants a look at the shards
        self._looked = asyncio.Event()  # replaced after each
        self._in_doubt = False  # whether the distribution is to be looked at too

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
        self._info = info
        self.route = self._route(info, None)
        self._say(info)
        self._looking = asyncio.create_task(self._look_again())
        self._looking.add_done_callback(lambda _: self._looked.set())

    async def close(self) -> None:
        """Close every connection; a stream that was never opened too."""
        try:
            if self._looking is not None:
                self._looking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._looking
        finally:
            await self._client.close()

    @property
    def opening(self) -> bytes:
        """How the body of a request begins."""
        return self._format.opening(self._info.named)

    @property
    def entry_bytes_max(self) -> int:
        """How large an entry may be, with its key."""
        return self._info.entry_bytes_max

    @property
    def is_auto(self) -> bool:
        """Whether the stream deals entries out over its shards as it likes, whatever their keys."""
        return self._info.distribution == AUTO

    @property
    def aggregation(self) -> str:
        """The setting in force: consumers lose aggregates of the library's format on an AUTO stream."""
        return "none" if self.is_auto and self._settings.aggregation == "kpl" else self._settings.aggregation

    async def send(self, body: bytes) -> Reply:
        """Send a call, and return the answer, whatever it is."""
        return await self._client.put_records(body)

    def shard(self, shard_id: str) -> Shard | None:
        """A shard, open or closed, as far as it is known."""
        return self._info.shards.by_id.get(shard_id)

    def surprised(self, route: Route, landed: Iterable[str]) -> bool:
        """Entries have landed in other shards than their call's route foresaw: have a look, soon.

        False when there is nothing to look for, as the shards are known and the route is newer by now.
        """
        if self.route is not route and all(map(self.shard, landed)):
            return False
        self._in_doubt |= any(shard_id in self.route.positions for shard_id in landed)
        self._look.set()
        return True

    async def explain(self, route: Route, landed: Iterable[str]) -> None:
        """Wait until a newer route tells why entries have landed where they did; for a few looks at most."""
        for _ in range(EXPLAIN_LOOKS_MAX):
            if not self.surprised(route, landed):
                return
            if self._looking is not None and self._looking.done():
                self._looking.result()  # which raises: it never ends by itself
            await self._looked.wait()

    async def renew_credentials(self) -> None:
        """Find new credentials, once for all calls that ask at the same time."""
        if self._renewing.locked():
            async with self._renewing:
                return
        async with self._renewing:
            await self._client.open()

    async def _look_again(self) -> None:
        """Look at the stream now and then, and at its shards when asked to, but never often."""
        while True:
            whole, pause_s = False, REFRESH_PAUSE_S
            try:
                async with asyncio.timeout(REFRESH_S * self._workers * random.uniform(0.8, 1.2)):
                    await self._look.wait()
            except TimeoutError:
                whole = True
            self._look.clear()
            try:
                if whole or self._in_doubt:
                    info = await self._client.describe()
                else:
                    info = self._info._replace(shards=await self._client.list_shards(self._info))
            except StreamError as error:
                log.debug("the stream cannot be looked at: %s", error.cause.message)
            else:
                self._in_doubt = False
                if info != self._info:
                    self._follow(info)
                    pause_s = REFRESH_PAUSE_CHANGED_S
            self._looked.set()
            self._looked = asyncio.Event()
            await asyncio.sleep(pause_s)

    def _follow(self, info: StreamInfo) -> None:
        """Go by this description from now on."""
        before, self._info = self._info, info
        if (before.shards.shard_map, before.distribution) != (info.shards.shard_map, info.distribution):
            self.route = self._route(info, self.route)
            told = {"shards": len(info.shards.shard_map), "distribution": info.distribution}
            log.info("the stream has another shard map or distribution", extra=told)
        self._say(info)

    def _route(self, info: StreamInfo, before: Route | None) -> Route:
        shard_map = info.shards.shard_map
        pacer = None
        if self._settings.shard_limits and not self.is_auto:
            parents: dict[str, str] = {}
            if before is not None:
                parents = {
                    shard.shard_id: before.shard_map.shards[
                        before.shard_map.shard_of(shard.hash_key_start)
                    ].shard_id
                    for shard in shard_map.shards
                }
            shard_ids = [shard.shard_id for shard in shard_map.shards]
            old = before.pacer if before else None
            pacer = Pacer(shard_ids, 1 / self._workers, time.monotonic(), old, parents)
        return Route(
            shard_map, self._instruments, self._shares, self._settings.partition_key, pacer, self._format
        )

    def _say(self, info: StreamInfo) -> None:
        """Put into the report what the stream is, and what of the settings it does not allow."""
        aggregated = self.aggregation != "none"
        self._report.stream = StreamReport(
            info.name,
            len(info.shards.shard_map),
            info.distribution,
            self.route.ceiling_records_per_second(RECORD_BYTES_MEAN, aggregated=aggregated),
            self.aggregation,
            "relaxed" if self.is_auto else self._settings.order,
        )
        notice = self._notice()
        if bool(notice) != bool(self._report.notices):
            self._report.notices = [Problem("AutoDistribution", notice, time.time(), 1)] if notice else []

    def _notice(self) -> str:
        """What is not done, and why; empty when all is done as it was set."""
        if not self.is_auto or self._settings.aggregation != "kpl":
            return ""
        order = ' and kinesis.order = "key"' if self._settings.order == "key" else ""
        return (
            f"the stream's RecordDistributionStrategy is AUTO, which ignores partition keys: records go "
            f'plain, without kinesis.aggregation = "kpl"{order}, until it is USER_PARTITION_KEY again'
        )
