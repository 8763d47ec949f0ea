"""What a source still owes, and the file that remembers it over any death.

A checkpoint says: every frame below `lowest_unacknowledged` is delivered; none at or above `begun_below` was
begun. What lies between is made again at the next start. The file is replaced atomically and durably.
"""

import os
import zlib
from pathlib import Path
from typing import Literal

import msgspec

from tickerd.schedule import FRAMES_PER_SECOND, QUIET, Cadence, Segment, Timeline

CHECKPOINT_VERSION = 1
SEGMENTS_KEPT = 64  # `verify` makes what was delivered again too, and needs its segments for that


class Recipe(msgspec.Struct, frozen=True):
    """All besides segment, source and frame number that a record's bytes depend on."""

    seed: int
    universe: str
    universe_digest: str
    format: Literal["json", "msgpack"]
    model_version: int
    record_version: int
    hours: Literal["continuous", "market"] = "continuous"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One source's state, as it stands in `checkpoint/<source>.json`."""

    version: int = CHECKPOINT_VERSION
    source: str
    recipe: Recipe
    first_frame: int  # the source's very first
    lowest_unacknowledged: int
    begun_below: int
    segments: list[Segment]
    retired: bool = False  # finished by another worker: its frames from begun_below on were never its own

    @property
    def owes(self) -> bool:
        """Whether records may have been made that were not acknowledged."""
        return self.timeline().seq(self.begun_below) > self.timeline().seq(self.lowest_unacknowledged)

    def timeline(self) -> Timeline:
        """The segments, ready to be asked; ValueError when they do not follow each other."""
        return Timeline(self.segments)


class CheckpointError(Exception):
    """The file is no checkpoint of this source; the message says what to do."""


class _File(msgspec.Struct):
    checkpoint: msgspec.Raw
    crc32: int


def path_of(state: Path, source: str) -> Path:
    """Where a source's checkpoint lies in the state directory."""
    return state / "checkpoint" / f"{source}.json"


def read(path: Path) -> Checkpoint:
    """The checkpoint in a file; CheckpointError when it is damaged, foreign or of another version."""
    remedy = "restore it, or move it away to give up what it owes (its source then ends)"
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
        if zlib.crc32(bytes(file.checkpoint)) != file.crc32:
            raise CheckpointError(f"{path}: the checkpoint is damaged (its sum does not match): {remedy}")
        checkpoint = msgspec.json.decode(file.checkpoint, type=Checkpoint)
        timeline = checkpoint.timeline()
        timeline.seq(checkpoint.lowest_unacknowledged)
    except (msgspec.MsgspecError, ValueError) as error:
        raise CheckpointError(f"{path}: not a checkpoint ({error}): {remedy}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}): {remedy}") from error
    if checkpoint.version != CHECKPOINT_VERSION:
        raise CheckpointError(f"{path}: of version {checkpoint.version}, not {CHECKPOINT_VERSION}: {remedy}")
    if path.stem != checkpoint.source or checkpoint.begun_below < checkpoint.lowest_unacknowledged:
        raise CheckpointError(f"{path}: not the checkpoint of {path.stem}: {remedy}")
    return checkpoint


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file so that after any crash it is the old one or the new one, whole."""
    encoded = msgspec.json.encode(checkpoint)
    replace_durably(path, msgspec.json.encode(_File(msgspec.Raw(encoded), zlib.crc32(encoded))))


def replace_durably(path: Path, content: bytes, mode: int = 0o640) -> None:
    """Temporary file, fsync, rename, fsync of the directory."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:  # noqa: PTH123 - the mode holds from the first byte
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class Progress:
    """What one source has begun, and which of it is acknowledged: the checkpoint while it lives.

    `next_frame` is the first frame that this process has not begun; frames are begun in order.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.timeline = checkpoint.timeline()
        self.next_frame = checkpoint.lowest_unacknowledged
        self.begun_below = checkpoint.begun_below
        self._open: dict[int, int] = {}  # frame -> its records without acknowledgement; in order of frames

    def begin(self, frame: int, records: int) -> None:
        """The frame is made now, with so many records (none: it is complete at once)."""
        self.next_frame = frame + 1
        if records:
            self._open[frame] = records

    def pass_quiet(self) -> None:
        """Go on to where records begin again, but not beyond what is durably reserved."""
        ahead = min(self.timeline.after_quiet(self.next_frame), self.begun_below)
        self.next_frame = max(self.next_frame, ahead)

    def acknowledge(self, frame: int, records: int) -> None:
        """So many records of the frame have arrived."""
        left = self._open[frame] - records
        if left > 0:
            self._open[frame] = left
        elif left == 0:
            del self._open[frame]
        else:
            raise ValueError(f"frame {frame} has {-left} more acknowledgements than records")

    @property
    def owed(self) -> int:
        """Records made by this process and not acknowledged."""
        return sum(self._open.values())

    @property
    def lowest_unacknowledged(self) -> int:
        """The first frame that is not wholly acknowledged, or the next one."""
        return next(iter(self._open), self.next_frame)

    def snapshot(self, begun_below: int) -> Checkpoint:
        """What to write now so that frames below `begun_below` may be begun afterwards."""
        lowest = self.lowest_unacknowledged
        self.timeline.forget_below(lowest, SEGMENTS_KEPT)
        return msgspec.structs.replace(
            self.checkpoint,
            lowest_unacknowledged=lowest,
            begun_below=max(begun_below, self.begun_below),
            segments=list(self.timeline.segments),
        )

    def release(self) -> Checkpoint:
        """What to write at the end: nothing beyond the frames that were begun is reserved any more."""
        self.begun_below = max(self.next_frame, self.checkpoint.begun_below)
        first, *others = self.timeline.segments
        # Segments that were only planned: the next start may plan others from the bound on.
        self.timeline.segments = [first, *(each for each in others if each.first_frame < self.begun_below)]
        return self.snapshot(self.begun_below)

    def skip(self, target: int, cadence: Cadence, digest: str) -> None:
        """From the first frame never reserved up to `target` there are no records; then it goes on so."""
        self.timeline.append(self.begun_below, QUIET, digest)
        self.timeline.append(target, cadence, digest)


def reservation(catch_up_factor: float) -> int:
    """How many frames ahead a checkpoint reserves: those of one second at the fastest pace."""
    return int(FRAMES_PER_SECOND * catch_up_factor) + 1
