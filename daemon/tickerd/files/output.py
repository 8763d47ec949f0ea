"""Standard output: whole lines, to whoever reads them, for as long as somebody does.

To a pipe goes at most PIPE_BUF at once, which the kernel takes whole or not at all (pipe(7)): no reader ever
sees half a line, whatever kills the writer. It never blocks for longer than a look at `stopped`.
"""

import errno
import os
import select
import stat
from collections.abc import Sequence

from tickerd.files.sink import Written

STANDARD_OUTPUT = 1
LOOK_S = 0.1
BROKEN = select.POLLERR | select.POLLNVAL


class Output:
    """A sink, shared by all sources of the worker."""

    where = "standard output"
    chunk_bytes_max = select.PIPE_BUF
    enough_bytes = 1
    linger_s = 0.0
    has_names = False

    def __init__(self) -> None:
        self.stopped = False
        self._rest = b""  # of a chunk that was taken in part only, which pipes never do
        self._poll = select.poll()
        self._poll.register(STANDARD_OUTPUT, select.POLLOUT)

    def open(self) -> None:
        """End the line that another writer to the same file has left half done."""
        found = os.fstat(STANDARD_OUTPUT)
        if stat.S_ISREG(found.st_mode) and found.st_size:
            with open(f"/proc/self/fd/{STANDARD_OUTPUT}", "rb") as file:  # noqa: PTH123 - it may have no other name
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    self._rest = b"\n"

    def write(self, chunks: Sequence[bytes], _first_seq: int) -> Written:
        """Write chunks while somebody takes them; OSError with EPIPE when nobody reads any more."""
        done = 0
        try:
            if not chunks and any(event & BROKEN for _, event in self._poll.poll(0)):
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
            if self._rest and not self._put(self._rest):
                return Written(0)
            for chunk in chunks:
                if not self._put(chunk):
                    break
                done += 1
        except OSError as error:
            return Written(done, error)
        return Written(done)

    def finish(self) -> None:
        """Nothing is half done."""

    def _put(self, chunk: bytes) -> bool:
        """Write it whole; False when it is to stop, or when the rest of it has to wait for the next call."""
        view = memoryview(chunk)
        while not self.stopped:
            if not self._poll.poll(LOOK_S * 1000):
                continue
            try:
                view = view[os.write(STANDARD_OUTPUT, view) :]
            except BlockingIOError:  # a reader has made it non-blocking
                continue
            except OSError:
                self._rest = self._unless_whole(view, chunk)
                raise
            if not view:
                self._rest = b""
                return True
        self._rest = self._unless_whole(view, chunk)
        return False

    def _unless_whole(self, view: memoryview, chunk: bytes) -> bytes:
        """What has to come first next time: nothing, if none of the chunk was taken."""
        return bytes(view) if len(view) < len(chunk) or self._rest else b""
