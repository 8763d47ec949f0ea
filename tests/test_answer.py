"""Answers of every kind, and what is none: by the wire, and in pieces of every size."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raw_http import OK, Reader, Run, Writer, answers, connections, request, saying, serving
from tickerd.kinesis.answer import (
    BODY_BYTES_MAX,
    CHUNKS_MAX,
    HEAD_BYTES_MAX,
    INTERIM_ANSWERS_MAX,
    Answer,
    AnswerError,
    AnswerReader,
)


def test_an_answer_in_single_bytes_is_a_whole_answer(run: Run) -> None:
    async def slowly(reader: Reader, writer: Writer) -> None:
        await request(reader)
        for number in range(len(OK)):
            writer.write(OK[number : number + 1])
            await writer.drain()
            await asyncio.sleep(0.001)

    assert run(answers(slowly)) == [(200, b"ok")]


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\non\r\n1;x=y\r\ne\r\n0\r\n\r\n", b"one"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\nTrailer: x\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200\r\ncontent-length:2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\nX: \xff\tobs\r\nContent-Length: 2 \r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
def test_answers_of_every_kind_are_read(run: Run, said: bytes, body: bytes) -> None:
    assert run(answers(saying(said))) == [(200, body)]


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_has_none(run: Run, status: int) -> None:
    said = b"HTTP/1.1 %d None\r\nContent-Length: 10\r\n\r\n" % status
    assert run(answers(saying(said, said, then=0.2), 2)) == [(status, b"")] * 2


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", "before any answer"),
        (b"HTTP/1.1 2", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "in the middle"),
        (b"What?\r\n\r\n", "not HTTP/1.1"),
        (b"HTTP/2 200 OK\r\n\r\n", "not HTTP/1.1"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", "not HTTP/1.1"),
        (b"HTTP/1.1 200 a\rX: y\r\n\r\n", "not HTTP/1.1"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok", "no number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\nok", "no number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "two lengths"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok", "two lengths"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "not known"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n", "no length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", "longer than it says"),
        (b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", "malformed"),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 2\r\n\r\nok", "malformed"),
        (b"HTTP/1.1 200 OK\r\nX: a\nContent-Length: 2\r\n\r\nok", "malformed"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "malformed"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * INTERIM_ANSWERS_MAX + OK, "does not begin"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n", "more than"),
        (b"x" * (HEAD_BYTES_MAX + 1), "more than"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1), "more than"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999\r\n\r\n", "no number"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (BODY_BYTES_MAX + 1), "more than"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"2" * 2000, "more than"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * HEAD_BYTES_MAX,
            "more than",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * (CHUNKS_MAX + 1),
            "chunks",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (BODY_BYTES_MAX + 1), "more than"),
    ],
    ids=lambda value: str(value[:60]) if isinstance(value, bytes) else None,
)
def test_what_is_no_answer_is_refused_without_repeating_it(run: Run, said: bytes, why: str) -> None:
    with pytest.raises(AnswerError, match=why) as failed:
        run(answers(saying(said)))
    assert len(str(failed.value)) < 100
    assert str(failed.value).isprintable()


def test_an_answer_that_comes_before_all_was_sent_is_the_answer(run: Run) -> None:
    async def early(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await reader.read(1 << 24)
        await asyncio.sleep(0.2)

    async def story() -> None:
        async with serving(early) as (server, url), connections(url) as made:
            for _ in range(2):
                assert await made.post({}, b"x" * (1 << 25)) == (413, b"no")
            assert server.connections == 2  # the rest of the first body would have been taken for a request

    run(story())


def test_bytes_that_nobody_asked_for_end_a_resting_connection(run: Run) -> None:
    async def nags(reader: Reader, writer: Writer) -> None:
        await request(reader)
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async def story() -> None:
        async with serving(nags) as (server, url), connections(url) as made:
            assert await made.post({}, b"") == (200, b"ok")
            while server.open:
                await asyncio.sleep(0.02)
            assert await made.post({}, b"") == (200, b"ok")

    run(story())


@given(st.data(), st.binary(max_size=60), st.booleans())
def test_an_answer_is_the_same_however_it_is_cut(data: st.DataObject, body: bytes, chunked: bool) -> None:
    if chunked:
        cuts = sorted(data.draw(st.lists(st.integers(1, max(1, len(body))), max_size=4, unique=True)))
        parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        sent = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"
        said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + sent
    else:
        said = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    ends = sorted(data.draw(st.sets(st.integers(0, len(said)), max_size=8)))
    reader = AnswerReader()
    pieces = [said[a:b] for a, b in zip([0, *ends], [*ends, len(said)], strict=True) if a < b]
    for piece in pieces[:-1]:
        assert reader.feed(piece) is None
    assert reader.feed(pieces[-1]) == Answer(200, body, True)


@given(st.lists(st.binary(max_size=30) | st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"\r\n", b"\r\n\r\n"])))
def test_noise_is_an_error_or_an_answer_and_nothing_else(pieces: list[bytes]) -> None:
    reader = AnswerReader()
    with contextlib.suppress(AnswerError):
        for piece in filter(None, pieces):
            if reader.feed(piece):
                return
        reader.end()
