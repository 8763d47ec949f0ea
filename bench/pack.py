"""How much CPU do columns take on their way into PutRecords bodies, and how full are those?

In this process, with the encoder and the outboxes of a worker and nothing sent: texts, keys, shards,
aggregates, base64. Beside it, in the same run, bare `encode_lines` of the same records.
"""

import argparse
import time
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import msgspec

from batches import SHARES, UNIVERSE, columns
from recorded import record
from tickerd.batch import Interleaved
from tickerd.encoding import rows_encoder
from tickerd.kinesis.aggregate import Aggregator
from tickerd.kinesis.delivery import AGGREGATIONS
from tickerd.kinesis.formats import FORMATS
from tickerd.kinesis.lanes import LaneOutbox
from tickerd.kinesis.limits import ENTRY_BYTES_MAX_DEFAULT, HASH_KEY_END
from tickerd.kinesis.outbox import Outbox
from tickerd.kinesis.plain import PlainOutbox
from tickerd.kinesis.route import Route
from tickerd.kinesis.rows import Rows
from tickerd.kinesis.shards import Shard, ShardMap
from tickerd.settings import Kinesis
from tickerd.texts import Texts

MODES = ("plain", "kpl", "lines")
Key = Literal["instrument", "even"]


class Packed(NamedTuple):
    """What came out."""

    records: int
    calls: int
    entries: int
    body_bytes: int


def route(shards: int, partition_key: Key = "instrument", request: str = "json") -> Route:
    """A stream of so many equal shards, without limits, asked in this format."""
    bounds = [HASH_KEY_END * shard // shards for shard in range(shards + 1)]
    shard_map = ShardMap(Shard(f"shardId-{n:012d}", bounds[n], bounds[n + 1] - 1) for n in range(shards))
    return Route(shard_map, UNIVERSE.instruments, SHARES, partition_key, None, FORMATS[request])


def outbox(mode: str, to: Route, request: str = "json") -> Outbox:
    """What a worker's delivery has by default in this mode."""
    settings, opening = Kinesis(), FORMATS[request].opening({"StreamName": "market-log"})
    if mode == "plain":
        return PlainOutbox(opening, to, ENTRY_BYTES_MAX_DEFAULT, settings.linger_ms / 1000)
    most, linger_s = settings.aggregate_bytes_max, settings.linger_ms / 1000
    aggregator = Aggregator(AGGREGATIONS[mode], most, ENTRY_BYTES_MAX_DEFAULT)
    return LaneOutbox(opening, to, aggregator, linger_s, in_order=False)


def pack(to: Outbox, made: Iterable[tuple[Interleaved, Texts]]) -> Iterator[Packed]:
    """Pack batches of a sixteenth of a second each, and say what came out of each; of the last, all."""
    now_s = 0.0
    for batch, texts in made:
        keys = to.route.keys_of(batch.instruments)
        to.put(Rows.of_frame(texts, keys, batch.feeds, batch.frame), now_s)
        del texts  # as a worker does, before its encoder makes the next
        yield _taken(to, now_s)
        now_s += 1 / 16
    to.flush()
    yield _taken(to, now_s)


def _taken(outbox: Outbox, now_s: float) -> Packed:
    records = calls = entries = body_bytes = 0
    while (call := outbox.take(now_s)) is not None:
        records, calls = records + call.records, calls + 1
        entries, body_bytes = entries + len(call), body_bytes + len(call.body)
    return Packed(records, calls, entries, body_bytes)


def measure(mode: str, key: Key, request: str, shards: int, made: list[Interleaved], seconds: float) -> None:
    """Encode and pack everything again and again; one row with the fastest round."""
    encode, lines = rows_encoder("json"), msgspec.json.Encoder()
    structs = [rows.records for rows in made]
    to = route(shards, key, request)
    least_ns = least_lines_ns = float("inf")
    ends = time.monotonic() + seconds
    while time.monotonic() < ends or least_ns == float("inf"):
        began_ns = time.process_time_ns()
        packed = list(pack(outbox(mode, to, request), ((rows, encode(rows)) for rows in made)))
        between_ns = time.process_time_ns()
        for records in structs:
            lines.encode_lines(records)
        least_ns = min(least_ns, between_ns - began_ns)
        least_lines_ns = min(least_lines_ns, time.process_time_ns() - between_ns)
    count, calls, entries, body_bytes = map(sum, zip(*packed, strict=True))
    record(
        "pack",
        mode=mode,
        request=request,
        partition_key=key,
        ns_per_record=round(least_ns / count, 1),
        encode_lines_ns=round(least_lines_ns / count, 1),
        ratio=round(least_ns / least_lines_ns, 2),
        records_per_entry=round(count / entries, 1),
        entries_per_call=round(entries / calls, 1),
        body_bytes_per_record=round(body_bytes / count, 1),
    )


def main() -> None:
    """Measure every mode."""
    parser = argparse.ArgumentParser(description="CPU from columns to request bodies")
    parser.add_argument("--seconds", type=float, default=5, help="of each mode")
    parser.add_argument("--records", type=int, default=256_000)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--request", choices=FORMATS, default="json")
    chosen = parser.parse_args()
    made = columns(chosen.records)
    for mode in MODES:
        for key in ("instrument", "even"):
            measure(
                mode,
                "even" if key == "even" else "instrument",
                chosen.request,
                chosen.shards,
                made,
                chosen.seconds,
            )


if __name__ == "__main__":
    main()
