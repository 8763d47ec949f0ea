"""A Kinesis stream as a destination: one stream a worker, one delivery a source."""

from tickerd.checkpoint import Progress
from tickerd.gate import Gate
from tickerd.kinesis.delivery import Delivery
from tickerd.kinesis.stream import KinesisStream
from tickerd.observe.counters import Report
from tickerd.settings import Kinesis


class KinesisDestination:
    """`open` waits until the stream can be described."""

    def __init__(self, stream: KinesisStream, gate: Gate, settings: Kinesis) -> None:
        self._stream = stream
        self._gate = gate
        self._settings = settings

    async def open(self) -> None:
        """Describe the stream, and wait through whatever stands in the way of that."""
        await self._stream.open()

    def deliver(self, _source: str, progress: Progress, report: Report) -> Delivery:
        """A delivery to the stream, which has to be open."""
        return Delivery(self._stream, self._gate, progress, report, self._settings)

    async def close(self) -> None:
        """Close every connection."""
        await self._stream.close()
