"""The state directory: who may use it (`lock`), which run it holds (`identity.json`), what a run came to
(`account.json`). The checkpoints in it are checkpoint.py's."""

import contextlib
import fcntl
import logging
import os
import re
import secrets
import signal
import socket
import time
from pathlib import Path

import msgspec

from tickerd.checkpoint import Checkpoint, Recipe, replace_durably
from tickerd.schedule import Segment, first_ms

RUN_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"  # base32
ORPHANS_WAIT_S = 10.0

log = logging.getLogger(__name__)


class StateError(Exception):
    """The state directory cannot be used; the message is one line that says why and what to do."""


class Identity(msgspec.Struct, frozen=True):
    """What names the sources of this host: `<host>-<worker>-<run>`, and when its rate plan began."""

    host: str
    run: str
    digest: str  # of all besides source, seq and frame that shapes records; another one needs another run
    plan: str  # of the rate's stages; another plan begins anew
    plan_first_frame: int

    def source(self, worker: int) -> str:
        """The name of a worker's source."""
        return f"{self.host}-{worker}-{self.run}"


def host_id(wanted: str) -> str:
    """The setting `source.id`, or the EC2 instance id as the firmware tells it, or the host's name."""
    if wanted:
        return wanted
    try:
        tag = Path("/sys/devices/virtual/dmi/id/board_asset_tag").read_text().strip()
    except OSError:
        tag = ""
    return tag if re.fullmatch(r"i-[0-9a-f]{8,17}", tag) else socket.gethostname()


def new_run() -> str:
    """Eight random base32 characters."""
    return "".join(secrets.choice(RUN_ALPHABET) for _ in range(8))


class StateDirectory:
    """The directory, locked by this supervisor for as long as it or one of its workers lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            (path / "checkpoint").mkdir(mode=0o750, parents=True, exist_ok=True)
            probe = path / f".writable.{os.getpid()}"
            probe.touch()
            probe.unlink()
            self.lock_fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise StateError(
                f"state.directory: {path} cannot be written ({error.strerror}); "
                "make it writable for this user or set another one"
            ) from error

    def lock(self) -> None:
        """Take the lock; a dead supervisor's workers have 10 s to drain. StateError when one lives."""
        deadline = time.monotonic() + ORPHANS_WAIT_S
        told = False
        while not self._try_lock():
            holder = self._holder()
            if holder is not None:
                raise StateError(
                    f"state.directory: {self.path} is in use by tickerd with pid {holder}; "
                    "stop it, or set another directory"
                )
            if not told:
                log.info("waiting for the workers of a supervisor that died to drain")
                told = True
            if time.monotonic() > deadline:
                self._kill_holders()
            time.sleep(0.1)
        for stale in [*self.path.glob(".*.json.*"), *self.path.glob("checkpoint/.*.json.*")]:
            stale.unlink(missing_ok=True)  # of a writer that died while writing
        os.ftruncate(self.lock_fd, 0)
        os.pwrite(self.lock_fd, f"{os.getpid()} {_started(os.getpid())}\n".encode(), 0)

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _holder(self) -> int | None:
        """The supervisor that wrote its pid into the lock, if it still lives."""
        try:
            pid, started = os.pread(self.lock_fd, 100, 0).split()
            return int(pid) if _started(int(pid)) == started.decode() else None
        except (OSError, ValueError):
            return None

    def _kill_holders(self) -> None:
        """Kill the processes that still hold the lock: workers that hang without a supervisor.

        Another supervisor that waits for the lock has its file open too, but does not hold it.
        """
        lock = os.fstat(self.lock_fd)
        for process in Path("/proc").iterdir():
            if not process.name.isdigit() or int(process.name) == os.getpid():
                continue
            try:
                held = any(
                    os.path.samestat(entry.stat(), lock)
                    and "FLOCK" in (process / "fdinfo" / entry.name).read_text()
                    for entry in (process / "fd").iterdir()
                )
            except OSError:
                continue  # not ours to look at, or gone
            if held:
                log.warning("killing a worker that hangs without a supervisor", extra={"pid": process.name})
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(process.name), signal.SIGKILL)

    def identity(self) -> Identity | None:
        """The identity of the last run, or None in a fresh directory; StateError when it is damaged."""
        path = self.path / "identity.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Identity)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StateError(f"{path}: cannot be read ({error}); move it away to begin a new run") from error

    def save_identity(self, identity: Identity) -> None:
        """Make the identity durable: before the first record of its run."""
        replace_durably(self.path / "identity.json", msgspec.json.encode(identity))


def _started(pid: int) -> str:
    """When a process started, in clock ticks since the boot: tells it from a later one with its pid."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if fields[0] in "ZX":
        raise ProcessLookupError(f"process {pid} has ended, though nobody has asked how")
    return fields[19]


class Owed(msgspec.Struct):
    """Frames of a source, from the first up to the end, whose records may be missing from the stream."""

    first_frame: int
    end_frame: int
    first_seq: int
    next_seq: int


class SourceAccount(msgspec.Struct):
    """What a source came to: seq from first_seq up to next_seq, less what is owed, is in the stream."""

    source: str
    first_seq: int
    next_seq: int
    first_time: str
    segments: list[Segment]
    owed: list[Owed]
    recipe: Recipe  # with it and the segments `verify` makes every record again


class Account(msgspec.Struct):
    """`account.json`: what this run's sources generated up to the daemon's exit."""

    settings_digest: str
    sources: list[SourceAccount]


def account_of(state: Checkpoint) -> SourceAccount:
    """The account of a source from its last checkpoint."""
    timeline = state.timeline()
    next_seq = timeline.seq(state.begun_below)
    owed_seq = timeline.seq(state.lowest_unacknowledged)
    owed = []
    if owed_seq < next_seq:
        owed = [Owed(state.lowest_unacknowledged, state.begun_below, owed_seq, next_seq)]
    began = _time(state.first_frame)
    return SourceAccount(state.source, 0, next_seq, began, state.segments, owed, state.recipe)


def _time(frame: int) -> str:
    ms = first_ms(frame)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"
