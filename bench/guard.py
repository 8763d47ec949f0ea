"""Has the hot path become slower? Held against bench/guard.json without a clock, as CI can.

Where the processor counts them (`perf stat`): instructions a record, which noise does not touch. Else
the CPU time of each stage as a ratio to bare `encode_lines` of the same records, in turns with it, the least
of many: what else the machine does hits both. Exit 1 when a stage stays above 1.3 times what is recorded.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from batches import FIRST_FRAME, SOURCE, UNIVERSE, columns
from pack import MODES, outbox, pack, route
from recorded import commit, machine
from tickerd.encoding import rows_encoder
from tickerd.market.market import Market
from tickerd.schedule import Segment, Timeline, split
from tickerd.settings import Mix

RECORDED = Path(__file__).with_name("guard.json")
BOUND = 1.3
TRIES = 5
ROUNDS = 12  # of each try
RECORDS = 32_000
SHARDS = 64


def stages() -> dict[str, Callable[[], object]]:
    """What is measured, by name, and `encode_lines`, which it is measured by."""
    made = columns(RECORDS)
    structs = [rows.records for rows in made]
    encode, lines = rows_encoder("json"), msgspec.json.Encoder()
    to = route(SHARDS)
    market = Market(1, UNIVERSE)
    segment = Segment(FIRST_FRAME, 0, split(RECORDS // 2 * 16_000, Mix().weights, 1, 0), "guard")
    parts = [part for at in range(2) for part in Timeline([segment]).parts(FIRST_FRAME + at)]

    def sent(mode: str) -> Callable[[], object]:
        return lambda: list(pack(outbox(mode, to), ((rows, encode(rows)) for rows in made)))

    return {
        "encode_lines": lambda: [lines.encode_lines(records) for records in structs],
        "market": lambda: [market.columns(SOURCE, part) for part in parts],
        **{f"encode and pack, {mode}": sent(mode) for mode in MODES},
    }


def ratios(work: dict[str, Callable[[], object]], least_ns: dict[str, float]) -> dict[str, float]:
    """CPU time of each stage by that of `encode_lines`: the least of rounds in which all take turns.

    `least_ns` is that of the tries before, and is brought up to date.
    """
    for _ in range(ROUNDS):
        for name, each in work.items():
            began_ns = time.process_time_ns()
            each()
            least_ns[name] = min(least_ns.get(name, float("inf")), time.process_time_ns() - began_ns)
    return {name: round(ns / least_ns["encode_lines"], 2) for name, ns in least_ns.items()}


def instructions() -> dict[str, float]:
    """Instructions a record of each stage; empty where they cannot be counted."""
    if shutil.which("perf") is None:
        return {}
    counted: dict[str, float] = {}
    for name in stages():
        once, often = (_counted(name, times) for times in (1, 4))
        if once is None or often is None:
            return {}
        counted[name] = round((often - once) / 3 / RECORDS)
    return counted


def _counted(stage: str, times: int) -> int | None:
    """User instructions of a process that does a stage so many times."""
    command = ["perf", "stat", "-x", ",", "-e", "instructions:u", sys.executable, __file__]
    ran = subprocess.run(
        [*command, "--stage", stage, "--times", str(times)], capture_output=True, text=True, check=False
    )
    line = next((line for line in ran.stderr.splitlines() if "instructions" in line), "")
    count = line.partition(",")[0]
    return int(count) if ran.returncode == 0 and count.isdigit() else None


def slower(now: dict[str, float], before: dict[str, float]) -> dict[str, str]:
    """The stages beyond the bound, with what they are and what they were."""
    return {
        name: f"{name}: {now[name]:g}, recorded {was:g}: more than {BOUND} times"
        for name, was in before.items()
        if now[name] > BOUND * was
    }


def guard(against: Path) -> int:
    """Measure until nothing is slower, a few times at most; 1 when a stage stayed slower."""
    recorded = json.loads(against.read_text())
    found = instructions()
    if found and recorded["instructions"]:
        too_slow = slower(found, recorded["instructions"])
        print(json.dumps({"instructions": found}))
    else:
        work, too_slow, least_ns = stages(), {"not measured": ""}, dict[str, float]()
        for _ in range(TRIES):
            found = ratios(work, least_ns)
            print(json.dumps({"ratios": found}), flush=True)
            too_slow = slower(found, recorded["ratios"])
            if not too_slow:
                break
    for line in too_slow.values():
        print(line)
    return 1 if too_slow else 0


def main() -> None:
    """Guard, or record what it guards."""
    parser = argparse.ArgumentParser(description="the hot path held against what is recorded")
    parser.add_argument("--record", action="store_true", help="write bench/guard.json anew")
    parser.add_argument("--against", type=Path, default=RECORDED, metavar="FILE", help="instead of that")
    parser.add_argument("--stage", help="do this stage alone, for perf")
    parser.add_argument("--times", type=int, default=1)
    chosen = parser.parse_args()
    if chosen.stage:
        stage = stages()[chosen.stage]
        for _ in range(chosen.times):
            stage()
    elif chosen.record:
        # Of one try: more of them find ratios a fifth lower, which a busy host need not reach in as many.
        origin = {"machine": machine(), "commit": commit()}
        content = {**origin, "ratios": ratios(stages(), {}), "instructions": instructions()}
        chosen.against.write_text(json.dumps(content, indent=1) + "\n")
    else:
        sys.exit(guard(chosen.against))


if __name__ == "__main__":
    main()
