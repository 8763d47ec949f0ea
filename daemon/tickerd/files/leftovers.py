"""What a crash has left: files that nobody writes any more are cut to what is whole, and get their names.

A file that is being written is called `NAME.part` and locked by its writer; the kernel unlocks it with the
writer's death.
"""

import fcntl
import logging
import mmap
import os
from contextlib import suppress
from pathlib import Path

from tickerd.files.members import SUFFIXES, Compression, whole_bytes

PART = ".part"

log = logging.getLogger(__name__)


def compression_of(name: str) -> Compression:
    """By the end of a file's name, without `.part`."""
    return next(
        (each for each, suffix in SUFFIXES.items() if suffix and name.endswith(suffix)),
        "none",
    )


def finish_leftovers(directory: Path) -> int:
    """Finish every file in a directory that was being written and has no writer; how many there were.

    OSError where that cannot be done.
    """
    return sum(map(_finish, sorted(directory.glob(f"*.jsonl*{PART}"))))


def _finish(part: Path) -> bool:
    with suppress(FileNotFoundError):  # another worker was quicker
        fd = os.open(part, os.O_RDWR)
        try:
            if not lock(fd) or not is_at(fd, part):
                return False
            size = os.fstat(fd).st_size
            whole = _whole_bytes(fd, size, compression_of(part.stem))
            if whole < size:
                os.ftruncate(fd, whole)
            if whole == 0:
                part.unlink()
                return True
            os.fsync(fd)
            final = name_durably(part)
            told = {"file": str(final), "bytes": whole, "cut_bytes": size - whole}
            log.info("finished a file that an earlier process had begun", extra=told)
        finally:
            os.close(fd)
        return True
    return False


def _whole_bytes(fd: int, size: int, compression: Compression) -> int:
    if size == 0:
        return 0
    with mmap.mmap(fd, size, access=mmap.ACCESS_READ) as content:
        return whole_bytes(content, compression)


def lock(fd: int) -> bool:
    """Take the lock of a file that is being written; False where its writer lives."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_at(fd: int, path: Path) -> bool:
    """Whether that is the file of this path: it may have been renamed or removed since it was opened."""
    try:
        at = path.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(fd)
    return (at.st_dev, at.st_ino) == (ours.st_dev, ours.st_ino)


def name_durably(part: Path) -> Path:
    """Take `.part` off a name, whatever already has the name staying; the directory is on the disk then."""
    final = free_name(part.with_suffix(""), "")
    part.rename(final)
    sync_directory(part.parent)
    return final


def free_name(path: Path, *ends: str) -> Path:
    """The path, or with a number after its stem, so that nothing has that name with one of these ends."""
    stem, dot, kind = path.name.rpartition(".jsonl")
    number, free = 1, path
    while any(free.with_name(free.name + end).exists() for end in ends):
        number += 1
        free = path.with_name(f"{stem}-{number}{dot}{kind}")
    return free


def sync_directory(directory: Path) -> None:
    """Have its names on the disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
