"""All shards of a stream at the same time, each after its parents, and new ones as they appear.

An order that a producer kept over splits and merges is kept here.
"""

import asyncio
from collections.abc import Sequence

from tickerd.reading.stream import Span, StreamReader, StreamShard, Take

CHILDREN_TRIES, CHILDREN_PAUSE_S = 10, 1.0  # a shard that has ended is listed with its children soon


class Walk:
    """One reading of a stream; `take` gets every shard once, with no entries, before its first ones."""

    def __init__(self, reader: StreamReader, span: Span, take: Take) -> None:
        self._reader = reader
        self._span = span
        self._take = take
        self._ended: dict[str, asyncio.Event] = {}  # by shard, of all that were begun
        self._parents: set[str] = set()  # of all that were begun
        self._listing = asyncio.Lock()

    async def run(self, shards: Sequence[StreamShard]) -> None:
        """Read these shards, and where the span follows the stream the ones that come of them."""
        if self._span.latest:
            shards = [shard for shard in shards if shard.is_open]
        try:
            async with asyncio.TaskGroup() as group:
                self._begin(group, shards, self._span)
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None  # the first one ended the others; one line says why

    def _begin(self, group: asyncio.TaskGroup, shards: Sequence[StreamShard], span: Span) -> None:
        new = [shard for shard in shards if shard.shard_id not in self._ended]
        self._ended |= {shard.shard_id: asyncio.Event() for shard in new}
        self._parents.update(*(shard.parents for shard in new))
        for shard in new:
            group.create_task(self._read(group, shard, span))

    async def _read(self, group: asyncio.TaskGroup, shard: StreamShard, span: Span) -> None:
        for parent in shard.parents:
            if parent in self._ended:
                await self._ended[parent].wait()
        self._take(shard, [])
        at_end = await self._reader.read(shard, span, self._take)
        if at_end and span.follow:
            self._take(shard._replace(is_open=False), [])
            await self._find_children(group, shard)
        self._ended[shard.shard_id].set()

    async def _find_children(self, group: asyncio.TaskGroup, parent: StreamShard) -> None:
        """Begin with the shards that a closed one became; they are read when it has ended here."""
        for _ in range(CHILDREN_TRIES):
            async with self._listing:  # many shards may end at the same time, and one list names all children
                if parent.shard_id not in self._parents:
                    self._begin(group, await self._reader.shards(), self._span._replace(latest=False))
            if parent.shard_id in self._parents:
                return
            await asyncio.sleep(CHILDREN_PAUSE_S)
