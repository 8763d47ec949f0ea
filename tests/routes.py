"""Shard maps, routes, rows and requests for tests of what goes to which shard, without a service."""

import base64
import itertools
import json
from collections.abc import Sequence
from typing import Literal

import cbor2
import numpy as np

from tickerd.kinesis.formats import FORMATS
from tickerd.kinesis.limits import HASH_KEY_END
from tickerd.kinesis.pacing import Pacer
from tickerd.kinesis.route import Route
from tickerd.kinesis.rows import Rows
from tickerd.kinesis.settle import Fate, Outcome
from tickerd.kinesis.shards import Shard, ShardMap
from tickerd.texts import WholeRecords

OPENINGS = {name: each.opening({"StreamName": "s"}) for name, each in FORMATS.items()}
OPENING = OPENINGS["json"]
KEYS = ("EUR/USD", "QRVA", 'a "quoted\\" key', "ключ", *(f"K{number}" for number in range(20)))
THROTTLED = "ProvisionedThroughputExceededException"
_numbers = itertools.count(1000)


def equal_shards(count: int) -> ShardMap:
    """As many shards of the same width."""
    starts = [HASH_KEY_END * number // count for number in range(count + 1)]
    return ShardMap(Shard(f"shardId-{n:012}", starts[n], starts[n + 1] - 1) for n in range(count))


def split(shard_map: ShardMap, position: int) -> ShardMap:
    """Two children in the place of a shard."""
    shards = list(shard_map.shards)
    _, start, end = shards[position]
    middle = (start + end) // 2
    shards[position : position + 1] = [_child(start, middle), _child(middle + 1, end)]
    return ShardMap(shards)


def merged(shard_map: ShardMap, position: int) -> ShardMap:
    """One child in the place of a shard and of its neighbour above."""
    shards = list(shard_map.shards)
    low, high = shards[position : position + 2]
    shards[position : position + 2] = [_child(low.hash_key_start, high.hash_key_end)]
    return ShardMap(shards)


def _child(start: int, end: int) -> Shard:
    return Shard(f"shardId-{next(_numbers):012}", start, end)


def route(
    shards: ShardMap | int = 1,
    keys: Sequence[str] = KEYS,
    partition_key: Literal["instrument", "even"] = "instrument",
    pacer: Pacer | None = None,
    request: str = "json",
) -> Route:
    """A route on which all keys are alike."""
    shard_map = equal_shards(shards) if isinstance(shards, int) else shards
    return Route(shard_map, keys, np.full(len(keys), 1 / len(keys)), partition_key, pacer, FORMATS[request])


def rows(
    data: Sequence[bytes],
    keys: Sequence[int] | int = 0,
    feed: int = 1,
    frame: int = 7,
    to: Route | None = None,
) -> Rows:
    """Rows of these records, for instruments with these numbers."""
    instruments = np.array([keys] * len(data) if isinstance(keys, int) else keys)
    numbers = instruments if to is None else to.keys_of(instruments)
    return Rows.of_frame(WholeRecords(list(data)), numbers, np.full(len(data), feed, np.uint8), frame)


def records_of(rows: Rows) -> list[bytes]:
    """The bytes of each record."""
    assert rows.texts is not None
    return rows.texts.records()


def entries_of(body: bytes) -> list[tuple[bytes, str]]:
    """What a service would read in a request, in JSON or in CBOR."""
    if body.startswith(b"\xa2"):
        request = cbor2.loads(body)
        assert cbor2.dumps(request) == body  # which writes the shortest form, with definite lengths
    else:
        request = json.loads(body)
        for entry in request["Records"]:
            entry["Data"] = base64.b64decode(entry["Data"], validate=True)
    assert request.keys() == {"StreamName", "Records"}
    assert all(entry.keys() == {"Data", "PartitionKey"} for entry in request["Records"])
    return [(entry["Data"], entry["PartitionKey"]) for entry in request["Records"]]


def answer(missing: Sequence[int] | None = (), throttled: Sequence[int] = ()) -> Outcome:
    """The outcome of a call of which these entries failed (None: all, without an answer), and why."""
    if missing is None:
        return Outcome(Fate.RETRY, None, {"Timeout": 1})
    kept = sorted({*missing, *throttled})
    return Outcome(Fate.RETRY if kept else Fate.DONE, kept, {}, None, sorted(throttled))
