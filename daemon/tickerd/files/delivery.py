"""Carries records as lines to a sink, in their order: written by a thread, acknowledged once they count.

`submit` waits while much is waiting to be written. What cannot be written is kept, and tried again as the
gate says; nothing is given up, what is left at the end stays owed by the checkpoint.
"""

import asyncio
import errno
import logging
import time
from collections import deque
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from tickerd.arrivals import Arrivals, Load, load_of
from tickerd.batch import Batch, Interleaved
from tickerd.checkpoint import Progress
from tickerd.destination import NoReaderError
from tickerd.files.cause import cause_of
from tickerd.files.sink import Sink, Written
from tickerd.gate import Gate
from tickerd.observe.counters import Report
from tickerd.texts import Texts, chunk_stops

BACKLOG_BYTES_MAX = 16 << 20  # a worker's; some 100,000 records
WRITE_BYTES_MAX = 4 << 20  # of one call to the sink: what follows is acknowledged later
RECORDS_PER_CHUNK_MAX = 1000  # joined at once they stay in the nearer cache (piece_texts.py)
IDLE_S = 0.5  # how often a sink without anything to write sees what time has brought

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Block:
    """Chunks of lines that wait: the records of one part of a frame, or what is left of them."""

    chunks: list[bytes]
    first_seq: int
    load: Load

    @property
    def size(self) -> int:
        """Bytes of the lines."""
        return sum(map(len, self.chunks))

    def skip(self, chunks: int) -> None:
        """The first chunks have been written."""
        self.first_seq += sum(chunk.count(b"\n") for chunk in self.chunks[:chunks])
        del self.chunks[:chunks]


class Delivery:
    """The records of one source on their way to a sink. `abandon` after use."""

    def __init__(self, sink: Sink, thread: Executor, gate: Gate, progress: Progress, report: Report) -> None:
        self._sink = sink
        self._thread = thread
        self._gate = gate
        self._report = report
        self._arrivals = Arrivals(progress, report)
        self._waiting: deque[Block] = deque()
        self._waiting_bytes = 0  # those included that are being written
        self._since_s = 0.0  # when the first of what waits came
        self._draining = False
        self._room = asyncio.Event()
        self._wake = asyncio.Event()
        self._failed: BaseException | None = None
        self._writing = asyncio.create_task(self._write())
        self._writing.add_done_callback(self._ended)

    async def submit(self, batch: Batch | Interleaved, texts: Texts) -> None:
        """Have the records written in the background; wait first until there is room."""
        while self._failed is None and self._waiting_bytes > BACKLOG_BYTES_MAX:
            self._room.clear()
            await self._room.wait()
        if self._failed is not None:
            raise self._failed
        sizes = texts.sizes() + 1  # with the newline
        stops = chunk_stops(sizes, self._sink.chunk_bytes_max, RECORDS_PER_CHUNK_MAX)
        chunks = list(texts.runs(np.arange(len(texts)), stops, None, lines=True))
        if not self._waiting:
            self._since_s = time.monotonic()
        block = Block(chunks, batch.first_seq, load_of(batch.frame, batch.feeds, sizes))
        self._waiting.append(block)
        self._waiting_bytes += block.size
        self._wake.set()

    async def drain(self) -> None:
        """Wait until everything is written."""
        self._draining = True
        self._wake.set()
        while self._failed is None and self._waiting:
            self._room.clear()
            await self._room.wait()
        if self._failed is not None:
            raise self._failed

    async def abandon(self) -> None:
        """Stop writing, and give what was written its name; what is not acknowledged stays owed."""
        self._writing.cancel()
        await asyncio.gather(self._writing, return_exceptions=True)
        if not self._sink.has_names:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._sink.finish)
        except OSError as error:
            why = error.strerror or str(error)
            log.warning("%s: the last file is finished at the next start: %s", self._sink.where, why)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._failed = task.exception()
        self._room.set()

    async def _write(self) -> None:
        while True:
            if not await self._is_worth_it():
                if not self._waiting:
                    self._look((await self._call([])).error)
                continue
            probing = await self._gate.passage()
            try:
                await self._write_some(probing=probing)
            except asyncio.CancelledError:
                if probing:
                    self._gate.give_up()
                raise

    async def _is_worth_it(self) -> bool:
        """Wait until enough waits, or has waited long enough; False from time to time."""
        wait_s = IDLE_S
        if self._waiting:
            wait_s = self._since_s + self._sink.linger_s - time.monotonic()
            if self._draining or self._waiting_bytes >= self._sink.enough_bytes or wait_s <= 0:
                return True
        self._wake.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        return False

    async def _write_some(self, *, probing: bool) -> None:
        """Write what waits, or the first of it, and take off what counts."""
        blocks: list[Block] = []
        size = 0
        for block in self._waiting:
            blocks.append(block)
            size += block.size
            if size >= WRITE_BYTES_MAX:
                break
        began_s = time.monotonic()
        self._report.requests_in_flight += 1
        try:
            written = await self._call(blocks)
        finally:
            self._report.requests_in_flight -= 1
        if not self._look(written.error, probing=probing):
            records, code = sum(block.load.total for block in blocks), errno.errorcode.get
            name = code(written.error.errno or 0, "OSError") if written.error else ""
            self._arrivals.answered("failed", time.monotonic() - began_s, records, name)
            self._arrivals.again(records)
        else:
            self._gate.open()
        self._settle(blocks, written.chunks, time.monotonic() - began_s)

    async def _call(self, blocks: list[Block]) -> Written:
        chunks = [chunk for block in blocks for chunk in block.chunks]
        first_seq = blocks[0].first_seq if blocks else 0
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._sink.write, chunks, first_seq)

    def _look(self, error: OSError | None, *, probing: bool = False) -> bool:
        """Whether all went well; else the gate closes, or the delivery ends where nobody reads."""
        if error is None:
            return True
        if error.errno == errno.EPIPE:
            raise NoReaderError
        self._gate.close(cause_of(error, self._sink.where), probed=probing)
        return False

    def _settle(self, blocks: list[Block], chunks: int, duration_s: float) -> None:
        """The first chunks of these blocks, which are the first that wait, have been written."""
        loads: list[Load] = []
        for block in blocks:
            done = min(chunks, len(block.chunks))
            chunks -= done
            self._waiting_bytes -= sum(map(len, block.chunks[:done]))
            if done < len(block.chunks):
                block.skip(done)
                break
            self._waiting.popleft()
            loads.append(block.load)
        if loads:
            self._arrivals.answered("acknowledged", duration_s, sum(load.total for load in loads))
            self._arrivals.arrived(loads, None)
        self._since_s = time.monotonic()
        self._room.set()
