"""What does a PutRecords call cost its sender, signed and answered, and what with the usual libraries?

The same 500 records again and again, 16 calls at a time, against `tickerd local --discard` on the other
core: by tickerd's client, and by botocore's signer over aiohttp, in turns. Beside it the SHA-256 of the body.
"""

import argparse
import asyncio
import os
import resource
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from hashlib import sha256

import aiohttp
import msgspec
import pybase64
import uvloop
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from batches import encoded
from processes import local
from recorded import record
from tickerd.kinesis.client import KinesisClient
from tickerd.kinesis.formats import JSON
from tickerd.settings import Kinesis
from tls_front import Front

AT_A_TIME = 16
ROUNDS = 3
Send = Callable[[bytes], Awaitable[int]]


def request_body() -> bytes:
    """A full call of the default market."""
    data, keys = encoded(500)
    records = [
        {"Data": pybase64.b64encode_as_string(each), "PartitionKey": key}
        for each, key in zip(data, keys, strict=True)
    ]
    return msgspec.json.encode({"StreamName": "market-log", "Records": records})


def used_us() -> float:
    """CPU time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return (usage.ru_utime + usage.ru_stime) * 1e6


async def cost_us(send: Send, body: bytes, calls: int) -> float:
    """CPU time of a call."""
    left = iter(range(calls))

    async def some() -> None:
        for _ in left:
            assert await send(body) == 200

    began = used_us()
    await asyncio.gather(*(some() for _ in range(AT_A_TIME)))
    return (used_us() - began) / calls


async def measure(endpoint: str, calls: int) -> dict[str, int]:
    """The least of some rounds for each way."""
    body = request_body()
    client = KinesisClient(msgspec.structs.replace(Kinesis(), endpoint_url=endpoint), AT_A_TIME)
    await client.open()
    least: dict[str, float] = {}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:

        async def ours(body: bytes) -> int:
            return (await client.put_records(body)).status

        async def libraries(body: bytes) -> int:
            request = AWSRequest("POST", endpoint, data=body, headers=dict(JSON.headers))
            SigV4Auth(Credentials("local", "local"), "kinesis", "us-east-1").add_auth(request)
            headers = dict(request.headers.items())
            async with session.post(endpoint, data=body, headers=headers) as answer:
                await answer.read()
                return answer.status

        for _ in range(ROUNDS):
            for name, send in (("tickerd_us", ours), ("libraries_us", libraries)):
                least[name] = min(least.get(name, float("inf")), await cost_us(send, body, calls))
    await client.close()
    began = time.process_time()
    for _ in range(200):
        sha256(body).hexdigest()
    sha256_us = (time.process_time() - began) / 200 * 1e6
    return {name: round(us) for name, us in {**least, "sha256_us": sha256_us}.items()} | {"bytes": len(body)}


def main() -> None:
    """Measure, plain or by TLS."""
    parser = argparse.ArgumentParser(description="CPU time of a PutRecords call")
    parser.add_argument("--calls", type=int, default=1000, help="of each round")
    parser.add_argument("--tls", action="store_true")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with (
        Front() if chosen.tls else nullcontext(None) as front,
        local("--shards", "64", "--discard", "--no-shard-limits") as (plain, _),
        nullcontext(plain) if front is None else front.before(plain) as endpoint,
    ):
        record("client", tls=chosen.tls, **uvloop.run(measure(endpoint, chosen.calls)))


if __name__ == "__main__":
    main()
