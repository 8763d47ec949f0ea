"""Connections of the hot call: what is sent, how they are kept and given up, how long things may take."""

import asyncio

import pytest

from raw_http import OK, Reader, Run, Writer, answers, connections, echo, request, saying, serving


def test_a_request_arrives_as_it_was_given(run: Run) -> None:
    heads: list[bytes] = []

    async def serve(reader: Reader, writer: Writer) -> None:
        head, body = await request(reader)
        heads.append(head)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async def story() -> tuple[int, bytes]:
        async with serving(serve) as (_, url), connections(url + "/a/../b c/") as made:
            return await made.post({"Host": "h", "X-Amz-Target": "t"}, b"\0body")

    assert run(story()) == (200, b"\0body")
    assert heads == [b"POST /b%20c/ HTTP/1.1\r\nHost: h\r\nX-Amz-Target: t\r\nContent-Length: 5\r\n\r\n"]


@pytest.mark.parametrize("size", [0, 1, 65_536, 10_485_760])
def test_bodies_of_any_size_go_and_come_whole(run: Run, size: int) -> None:
    body = bytes(range(251)) * (size // 251) + b"x" * (size % 251)

    async def serve(reader: Reader, writer: Writer) -> None:
        _, seen = await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + (b"ok" if seen == body else b"no"))

    assert run(answers(serve, body=body)) == [(200, b"ok")]


def test_a_connection_serves_call_after_call(run: Run) -> None:
    async def story() -> int:
        async with serving(echo) as (server, url), connections(url) as made:
            for number in range(20):
                assert await made.post({}, b"%d" % number) == (200, b"%d" % number)
            return server.connections

    assert run(story()) == 1


@pytest.mark.parametrize("most", [1, 2, 3])
def test_there_are_no_more_connections_than_allowed(run: Run, most: int) -> None:
    async def story() -> int:
        async with serving(echo) as (server, url), connections(url, most) as made:
            calls = [made.post({}, b"%d" % number) for number in range(30)]
            assert await asyncio.gather(*calls) == [(200, b"%d" % number) for number in range(30)]
            return server.connections

    assert run(story()) == most


@pytest.mark.parametrize(
    "closing",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"more than was asked for",
    ],
)
def test_a_connection_that_will_not_stay_is_not_asked_again(run: Run, closing: bytes) -> None:
    async def story() -> int:
        async with serving(saying(closing, closing, then=0.2)) as (server, url), connections(url) as made:
            for _ in range(3):
                assert await made.post({}, b"") == (200, b"ok")
            return server.connections

    assert run(story()) == 3


def test_a_connection_that_rested_and_was_closed_meanwhile_costs_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server closes it when the next request comes: that one goes once more, on a new connection."""
    monkeypatch.setattr("tickerd.kinesis.http.RESTED_S", 0.05)

    async def once(reader: Reader, writer: Writer) -> None:
        await request(reader)
        writer.write(OK)
        await reader.readexactly(1)

    async def story() -> int:
        async with serving(once) as (server, url), connections(url) as made:
            for _ in range(3):
                assert await made.post({}, b"body") == (200, b"ok")
                await asyncio.sleep(0.1)
            return server.connections

    assert run(story()) == 3


def test_a_busy_connection_that_is_cut_is_an_error_and_nothing_is_sent_twice(run: Run) -> None:
    seen: list[bytes] = []

    async def once(reader: Reader, writer: Writer) -> None:
        seen.append((await request(reader))[1])
        writer.write(OK)
        seen.append((await request(reader))[1])

    async def story() -> None:
        async with serving(once) as (_, url), connections(url) as made:
            assert await made.post({}, b"one") == (200, b"ok")
            with pytest.raises(ConnectionError):
                await made.post({}, b"two")

    run(story())
    assert seen == [b"one", b"two"]


def test_a_connection_that_rested_too_long_is_closed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickerd.kinesis.http.IDLE_MAX_S", 0.2)

    async def story() -> None:
        async with serving(echo) as (server, url), connections(url) as made:
            await asyncio.gather(*(made.post({}, b"x") for _ in range(4)))
            assert server.open == 4
            while server.open:  # ends, or the test's time does
                await asyncio.sleep(0.05)
            assert await made.post({}, b"y") == (200, b"y")
            assert server.connections == 5

    run(story())


def test_closing_fails_those_who_still_wait(run: Run) -> None:
    async def silent(reader: Reader, writer: Writer) -> None:
        await reader.read()

    async def story() -> None:
        async with serving(silent) as (server, url), connections(url) as made:
            waiting = asyncio.create_task(made.post({}, b"x"))
            while not server.open:
                await asyncio.sleep(0.01)
            await made.close()
            with pytest.raises(ConnectionError, match="closed"):
                await waiting

    run(story())


def test_a_cancelled_call_closes_its_connection(run: Run) -> None:
    async def silent(reader: Reader, writer: Writer) -> None:
        await reader.read()

    async def story() -> None:
        async with serving(silent) as (server, url), connections(url, 1) as made:
            for _ in range(3):  # more often than there are connections
                waiting = asyncio.create_task(made.post({}, b"x"))
                while not server.open:
                    await asyncio.sleep(0.01)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                while server.open:
                    await asyncio.sleep(0.01)

    run(story())


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal"])
def test_a_server_that_does_not_end_its_answer_is_a_timeout(run: Run, said: bytes) -> None:
    async def hanging(reader: Reader, writer: Writer) -> None:
        await request(reader)
        writer.write(said)
        await reader.read()

    async def story() -> None:
        async with (
            serving(hanging) as (server, url),
            connections(url, answer_max_s=0.3) as made,
        ):
            with pytest.raises(TimeoutError, match="no answer in time"):
                await made.post({}, b"x")
            while server.open:
                await asyncio.sleep(0.01)

    run(story())


def test_a_dripping_server_has_no_longer(run: Run) -> None:
    async def drips(reader: Reader, writer: Writer) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"X: y\r\n")
            await asyncio.sleep(0.02)

    async def story() -> None:
        async with serving(drips) as (_, url), connections(url, answer_max_s=0.3) as made:
            with pytest.raises(TimeoutError):
                await made.post({}, b"x")

    run(story())
