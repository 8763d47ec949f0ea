"""The bytes of an HTTP/1.1 answer to its status and body, however they are cut into pieces.

Nothing of the answer but these two is used or shown. What is not certainly one answer of a bounded size is
refused: two lengths, a length that is no number, folded headers, line ends that are none (RFC 9112).
"""

import re
from collections.abc import Generator
from functools import lru_cache
from typing import NamedTuple

HEAD_BYTES_MAX = 32 * 1024  # of the status line and headers, and of what follows the last chunk
BODY_BYTES_MAX = 8 * 1024 * 1024  # 500 failed entries with their messages are below 1 MiB
CHUNK_HEAD_BYTES_MAX = 1024  # a chunk's length and its extensions
CHUNKS_MAX = 64 * 1024
INTERIM_ANSWERS_MAX = 8  # such as 100 Continue
NO_BODY = {204, 304}
CHUNKED = -1
HEADERS_KEPT = 32  # each of at most HEAD_BYTES_MAX

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00-\x08\x0a-\x1f]*)?")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[^\x00\r\n]*")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_CHUNK_LENGTH = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")


class Answer(NamedTuple):
    """An answer, and whether its connection may be asked again."""

    status: int
    body: bytes
    stays: bool


class AnswerError(ConnectionError):
    """What arrived is no answer; the text says nothing of what it was."""


class _Head(NamedTuple):
    status: int
    stays: bool
    length: int | None  # bytes of the body; CHUNKED; None: until the connection ends


class AnswerReader:
    """Reads one answer: `feed` it until there is one. AnswerError when it cannot be one."""

    def __init__(self) -> None:
        self.begun = False  # whether anything has arrived
        self.answer: Answer | None = None
        self._data = b""
        self._at = 0
        self._ended = False
        self._reading = self._read()
        next(self._reading)

    def feed(self, data: bytes) -> Answer | None:
        """Take bytes that have arrived, and return the answer once it is whole."""
        self.begun = True
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0
        return self._step()

    def end(self) -> Answer | None:
        """Take it that no more will come, and return the answer if that makes it whole."""
        self._ended = True
        return self._step()

    def _step(self) -> Answer | None:
        try:
            next(self._reading)
        except StopIteration as done:
            answer: Answer = done.value
            if self._at < len(self._data):  # more than was asked for
                answer = answer._replace(stays=False)
            self.answer = answer
        return self.answer

    # Each of these waits, by a yield, until enough has arrived.

    def _read(self) -> Generator[None, None, Answer]:
        for _ in range(INTERIM_ANSWERS_MAX):
            head = _head_of((yield from self._until(b"\r\n\r\n", HEAD_BYTES_MAX)))
            if head.status >= 200:
                break
        else:
            raise AnswerError("the answer does not begin")
        if head.length is None:
            body = yield from self._rest()
        elif head.length == CHUNKED:
            body = yield from self._chunks()
        else:
            body = yield from self._exactly(head.length)
        return Answer(head.status, body, head.stays)

    def _chunks(self) -> Generator[None, None, bytes]:
        chunks: list[bytes] = []
        total = 0
        while True:
            matched = _CHUNK_LENGTH.fullmatch((yield from self._until(b"\r\n", CHUNK_HEAD_BYTES_MAX)))
            if not matched:
                raise AnswerError("a chunk of the answer has no length")
            length = int(matched[1], 16)
            if not length:
                break
            total += length
            if total > BODY_BYTES_MAX or len(chunks) == CHUNKS_MAX:
                raise AnswerError(f"the answer has more than {BODY_BYTES_MAX} bytes or {CHUNKS_MAX} chunks")
            chunks.append((yield from self._exactly(length)))
            if (yield from self._exactly(2)) != b"\r\n":
                raise AnswerError("a chunk of the answer is longer than it says")
        trailers = 0
        while line := (yield from self._until(b"\r\n", HEAD_BYTES_MAX)):
            trailers += len(line)
            if trailers > HEAD_BYTES_MAX:
                raise AnswerError(f"an answer's head has more than {HEAD_BYTES_MAX} bytes")
        return b"".join(chunks)

    def _until(self, mark: bytes, most: int) -> Generator[None, None, bytes]:
        """What comes before `mark`, at most so many bytes; the mark is passed over."""
        searched = self._at
        while (end := self._data.find(mark, searched)) < 0:
            if len(self._data) - self._at > most:
                raise AnswerError(f"an answer's head has more than {most} bytes")
            held = len(self._data) - self._at
            yield from self._more()
            searched = max(0, held - len(mark) + 1)  # what was held is at the beginning now
        before = self._data[self._at : end]
        if len(before) > most:
            raise AnswerError(f"an answer's head has more than {most} bytes")
        self._at = end + len(mark)
        return before

    def _exactly(self, length: int) -> Generator[None, None, bytes]:
        pieces = []
        while True:
            piece = self._data[self._at : self._at + length]
            self._at += len(piece)
            length -= len(piece)
            pieces.append(piece)
            if not length:
                return b"".join(pieces)
            yield from self._more()

    def _rest(self) -> Generator[None, None, bytes]:
        pieces = []
        total = 0
        while True:
            pieces.append(self._data[self._at :])
            total += len(pieces[-1])
            self._at = len(self._data)
            if total > BODY_BYTES_MAX:
                raise AnswerError(f"the answer has more than {BODY_BYTES_MAX} bytes")
            if self._ended:
                return b"".join(pieces)
            yield

    def _more(self) -> Generator[None, None, None]:
        yield
        if self._ended:
            begun = "before any answer" if not self.begun else "in the middle of the answer"
            raise AnswerError(f"the connection was closed {begun}")


def _head_of(head: bytes) -> _Head:
    first, *lines = head.split(b"\r\n")
    matched = _STATUS_LINE.fullmatch(first)
    if not matched:
        raise AnswerError("the answer is not HTTP/1.1")
    status = int(matched[2])
    if status == 101:
        raise AnswerError("the answer changes the protocol")
    lengths: list[bytes] = []
    codings: list[bytes] = []
    options: set[bytes] = set()
    for line in lines:
        name, value = _header(line)
        match name:
            case b"content-length":
                lengths.append(value)
            case b"transfer-encoding":
                codings.append(value.lower())
            case b"connection":
                options |= {option.strip().lower() for option in value.split(b",")}
    length = _length_of(lengths, codings) if status not in NO_BODY and status >= 200 else 0
    stays = matched[1] == b"1" or b"keep-alive" in options
    return _Head(status, stays and b"close" not in options and length is not None, length)


@lru_cache(HEADERS_KEPT)
def _header(line: bytes) -> tuple[bytes, bytes]:
    """Name, in lower case, and value; most lines are those of the answer before."""
    name, colon, value = line.partition(b":")
    if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise AnswerError("a header of the answer is malformed")
    return name.lower(), value.strip()


def _length_of(lengths: list[bytes], codings: list[bytes]) -> int | None:
    """Bytes of the body; CHUNKED, or None where the end of the connection is its end."""
    if len(lengths) + len(codings) > 1:
        raise AnswerError("the answer has two lengths")
    if codings:
        if codings != [b"chunked"]:
            raise AnswerError("the answer's Transfer-Encoding is not known")
        return CHUNKED
    if not lengths:
        return None
    if not _LENGTH.fullmatch(lengths[0]):
        raise AnswerError("the answer's Content-Length is no number")
    length = int(lengths[0])
    if length > BODY_BYTES_MAX:
        raise AnswerError(f"the answer has more than {BODY_BYTES_MAX} bytes")
    return length
