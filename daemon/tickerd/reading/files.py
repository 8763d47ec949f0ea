"""Files of lines as `verify` reads them: in the order of their names, plain, gzip or zstd.

What a writer has not finished is read as far as it is whole. Files know nothing of when a record arrived, so
there are no delays; order is that of the files.
"""

import asyncio
import gzip
import sys
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, cast

from tickerd.files.leftovers import PART
from tickerd.reading import ReadingError
from tickerd.reading.get_records import Entry
from tickerd.reading.stream import Enough, Span, StreamShard, Take

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK_BYTES = 1 << 20
NEVER_ARRIVED_S = -1.0
ALL = StreamShard("files", (), is_open=False)
DAMAGED = b"{"  # counts as one corrupt record, whatever was there


class FilesReader:
    """Reads files, and those of directories whose names hold `.jsonl`."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.notes: list[str] = []
        self._paths = paths

    async def horizon(self) -> datetime | None:
        """Files forget nothing."""
        return None

    async def read(self, span: Span, take: Take, _enough: Enough = None) -> None:
        """Hand over the lines of all files."""
        if span.from_time or span.to_time:
            raise ReadingError("--from and --to: files do not tell when a record arrived; leave them out")
        if span.follow:
            raise ReadingError("--follow: files are read as they are now; read them again, without it")
        take(ALL, [])
        for file in self._files():
            try:
                for entries in _entries(file):
                    take(ALL, entries)
                    await asyncio.sleep(0)
            except EOFError:
                self._cut_short(file, take)
            except (zlib.error, gzip.BadGzipFile, zstd.ZstdError) as error:
                self.notes.append(f"{file}: damaged ({error}); what follows in it was not read")
                take(ALL, [_entry(file, 0, DAMAGED)])
            except OSError as error:
                raise ReadingError(
                    f"{file}: {error.strerror or error}; give files that can be read"
                ) from None

    def _cut_short(self, file: Path, take: Take) -> None:
        if file.suffix == PART:
            self.notes.append(f"{file}: is being written; read as far as it is whole")
        else:
            self.notes.append(f"{file}: ends in the middle of a line or a member")
            take(ALL, [_entry(file, 0, DAMAGED)])

    def _files(self) -> list[Path]:
        files: list[Path] = []
        for path in self._paths:
            if path.is_dir():
                files += sorted(each for each in path.iterdir() if ".jsonl" in each.name and each.is_file())
            elif path.exists():
                files.append(path)
            else:
                raise ReadingError(f"{path}: no such file or directory; give those that tickerd has written")
        if not files:
            raise ReadingError(f"{self._paths[0]}: holds no files of tickerd (*.jsonl, .gz, .zst)")
        return files


def _entries(file: Path) -> Iterator[list[Entry]]:
    """The lines of a file, some at a time; EOFError where it ends in the middle of one."""
    with _opened(file) as lines:
        at, rest = 0, b""
        while more := lines.read(CHUNK_BYTES):
            chunk = rest + more
            whole = chunk.rfind(b"\n") + 1
            rest = chunk[whole:]
            if whole:
                yield _lines(file, at, chunk[:whole])
            at += whole
    if rest:
        raise EOFError


def _opened(file: Path) -> IO[bytes]:
    name = file.name.removesuffix(PART)
    if name.endswith(".gz"):
        return cast("IO[bytes]", gzip.open(file))
    if name.endswith(".zst"):
        return cast("IO[bytes]", zstd.open(file))
    return file.open("rb")


def _lines(file: Path, at: int, chunk: bytes) -> list[Entry]:
    """A chunk of whole lines as one entry where it looks like one (`decode.split`), else line by line."""
    if chunk[:1] == b"{" and b"\n\n" not in chunk:
        return [_entry(file, at, chunk)]
    found = []
    for line in chunk.splitlines(keepends=True):
        found.append(_entry(file, at, line.rstrip(b"\n") or DAMAGED))
        at += len(line)
    return found


def _entry(file: Path, at: int, data: bytes) -> Entry:
    return Entry(f"{file.name}, byte {at:,}", data, NEVER_ARRIVED_S)
