"""Fronts before an endpoint, for clients that know JSON: one speaks CBOR to it, one mends kinesalite's JSON.

Requests in CBOR are written as AWS's Java libraries do: containers of open length, data as bytes, times as
integers of milliseconds under tag 1. An answer has to be in CBOR, with times written like that.
"""

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import cbor2
from aiohttp import web

BODY_BYTES_MAX = 64 * 1024 * 1024
TIMES = {"Timestamp", "StreamCreationTimestamp", "ApproximateArrivalTimestamp"}


def to_cbor(text: bytes) -> bytes:
    """A request in JSON as one in CBOR; what cannot be translated stays as it is."""
    return cbor2.dumps(_each(json.loads(text), _to_cbor), indefinite_containers=True)


def to_json(body: bytes) -> bytes:
    """An answer in CBOR as one in JSON."""
    read = cbor2.loads(body, semantic_decoders={1: lambda value, _: cbor2.CBORTag(1, value)})
    return json.dumps(_each(read, _to_json)).encode()


def _each(value: Any, change: Callable[[str, Any], Any]) -> Any:
    match value:
        case dict():
            return {name: change(name, _each(each, change)) for name, each in value.items()}
        case list():
            return [_each(each, change) for each in value]
    return value


def _to_cbor(name: str, value: Any) -> Any:
    if name == "Data" and isinstance(value, str):
        return base64.b64decode(value)
    if name in TIMES:
        return cbor2.CBORTag(1, round(value * 1000))
    return value


def _to_json(name: str, value: Any) -> Any:
    if name == "Data":
        return base64.b64encode(value).decode()
    if name in TIMES:
        assert value.tag == 1
        assert type(value.value) is int
        return value.value / 1000
    return value


def _mended(text: bytes) -> bytes:
    """An answer of kinesalite, which keeps what it took in CBOR as {"type":"Buffer","data":[…]}."""
    return json.dumps(_each(json.loads(text), _of_buffers)).encode()


def _of_buffers(name: str, value: Any) -> Any:
    return base64.b64encode(bytes(value["data"])).decode() if name == "Data" else value


def in_cbor(url: str) -> AbstractAsyncContextManager[str]:
    """The address of one that speaks CBOR to the endpoint at `url`."""
    return _front(url, "application/x-amz-cbor-1.1", to_cbor, to_json)


def mended(url: str) -> AbstractAsyncContextManager[str]:
    """The address of one before kinesalite, where all data were put in CBOR."""
    return _front(url, "application/x-amz-json-1.1", bytes, _mended)


@asynccontextmanager
async def _front(
    url: str, content_type: str, written: Callable[[bytes], bytes], read: Callable[[bytes], bytes]
) -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.StreamResponse:
        kept = ("X-Amz-Target", "X-Amz-Date", "Authorization")  # which nobody here holds against the body
        headers = {name: request.headers[name] for name in kept if name in request.headers}
        headers["Content-Type"] = content_type
        body = written(await request.read())
        async with session.post(url, data=body, headers=headers, skip_auto_headers=("Accept",)) as got:
            answered = await got.read()
            assert got.content_type == content_type
            return web.Response(status=got.status, body=read(answered) if answered else b"")

    async with aiohttp.ClientSession() as session:
        front = web.Application(client_max_size=BODY_BYTES_MAX)
        front.router.add_post("/", answer)
        runner = web.AppRunner(front)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
