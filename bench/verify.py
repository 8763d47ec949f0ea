"""How many records a second does `tickerd verify` read on one core?

Fills a stream of `tickerd local` on one core with records of the default market, plain, as lines or in
aggregates, and verifies it on the other with an account of all of them, contents compared; without an account
too. Prints one JSON line. `python bench/verify.py [--records N] [--packing plain|lines|kpl] [--shards N]`
"""

import argparse
import hashlib
import json
import resource
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pybase64

from processes import TICKERD, cpu_seconds, local, on_core
from recorded import record
from tickerd.config import load
from tickerd.encoding import encoder
from tickerd.kinesis.shards import Shard, ShardMap
from tickerd.market.universe import Universe
from tickerd.recipe import market_of, recipe_of, run_digest
from tickerd.schedule import Segment, due_below, first_ms, split
from tickerd.stretch import Stretch, batches

RATE = 100_000
SOURCE = "bench-0-k7m2qx4d"
RECORDS_PER_ENTRY = 300  # where they are packed: about 50 kB
ENTRIES_PER_CALL = 500
CALL_BYTES_MAX = 8 << 20

Keyed = tuple[str, bytes]  # partition key, record


def made(records: int) -> tuple[list[Keyed], bytes]:
    """Records of the default market with their keys, and the account of the source that made them."""
    settings = load(None, []).settings
    universe = Universe.load(settings.market.universe)
    recipe = recipe_of(settings, universe)
    first_frame = due_below(time.time_ns()) - 16 * (records // RATE + 2)
    rates = split(RATE * 1000, settings.rate.mix.weights, 1, 0)
    segment = Segment(first_frame, 0, rates, run_digest(settings, recipe))
    stretch = Stretch(SOURCE, (segment,), first_frame, first_frame + (1 << 40), records)
    encode = encoder(recipe.format)
    keyed: list[Keyed] = []
    for batch in batches(market_of(recipe, universe), stretch):
        keys = [getattr(each, "currency_pair", "") or getattr(each, "stock_symbol", "") for each in batch]
        keyed += zip(keys, encode(batch), strict=True)
    account = {
        "settings_digest": "",
        "sources": [
            {
                "source": SOURCE,
                "first_seq": 0,
                "next_seq": records,
                "first_time": f"{time.strftime('%FT%T', time.gmtime(first_ms(first_frame) / 1000))}Z",
                "segments": [segment],
                "owed": [],
                "recipe": recipe,
            }
        ],
    }
    return keyed, msgspec.json.encode(account)


def packed(keyed: list[Keyed], packing: str, shards: ShardMap) -> Iterator[Keyed]:
    """The entries that hold these records, those of a shard together where they are packed."""
    if packing == "plain":
        yield from keyed
        return
    keys = sorted({key for key, _ in keyed})
    numbers = dict(zip(keys, shards.shards_of(keys).tolist(), strict=True))
    join = as_lines if packing == "lines" else aggregate
    waiting: dict[int, list[Keyed]] = {}
    for each in keyed:
        lane = waiting.setdefault(numbers[each[0]], [])
        lane.append(each)
        if len(lane) == RECORDS_PER_ENTRY:
            yield lane[0][0], join(lane)
            lane.clear()
    yield from ((lane[0][0], join(lane)) for lane in waiting.values() if lane)


def as_lines(lane: list[Keyed]) -> bytes:
    """Newline-delimited JSON."""
    return b"\n".join(data for _, data in lane)


def aggregate(lane: list[Keyed]) -> bytes:
    """An aggregated record of the Kinesis Producer Library."""
    keys = sorted({key for key, _ in lane})
    numbers = {key: number for number, key in enumerate(keys)}
    parts = [b"\n" + _sized(key.encode()) for key in keys]
    for key, data in lane:
        parts.append(b"\x1a" + _sized(b"\x08" + _varint(numbers[key]) + b"\x1a" + _sized(data)))
    message = b"".join(parts)
    return b"\xf3\x89\x9a\xc2" + message + hashlib.md5(message, usedforsecurity=False).digest()


def _sized(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def ask(url: str, operation: str, body: bytes) -> dict[str, object]:
    """One call to the endpoint, which needs no signature."""
    headers = {"X-Amz-Target": f"Kinesis_20131202.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - our own endpoint
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return dict(json.loads(answer.read() or b"{}"))


def put(url: str, entries: list[Keyed]) -> None:
    """PutRecords of one call's entries."""
    listed = [{"Data": pybase64.b64encode(data).decode(), "PartitionKey": key} for key, data in entries]
    reply = ask(url, "PutRecords", msgspec.json.encode({"StreamName": "market-log", "Records": listed}))
    if reply["FailedRecordCount"]:
        sys.exit("bench/verify.py: entries were refused")


def fill(url: str, keyed: list[Keyed], packing: str) -> int:
    """Store the records; how many entries they came to."""
    listed = ask(url, "ListShards", b'{"StreamName":"market-log"}')["Shards"]
    assert isinstance(listed, list)
    ranges = [(each["ShardId"], each["HashKeyRange"]) for each in listed]
    shards = ShardMap(
        Shard(name, int(keys["StartingHashKey"]), int(keys["EndingHashKey"])) for name, keys in ranges
    )
    entries = call_bytes = 0
    call: list[Keyed] = []
    for entry in packed(keyed, packing, shards):
        if len(call) == ENTRIES_PER_CALL or call_bytes + len(entry[1]) > CALL_BYTES_MAX:
            put(url, call)
            call, call_bytes = [], 0
        call.append(entry)
        call_bytes += len(entry[1])
        entries += 1
    put(url, call)
    return entries


def verified(url: str, *options: str) -> dict[str, float]:
    """Run `tickerd verify` on the first core: CPU and wall seconds (start included), memory, what it lost."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    command = [*TICKERD, "verify", "--json", *options, "--set", f"kinesis.endpoint_url={url}"]
    resident_mb = 0.0
    with tempfile.TemporaryFile("w+") as out, on_core(0, command, stdout=out) as process:
        while process.poll() is None:
            resident_mb = max(resident_mb, highest_resident_mb(process.pid))
            time.sleep(0.05)
        wall_s = time.monotonic() - began
        out.seek(0)
        totals = json.load(out)["totals"]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    faults = totals["lost"] + totals["altered"] + totals["corrupt"] + totals["foreign"]
    return {
        "cpu_s": cpu_s,
        "wall_s": wall_s,
        "mb": resident_mb,
        "records": totals["records"],
        "faults": faults,
    }


def highest_resident_mb(pid: int) -> float:
    """The most memory that a process has had; 0 when it has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(lines[0].split()[1]) / 1000 if lines else 0.0


def main() -> None:
    """Fill, verify twice, print."""
    parser = argparse.ArgumentParser(description="records a second that tickerd verify reads on one core")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--packing", choices=("plain", "lines", "kpl"), default="plain")
    parser.add_argument("--shards", type=int, default=16)
    chosen = parser.parse_args()
    keyed, account = made(chosen.records)
    options = ("--shards", str(chosen.shards), "--no-shard-limits", "--retention-mb", "8192")
    with local(*options) as (url, pid), tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(account)
        file.flush()
        entries = fill(url, keyed, chosen.packing)
        keyed.clear()
        nothing = verified(url, "--settle", "0", "--source", "nobody", "--to", "1970-01-02T00:00:00Z")
        served = cpu_seconds(pid)
        read = verified(url, "--settle", "0")
        served = cpu_seconds(pid) - served
        compared = verified(url, "--account", file.name)
    per_core = chosen.records / (read["cpu_s"] - nothing["cpu_s"])
    record(
        "verify",
        packing=chosen.packing,
        records=chosen.records,
        entries=entries,
        records_per_second_a_core=round(per_core),
        records_per_second_by_the_clock=round(chosen.records / read["wall_s"]),
        with_contents_a_core=round(chosen.records / (compared["cpu_s"] - nothing["cpu_s"])),
        start_cpu_s=round(nothing["cpu_s"], 2),
        local_cpu_s_per_million=round(served / chosen.records * 1e6, 2),
        resident_mb=round(read["mb"]),
        resident_mb_reading_nothing=round(nothing["mb"]),
        faults_found=read["faults"] + compared["faults"],
        read_back=read["records"],
    )


if __name__ == "__main__":
    main()
