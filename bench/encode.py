"""What does a record cost from columns to bytes, and where do the nanoseconds go?

Parts of a frame of the default market and mix, as a worker at some rates has them, in turns: Structs and
msgspec, and pieces (`tickerd/pieces.py`), whose bytes are compared. CPU time, after what repeats is known.
"""

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from batches import FIRST_FRAME, SOURCE
from recorded import record
from tickerd.encoding import encoder
from tickerd.market.market import Market
from tickerd.market.universe import Universe
from tickerd.pieces import Pieces
from tickerd.schedule import Part, Segment, Timeline, split
from tickerd.settings import Mix

Given = TypeVar("Given")
Made = TypeVar("Made")

RATES = (2_000_000, 400_000, 100_000)  # records/s; the first is what a saturated worker is asked for
WARM_PARTS = 24


def parts_at(rate: int, records: int) -> list[Part]:
    """Parts of about so many records at a rate, and those that come before."""
    segment = Segment(FIRST_FRAME, 412_316, split(rate * 1000, Mix().weights, 1, 0), "bench")
    timeline = Timeline([segment])
    parts: list[Part] = []
    frame = FIRST_FRAME
    while len(parts) < WARM_PARTS or sum(part.records for part in parts[WARM_PARTS:]) < records:
        parts += timeline.parts(frame)
        frame += 1
    return parts


def measure(universe: Universe, name: str, rate: int, records: int) -> None:
    """A row for a rate."""
    market, encode, lines = Market(1, universe), encoder("json"), msgspec.json.Encoder()
    pieces: Pieces | None = None
    took: dict[str, float] = {}
    count = 0
    for number, part in enumerate(parts_at(rate, records)):
        rows = market.columns(SOURCE, part)
        pieces = pieces or Pieces(rows.symbols)
        texts, finding = timed(pieces.encode, rows)
        joined, joining = timed(lambda of: of.records(), texts)
        structs, building = timed(lambda of: of.records, rows)
        encoded, encoding = timed(encode, structs)
        _, bare = timed(lines.encode_lines, structs)
        assert joined == encoded, "pieces make other bytes than msgspec"
        del structs, encoded, joined
        if number >= WARM_PARTS:
            count += part.records
            for stage, seconds in (
                ("structs", building),
                ("encode_and_split", encoding),
                ("encode_lines", bare),
                ("pieces", finding + joining),
            ):
                took[stage] = took.get(stage, 0.0) + seconds
    ns = {f"{stage}_ns": round(seconds / count * 1e9) for stage, seconds in took.items()}
    saved = 1 - took["pieces"] / (took["structs"] + took["encode_and_split"])
    size = market.columns(SOURCE, parts_at(rate, 0)[0]).records
    record(
        "encode",
        universe=name,
        rate=rate,
        records=count,
        **ns,
        pieces_save=f"{saved:.0%}",
        bytes_per_record=round(len(lines.encode_lines(size)) / len(size) - 1, 1),
    )


def timed(work: Callable[[Given], Made], given: Given) -> tuple[Made, float]:
    """What it makes, and its CPU seconds."""
    began = time.process_time()
    made = work(given)
    return made, time.process_time() - began


def main() -> None:
    """Measure each rate."""
    parser = argparse.ArgumentParser(description="nanoseconds a record from columns to bytes")
    parser.add_argument("--records", type=int, default=500_000)
    parser.add_argument("--universe", choices=["default", "large"], default="default")
    parser.add_argument("--rate", type=int, action="append")
    chosen = parser.parse_args()
    universe = Universe.load(chosen.universe)
    for rate in chosen.rate or RATES:
        measure(universe, chosen.universe, rate, chosen.records)


if __name__ == "__main__":
    main()
