"""`tickerd verify`: reads a whole stream back and says what was lost, doubled, altered or out of order.

Shards are read at the same time, and their records accounted with parents before children, as a consumer
that keeps the order reads them. It changes nothing on the stream.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

import msgspec

from tickerd.reading.account_file import Account
from tickerd.reading.client import CONNECTIONS_MAX
from tickerd.reading.judging import judge
from tickerd.reading.report import Report
from tickerd.reading.stream import StreamReader, StreamShard, open_stream
from tickerd.reading.tally import ShardTally


class VerifyOptions(msgspec.Struct, frozen=True):
    """What to read and how to judge it; empty texts are left to the library's chain.

    `stream` is a name or an ARN; `from_time` (arrival, with a time zone) starts later than the horizon;
    `settle_s` is kept from both ends of what was read where no `account` says what must be there.
    """

    stream: str
    region: str = ""
    endpoint_url: str = ""
    role_arn: str = ""
    from_time: datetime | None = None
    settle_s: float = 60.0
    account: Account | None = None


async def verify(options: VerifyOptions, progress: Callable[[int], None] | None = None) -> Report:
    """Read the stream back and judge it; `progress` is told how many records have been read so far.

    Raises ReadingError (one line) where the stream cannot be read.
    """
    cut_at = options.from_time
    where = (options.stream, options.region, options.endpoint_url, options.role_arn)
    async with open_stream(*where) as reader:
        shards = await reader.shards()
        if options.account is not None:
            known = [moment for moment in (cut_at, await reader.horizon()) if moment is not None]
            cut_at = max(known, default=None)
        tallies = await _read(reader, shards, options.from_time, progress or (lambda _: None))
    return judge(options.stream, tallies, options.account, options.settle_s, cut_at)


async def _read(
    reader: StreamReader,
    shards: list[StreamShard],
    from_time: datetime | None,
    progress: Callable[[int], None],
) -> list[ShardTally]:
    instruments: dict[str, int] = {}
    tallies = [ShardTally(shard, instruments) for shard in shards]
    records_read = 0
    turn = asyncio.Semaphore(CONNECTIONS_MAX)

    async def read(tally: ShardTally) -> None:
        nonlocal records_read
        async with turn:
            async for entries in reader.pages(tally.shard.shard_id, from_time):
                records_read += tally.add(entries)
                progress(records_read)

    try:
        async with asyncio.TaskGroup() as group:
            for tally in tallies:
                group.create_task(read(tally))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None  # the first one ended the others; one line says why
    return tallies
