"""What stands in the way of delivery is told once, waited out, and passes by itself; answers of all kinds."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from delivering import (
    Lab,
    acknowledged,
    calls,
    eventually,
    lab,
    local,
    service,
    stored,
)
from tickerd import gate as gates
from tickerd.cause import Cause
from tickerd.gate import Gate
from tickerd.kinesis import delivery as deliveries
from tickerd.local import Faults
from tickerd.observe.counters import Report


def test_a_denied_permission_is_one_problem_and_few_calls_and_passes_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gates, "PROBE_PERMANENT_S", 0.3)

    async def story() -> None:
        async with local() as (endpoint, url), lab(url, shard_limits=False) as made:
            endpoint.faults = Faults(deny=True)
            await made.send(5000)
            await asyncio.sleep(1.5)
            (problem,) = made.report.problems
            assert problem.code == "AccessDeniedException"
            assert "kinesis:PutRecords" in problem.message
            assert calls(endpoint, "PutRecords") <= 10 + 1.5 / 0.3 + 1  # those in flight, then probes
            assert made.acked == 0
            endpoint.faults = Faults()
            await made.delivery.drain()
            assert made.acked == stored(endpoint) == 5000
            assert made.report.problems == []

    asyncio.run(story())


def test_an_endpoint_that_does_not_answer_is_probed_and_recovers() -> None:
    async def story() -> None:
        async with local() as (endpoint, url), lab(url, shard_limits=False) as made:
            endpoint.faults = Faults(outage=True)
            await made.send(6000)
            await eventually(lambda: bool(made.report.problems))
            assert made.report.problems[0].code == "ConnectionError"
            endpoint.faults = Faults()
            await made.delivery.drain()
            assert made.acked == 6000
            assert made.report.problems == []

    asyncio.run(story())


def test_a_missing_stream_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "PROBE_PERMANENT_S", 0.2)

    async def story() -> None:
        async with local() as (_, url):
            made = Lab(url, stream="not-yet")
            opening = asyncio.create_task(made.stream.open())
            await eventually(lambda: bool(made.report.problems))
            assert made.report.problems[0].code == "ResourceNotFoundException"
            assert "create the stream" in made.report.problems[0].message
            creator = Lab(url)
            await creator.stream.open()
            await creator.stream._client._client.create_stream(StreamName="not-yet", ShardCount=2)
            await opening
            assert made.report.problems == []
            assert made.report.stream is not None
            assert made.report.stream.shards == 2
            await creator.stream.close()
            await made.stream.close()

    asyncio.run(story())


def test_only_the_worker_whose_turn_it_is_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "PROBE_PERMANENT_S", 0.05)
    monkeypatch.setattr(gates, "POLL_S", 0.05)
    turn = False

    async def story() -> None:
        nonlocal turn
        async with local() as (endpoint, url), lab(url, shard_limits=False) as made:
            made.gate._may_probe = lambda: turn
            endpoint.faults = Faults(deny=True)
            await made.send(100)
            await eventually(lambda: bool(made.report.problems))
            refusals = made.gate.refusals
            await asyncio.sleep(0.5)
            assert made.gate.refusals == refusals
            turn = True
            await eventually(lambda: made.gate.refusals > refusals)

    asyncio.run(story())


def test_a_call_that_waits_to_probe_goes_as_soon_as_another_has_opened_the_gate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gates, "PROBE_PERMANENT_S", 3600)
    monkeypatch.setattr(gates, "POLL_S", 0.05)

    async def story() -> None:
        gate = Gate(Report(), lambda: True)
        gate.close(Cause("AccessDeniedException", "not yet", permanent=True), probed=False)
        waiting = [asyncio.create_task(gate.passage()) for _ in range(3)]
        await asyncio.sleep(0.2)
        assert not any(each.done() for each in waiting)
        gate.open()  # by a call that had been on its way
        async with asyncio.timeout(60):
            assert [await each for each in waiting] == [False] * 3

    asyncio.run(story())


def test_expired_credentials_are_renewed_once_and_the_call_goes_again() -> None:
    signed: list[str] = []

    async def put(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        signed.append(request.headers["Authorization"])
        if len(signed) == 1:
            return web.json_response({"__type": "ExpiredTokenException", "message": "expired"}, status=400)
        return web.json_response(acknowledged(len(body["Records"])))

    async def story() -> None:
        async with service(put) as url, lab(url, shard_limits=False) as made:
            await made.send(10)
            await made.delivery.drain()
            assert (len(signed), made.acked) == (2, 10)

    asyncio.run(story())


class Key:
    """An access key in the file that the credentials are read from, and a service that knows one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        self._file = directory / "credentials"
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(self._file))
        self.refused = 0
        self.write("AKIAOLD")

    def write(self, key: str) -> None:
        self._file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n")

    async def put(self, request: web.Request, body: dict[str, Any], code: str) -> web.StreamResponse:
        if "AKIAOLD" in request.headers["Authorization"]:
            self.refused += 1
            return web.json_response({"__type": code, "message": "no"}, status=400)
        return web.json_response(acknowledged(len(body["Records"])))


def test_calls_that_all_meet_expired_credentials_hold_nothing_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gates, "PROBE_PERMANENT_S", 3600)
    key = Key(monkeypatch, tmp_path)
    delays_s = iter(number * 0.02 for number in range(100))
    mended = asyncio.Event()

    async def put(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        answer = await key.put(request, body, "ExpiredTokenException")
        await mended.wait()
        await asyncio.sleep(next(delays_s))  # so that some are answered long after the others were renewed
        return answer

    async def story() -> None:
        async with service(put) as url, lab(url, shard_limits=False) as made:
            await made.send(10_000)
            await eventually(lambda: key.refused == 20)
            key.write("AKIANEW")
            mended.set()
            async with asyncio.timeout(60):
                await made.delivery.drain()
            assert made.acked == 10_000
            assert made.gate.refusals == 0
            assert key.refused == 20  # each call once

    asyncio.run(story())


@pytest.mark.parametrize("code", ["ExpiredTokenException", "UnrecognizedClientException"])
def test_credentials_that_somebody_mends_are_found_without_a_restart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str
) -> None:
    monkeypatch.setattr(gates, "PROBE_PERMANENT_S", 0.3)
    monkeypatch.setattr(gates, "PROBE_UNREACHABLE_MAX_S", 0.3)
    monkeypatch.setattr(deliveries, "RENEW_PAUSE_S", 0.2)
    key = Key(monkeypatch, tmp_path)

    async def story() -> None:
        async with service(lambda request, body: key.put(request, body, code)) as url:
            async with lab(url, shard_limits=False) as made:
                await made.send(1000)
                await eventually(lambda: bool(made.report.problems))
                assert made.report.problems[0].code == code
                await asyncio.sleep(1)
                assert key.refused < 4 + 1 / 0.25 + 1  # both calls twice, then one probe at a time
                key.write("AKIANEW")
                async with asyncio.timeout(60):
                    await made.delivery.drain()
                assert made.acked == 1000
                assert made.report.problems == []

    asyncio.run(story())


@pytest.mark.parametrize("short", [True, False])
def test_an_answer_of_the_wrong_length_acknowledges_nothing(*, short: bool) -> None:
    asked = 0

    async def put(_request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        wrong = 0 if asked > 3 else (-1 if short else 1)
        return web.json_response(acknowledged(len(body["Records"]) + wrong))

    async def story() -> None:
        async with service(put) as url, lab(url, shard_limits=False) as made:
            await made.send(10)
            await made.delivery.drain()
            assert (asked, made.acked) == (4, 10)
            assert made.report.counts.put_errors == {"ReplyLength": 30}

    asyncio.run(story())


def test_chunked_answers_and_closed_connections_are_survived() -> None:
    asked = 0

    async def put(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        answer = web.StreamResponse()
        if asked % 2:
            answer.enable_chunked_encoding()
        answer.force_close() if asked % 3 == 0 else None
        await answer.prepare(request)
        content = json.dumps(acknowledged(len(body["Records"]))).encode()
        for start in range(0, len(content), 1000):
            await answer.write(content[start : start + 1000])
        await answer.write_eof()
        return answer

    async def story() -> None:
        async with service(put) as url, lab(url, shard_limits=False) as made:
            await made.send(10_000)
            await made.delivery.drain()
            assert made.acked == 10_000

    asyncio.run(story())
