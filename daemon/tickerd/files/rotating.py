"""One source's files, one after the other: `SOURCE-SEQ.jsonl`, with `.part` behind it while it is written.

A chunk counts as written once it is where `file.fsync` says. After an error the file ends where the last
chunk that counts ends, so a finished file holds whole lines only. SEQ is that of the first record in it.
"""

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from tickerd.files.leftovers import PART, free_name, is_at, lock, name_durably, sync_directory
from tickerd.files.members import SUFFIXES, member
from tickerd.files.sink import Written
from tickerd.settings import File

MEMBER_BYTES_MAX = 1 << 20  # before compression
COMPRESSION_LINGER_S = 1.0  # small members compress badly
PIECES_PER_WRITE_MAX = 1024  # writev(2): IOV_MAX

log = logging.getLogger(__name__)


class RotatingFile:
    """A sink. `directory` must exist when something is written, or be possible to make."""

    has_names = True

    def __init__(self, settings: File, directory: Path, source: str) -> None:
        self.where = f"file.path = {directory}"
        self._compresses = settings.compression != "none"
        self.chunk_bytes_max = min(MEMBER_BYTES_MAX, settings.rotate_bytes)
        self.enough_bytes = self.chunk_bytes_max if self._compresses else 1
        self.linger_s = COMPRESSION_LINGER_S if self._compresses else 0.0
        self._settings = settings
        self._directory = directory
        self._source = source
        self._fd: int | None = None
        self._part = Path()
        self._size = 0  # bytes that count
        self._began_s = 0.0

    def write(self, chunks: Sequence[bytes], first_seq: int) -> Written:
        """Write chunks, which begin with this seq, and rotate when it is time."""
        done = 0
        try:
            if self._fd is not None and self._is_old():
                self.finish()
            for group, pieces, size in self._groups(chunks):
                if self._fd is not None and self._size and self._size + size > self._settings.rotate_bytes:
                    self.finish()
                if self._fd is None or not is_at(self._fd, self._part):
                    self._begin(first_seq + sum(chunk.count(b"\n") for chunk in chunks[:done]))
                self._append(pieces, size)
                done += len(group)
        except OSError as error:
            return Written(done, error)
        return Written(done)

    def finish(self) -> None:
        """Give the file that is being written its name; an empty one goes."""
        if self._fd is None:
            return
        if not is_at(self._fd, self._part):
            log.warning("file.path: somebody has taken %s away while it was written", self._part)
        elif self._size == 0:
            self._part.unlink()
        else:
            if self._settings.fsync != "never":
                os.fsync(self._fd)
            name_durably(self._part)
        self._let_go()

    def _groups(self, chunks: Sequence[bytes]) -> "list[tuple[Sequence[bytes], Sequence[bytes], int]]":
        """What is written together: chunks, the pieces that they become, and the bytes of those."""
        bytes_max = self.chunk_bytes_max
        groups: list[list[bytes]] = []
        room = 0
        for chunk in chunks:
            if not groups or len(chunk) > room or len(groups[-1]) == PIECES_PER_WRITE_MAX:
                groups.append([])
                room = bytes_max
            groups[-1].append(chunk)
            room -= len(chunk)
        found: list[tuple[Sequence[bytes], Sequence[bytes], int]] = []
        for group in groups:
            pieces = [member(group, self._settings.compression)] if self._compresses else group
            found.append((group, pieces, sum(map(len, pieces))))
        return found

    def _is_old(self) -> bool:
        return time.monotonic() - self._began_s >= self._settings.rotate_s

    def _begin(self, seq: int) -> None:
        if self._fd is not None:
            log.warning("file.path: somebody has taken %s away while it was written", self._part)
            self._let_go()
        self._directory.mkdir(parents=True, exist_ok=True)
        name = f"{self._source}-{seq:015}.jsonl{SUFFIXES[self._settings.compression]}"
        final = free_name(self._directory / name, "", PART)
        self._part = final.with_name(final.name + PART)
        fd = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        lock(fd)
        if self._settings.fsync == "always":
            sync_directory(self._directory)
        self._fd, self._size, self._began_s = fd, 0, time.monotonic()

    def _append(self, pieces: Sequence[bytes], size: int) -> None:
        """All of the pieces, or nothing of them."""
        assert self._fd is not None
        try:
            written = os.writev(self._fd, pieces)
            if written < size:
                rest = memoryview(b"".join(pieces))
                while written < size:
                    written += os.write(self._fd, rest[written:])
            if self._settings.fsync == "always":
                os.fdatasync(self._fd)
        except OSError:
            self._cut()
            raise
        self._size += size

    def _cut(self) -> None:
        """Take away what does not count; a file that cannot be cut is left to the next start."""
        assert self._fd is not None
        try:
            os.ftruncate(self._fd, self._size)
            os.lseek(self._fd, self._size, os.SEEK_SET)
        except OSError:
            self._let_go()

    def _let_go(self) -> None:
        assert self._fd is not None
        fd, self._fd = self._fd, None
        os.close(fd)
