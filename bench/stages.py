"""Where do a record's nanoseconds go, from the market to a signed body? What each stage takes, by mode.

In this process, with what a worker has and nothing sent, the least of several rounds. Clocks stand around the
functions of a stage, and take some of its time themselves. The first frame is not counted: what it leaves in
lanes stands for what the last one leaves there. What a worker does besides (connections, answers, accounting,
the event loop) is what `worker.py` finds beyond their sum.
"""

import argparse
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from batches import FIRST_FRAME, SOURCE, UNIVERSE
from pack import MODES, outbox, route
from recorded import record
from tickerd.encoding import rows_encoder
from tickerd.kinesis.aggregate import Aggregator
from tickerd.kinesis.formats import FORMATS, CborFraming, JsonFraming
from tickerd.kinesis.kpl import Members
from tickerd.kinesis.lanes import LaneOutbox
from tickerd.kinesis.outbox import Outbox
from tickerd.kinesis.plain import PlainOutbox
from tickerd.kinesis.route import Route
from tickerd.kinesis.rows import Rows
from tickerd.market.market import Market
from tickerd.piece_texts import PieceTexts
from tickerd.pieces import Pieces
from tickerd.schedule import RECORDS_PER_PART_MAX, Segment, Timeline, split
from tickerd.settings import Mix

SHARDS = 64
STAGES: dict[str, list[tuple[Any, str]]] = {  # the functions of each
    "market": [(Market, "columns")],
    "numbers of pieces": [(Pieces, "encode")],
    "keys and sizes": [(Rows, "of_frame")],
    "sort by shard": [(LaneOutbox, "put"), (LaneOutbox, "_by_lane"), (Aggregator, "write")],
    "gather and join pieces": [(PieceTexts, "runs"), (PieceTexts, "_texts")],
    "lanes": [(LaneOutbox, "_close"), (Aggregator, "entries"), (LaneOutbox, "take")],
    "kpl: where aggregates end": [(Members, "__init__"), (Members, "cut")],
    "kpl: indexes, and one copy": [(Members, "aggregate")],
    "kpl: MD5": [(hashlib, "md5")],
    "plain: which records go": [(PlainOutbox, "put"), (PlainOutbox, "take")],
    "base64 of records": [(PieceTexts, "base64")],
    "body": [(framing, "body") for framing in (JsonFraming, CborFraming)],
    "SHA-256": [(hashlib, "sha256")],
}


class Clock:
    """Time by stage: of a function that another stage's function calls, that one's time has no part."""

    def __init__(self) -> None:
        self.own_ns: Counter[str] = Counter()
        self._inner_ns = 0  # of what was called by the function that runs
        for stage, functions in STAGES.items():
            for owner, name in functions:
                setattr(owner, name, self._timed(stage, getattr(owner, name)))

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            found = self._run(stage, lambda: function(*arguments, **named))
            return self._each(stage, found) if isinstance(found, Iterator) else found

        return timed

    def _each(self, stage: str, found: Iterator[Any]) -> Iterator[Any]:
        end = object()
        while (each := self._run(stage, lambda: next(found, end))) is not end:
            yield each

    def _run(self, stage: str, function: Callable[[], Any]) -> Any:
        outer_ns, self._inner_ns = self._inner_ns, 0
        began_ns = time.perf_counter_ns()
        found = function()
        took_ns = time.perf_counter_ns() - began_ns
        self.own_ns[stage] += took_ns - self._inner_ns
        self._inner_ns = outer_ns + took_ns
        return found


def sign(to: Outbox, now_s: float) -> int:
    """Take all calls that may go, and hash their bodies as their signatures do; how many records went."""
    records = 0
    while (call := to.take(now_s)) is not None:
        hashlib.sha256(call.body)
        records += call.records
    return records


def a_round(clock: Clock, mode: str, request: str, to: Route, frames: int) -> dict[str, float]:
    """Nanoseconds a record of each stage, and of bare `encode_lines` beside them."""
    segment = Segment(
        FIRST_FRAME, 412_316, split(RECORDS_PER_PART_MAX * 16_000, Mix().weights, 1, 0), "bench"
    )
    market, timeline = Market(1, UNIVERSE), Timeline([segment])
    encode, lines = rows_encoder("json"), msgspec.json.Encoder()
    box, now_s, records = outbox(mode, to, request), 0.0, 0
    lines_ns = lines_records = 0
    for frame in range(FIRST_FRAME, FIRST_FRAME + frames):
        for part in timeline.parts(frame):
            rows = market.columns(SOURCE, part)
            texts = encode(rows)
            box.put(Rows.of_frame(texts, to.keys_of(rows.instruments), rows.feeds, rows.frame), now_s)
            del texts  # as a worker does, before its encoder makes the next
            records += sign(box, now_s)
            now_s += 1 / 32  # as it does at 500,000 records/s
            if frame == FIRST_FRAME:  # what is cold at first; the reference is one part's records
                clock.own_ns.clear()
                records, structs = 0, rows.records
            began_ns = time.perf_counter_ns()
            lines.encode_lines(structs)
            lines_ns += time.perf_counter_ns() - began_ns
            lines_records += len(structs)
    own = {stage: ns / records for stage, ns in clock.own_ns.items()}
    return own | {"encode_lines": lines_ns / lines_records}


def main() -> None:
    """Measure every mode."""
    parser = argparse.ArgumentParser(description="nanoseconds a record of each stage")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--frames", type=int, default=32, help="of each round, two or more")
    parser.add_argument("--request", choices=FORMATS, default="json")
    chosen = parser.parse_args()
    if chosen.rounds < 1 or chosen.frames < 2:
        parser.error("--rounds must be 1 at least, --frames 2: the first one is not counted")
    clock, to = Clock(), route(SHARDS, request=chosen.request)
    least: dict[str, dict[str, float]] = {mode: {} for mode in MODES}
    for _ in range(chosen.rounds):
        for mode, found in least.items():
            for stage, ns in a_round(clock, mode, chosen.request, to, chosen.frames).items():
                found[stage] = min(ns, found.get(stage, ns))
    for mode in MODES:
        least[mode]["all"] = sum(least[mode].get(stage, 0.0) for stage in STAGES)
    for stage in [*STAGES, "all", "encode_lines"]:
        by_mode = {mode: round(least[mode][stage]) if stage in least[mode] else None for mode in MODES}
        record("stages", stage=stage, **by_mode)


if __name__ == "__main__":
    main()
