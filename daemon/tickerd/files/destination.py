"""Files, standard output and nothing at all, as destinations of a worker: one thread for all sources."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tickerd.arrivals import Arrivals, load_of
from tickerd.batch import Batch, Interleaved
from tickerd.checkpoint import Progress
from tickerd.files.cause import cause_of
from tickerd.files.delivery import RECORDS_PER_CHUNK_MAX, Delivery
from tickerd.files.leftovers import finish_leftovers
from tickerd.files.output import Output
from tickerd.files.rotating import RotatingFile
from tickerd.gate import Gate
from tickerd.observe.counters import Report
from tickerd.settings import File
from tickerd.texts import Texts


class FileDestination:
    """Files in a directory, which is made when it is not there."""

    def __init__(self, settings: File, directory: Path, gate: Gate) -> None:
        self._settings = settings
        self._directory = directory
        self._gate = gate
        self._thread = ThreadPoolExecutor(1, "files")

    async def open(self) -> None:
        """Finish what an earlier process has left, and wait through whatever stands in the way of that."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self._thread, self._make_ready)
                break
            except OSError as error:
                self._gate.close(cause_of(error, f"file.path = {self._directory}"), probed=True)
                await self._gate.passage()
        self._gate.open()

    def _make_ready(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        finish_leftovers(self._directory)

    def deliver(self, source: str, progress: Progress, report: Report) -> Delivery:
        """A delivery to files of this source."""
        sink = RotatingFile(self._settings, self._directory, source)
        return Delivery(sink, self._thread, self._gate, progress, report)

    async def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False)


class StandardOutput:
    """Standard output, for all sources alike."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._output = Output()
        self._thread = ThreadPoolExecutor(1, "output")

    async def open(self) -> None:
        """See how it was left."""
        self._output.open()

    def deliver(self, _source: str, progress: Progress, report: Report) -> Delivery:
        """A delivery to standard output."""
        return Delivery(self._output, self._thread, self._gate, progress, report)

    async def close(self) -> None:
        """Let the thread end, though nobody reads."""
        self._output.stopped = True
        self._thread.shutdown(wait=False)


class Nothing:
    """Takes everything at once, for measuring what records cost before they go anywhere."""

    async def open(self) -> None:
        """Nothing to open."""

    def deliver(self, _source: str, progress: Progress, report: Report) -> "NoDelivery":
        """A delivery to nowhere."""
        return NoDelivery(Arrivals(progress, report))

    async def close(self) -> None:
        """Nothing to close."""


class NoDelivery:
    """Makes the bytes of every record, and drops them."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals

    async def submit(self, batch: Batch | Interleaved, texts: Texts) -> None:
        """Acknowledge the records at once."""
        records = len(texts)
        stops = [*range(RECORDS_PER_CHUNK_MAX, records, RECORDS_PER_CHUNK_MAX), records]
        for _ in texts.runs(np.arange(records), stops, None, lines=False):
            pass
        self._arrivals.arrived([load_of(batch.frame, batch.feeds, texts.sizes())], None)

    async def drain(self) -> None:
        """Nothing is on its way."""

    async def abandon(self) -> None:
        """Nothing is on its way."""
