"""The line by which the supervisor asks worker 0 for one snapshot now, and the worker answers: both its ends.

A pair of sockets of packets, a new one for each process of worker 0. Whatever is not answered when that
process ends has failed; nothing is asked for again.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable

import msgspec

WAITING_MAX = 4  # snapshots asked for and not answered yet
SENT_MAX_S = 10.0  # from a worker's taking it up to its last acknowledgement
ANSWER_MAX_S = 12.0  # that the supervisor waits: the worker's answer says more than none
PACKET_BYTES = 8192
MESSAGE_CHARACTERS_MAX = 1000

log = logging.getLogger(__name__)


class Request(msgspec.Struct, frozen=True):
    """One snapshot, as records of this source."""

    source: str


class Sent(msgspec.Struct, frozen=True, tag="sent"):
    """All of it is acknowledged: so many records, all of that time."""

    source: str
    records: int
    time: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """It is not, or not all of it; `late`: for lack of time."""

    source: str
    why: str
    late: bool = False


Answer = Sent | Failed


class NotSentError(Exception):
    """No snapshot was acknowledged. `late`: it may still arrive in part, there was no answer in time."""

    def __init__(self, why: str, *, late: bool = False) -> None:
        super().__init__(why)
        self.late = late


class SnapshotsOnDemand:
    """The supervisor's end, over all processes of worker 0."""

    def __init__(self) -> None:
        self.sent = 0
        self.failed = 0
        self._end: socket.socket | None = None
        self._waiting: dict[str, asyncio.Future[Answer]] = {}

    def line(self) -> socket.socket:
        """The end for the next process of worker 0; the caller closes it once that process has it."""
        self.close("worker 0 was started anew")
        self._end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._end.setblocking(False)
        asyncio.get_running_loop().add_reader(self._end, self._hear)
        return theirs

    def close(self, why: str) -> None:
        """What is not answered has failed, and nothing can be asked for."""
        if self._end is not None:
            asyncio.get_running_loop().remove_reader(self._end)
            self._end.close()
            self._end = None
        for source in list(self._waiting):
            self._answered(Failed(source, why))

    async def snapshot(self, source: str) -> Sent:
        """Have a snapshot of all instruments sent as that source; NotSentError unless it is acknowledged."""
        match await self._ask(source):
            case Sent() as sent:
                self.sent += 1
                return sent
            case Failed(why=why, late=late):
                self.failed += 1
                raise NotSentError(why, late=late)

    async def _ask(self, source: str) -> Answer:
        if self._end is None:
            return Failed(source, "worker 0 does not run")
        if len(self._waiting) >= WAITING_MAX:
            return Failed(source, f"{WAITING_MAX} snapshots are under way already")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[source] = answer
        try:
            self._end.send(msgspec.json.encode(Request(source)))
            async with asyncio.timeout(ANSWER_MAX_S):
                return await answer
        except TimeoutError:
            return Failed(source, "worker 0 did not answer in time", late=True)
        except OSError:
            return Failed(source, "worker 0 has just ended")
        finally:
            del self._waiting[source]

    def _hear(self) -> None:
        assert self._end is not None
        try:
            packet = self._end.recv(PACKET_BYTES)
        except BlockingIOError:
            return
        except OSError:  # it ended before it had read all
            packet = b""
        if packet:
            self._answered(msgspec.json.decode(packet, type=Answer))
        else:
            self.close("worker 0 has ended")

    def _answered(self, answer: Answer) -> None:
        waiting = self._waiting.get(answer.source)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


async def answer_requests(fd: int, send: Callable[[str], Awaitable[Sent]]) -> None:
    """The worker's end: make what is asked for, one after the other, until the supervisor is gone.

    `send` has the snapshot of a source sent; NotSentError when it is not acknowledged.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(fileno=fd) as end:
        end.setblocking(False)
        while packet := await _next(end):
            source = msgspec.json.decode(packet, type=Request).source
            answer: Answer
            try:
                async with asyncio.timeout(SENT_MAX_S):
                    answer = await send(source)
            except TimeoutError:
                late = f"the destination did not acknowledge all of it in {SENT_MAX_S:.0f} s"
                answer = Failed(source, late, late=True)
            except NotSentError as error:
                answer = Failed(source, str(error)[:MESSAGE_CHARACTERS_MAX], late=error.late)
            with contextlib.suppress(BrokenPipeError):  # the supervisor is gone, which the next look tells
                await loop.sock_sendall(end, msgspec.json.encode(answer))


async def _next(end: socket.socket) -> bytes:
    """The next packet; none when the other end is closed."""
    try:
        return await asyncio.get_running_loop().sock_recv(end, PACKET_BYTES)
    except ConnectionResetError:  # closed before all answers were read
        return b""
