"""What the pipeline needs of a destination, and the choice of one: of rooms that know nothing of each other.

A destination is opened once in a worker. Each source has a delivery of its own to it, which carries records
to their acknowledgement and takes them off what the source owes. A room is imported only when it is chosen.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol

from numpy import float64
from numpy.typing import NDArray

from tickerd.batch import Batch, Interleaved
from tickerd.checkpoint import Progress
from tickerd.gate import Gate
from tickerd.observe.counters import Report
from tickerd.settings import Settings
from tickerd.texts import Texts


class Delivery(Protocol):
    """The records of one source that are on their way. `abandon` after use."""

    async def submit(self, batch: Batch | Interleaved, texts: Texts) -> None:
        """Send the batch's records, given as `texts`, in the background; wait first until there is room."""

    async def drain(self) -> None:
        """Wait until everything is acknowledged."""

    async def abandon(self) -> None:
        """Stop sending; what is not acknowledged stays owed."""


class Destination(Protocol):
    """Where a worker's records go. Whatever stands in the way closes the gate, which says why."""

    async def open(self) -> None:
        """Make ready to deliver, and wait through whatever stands in the way of that."""

    def deliver(self, source: str, progress: Progress, report: Report) -> Delivery:
        """A delivery of this source's records: what has arrived is told to `progress` and `report`."""

    async def close(self) -> None:
        """Let go of everything; also of a destination that was never opened."""


ROOMS = {
    "kinesis": "tickerd.kinesis.destination",
    "pubsub": "tickerd.pubsub.destination",  # needs an extra
    "file": "tickerd.files.destination",
    "stdout": "tickerd.files.destination",
    "null": "tickerd.files.destination",
}


def load_room(settings: Settings) -> None:
    """Import the room that the settings name: it takes a while, so it is done before a worker reports up."""
    import_module(ROOMS[settings.destination.kind])


class NoReaderError(Exception):
    """Standard output is closed: nobody reads any more."""


def destination_of(
    settings: Settings,
    state: Path,
    instruments: Sequence[str],
    shares: NDArray[float64],
    workers: int,
    gate: Gate,
    report: Report,
) -> Destination:
    """The destination that the settings name.

    `shares`: [instruments] each one's share of all records; `workers`: how many there are on this host.
    """
    match settings.destination.kind:
        case "kinesis":
            from tickerd.kinesis.destination import KinesisDestination  # noqa: PLC0415
            from tickerd.kinesis.stream import KinesisStream  # noqa: PLC0415

            stream = KinesisStream(settings.kinesis, instruments, shares, workers, gate, report)
            return KinesisDestination(stream, gate, settings.kinesis)
        case "file":
            from tickerd.files.destination import FileDestination  # noqa: PLC0415

            return FileDestination(settings.file, file_directory(settings, state), gate)
        case "stdout":
            from tickerd.files.destination import StandardOutput  # noqa: PLC0415

            return StandardOutput(gate)
        case "null":
            from tickerd.files.destination import Nothing  # noqa: PLC0415

            return Nothing()
        case "pubsub":
            from tickerd.pubsub.destination import PubSubDestination  # noqa: PLC0415

            return PubSubDestination(settings.pubsub, gate)


def file_directory(settings: Settings, state: Path) -> Path:
    """Where files are written: `file.path`, or `records` in the state directory."""
    return Path(settings.file.path).absolute() if settings.file.path else state / "records"
