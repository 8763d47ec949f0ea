"""How many CPU seconds does a million records take on its way to Pub/Sub, to files and to standard output?

One saturated worker, generation included, as bench/worker.py measures Kinesis. Pub/Sub is the fake of the
tests, which acknowledges and keeps nothing, on the other core. Beside each, measured before and after it:
bare `encode_lines` of the same records, which busy neighbours slow down as they do the worker.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from processes import TICKERD, free_port, metrics, on_cores, toml, wait_for_acks
from recorded import record
from reference import encode_lines

FAKE = Path(__file__).parents[1] / "tests" / "fake_pubsub.py"
PUBSUB: dict[str, object] = {"destination.kind": "pubsub", "pubsub.project": "bench"}
FILE: dict[str, object] = {"destination.kind": "file"}
WAYS: dict[str, dict[str, object]] = {
    "null": {"destination.kind": "null"},
    "pubsub, none": PUBSUB,
    "pubsub, lines": PUBSUB | {"pubsub.packing": "lines"},
    "pubsub, lines, zstd": PUBSUB | {"pubsub.packing": "lines", "pubsub.compression": "zstd"},
    "pubsub, none, key": PUBSUB | {"pubsub.order": "key"},
    "pubsub, lines, key": PUBSUB | {"pubsub.packing": "lines", "pubsub.order": "key"},
    "file": FILE,
    "file, zstd": FILE | {"file.compression": "zstd"},
    "file, gzip": FILE | {"file.compression": "gzip"},
    "file, always": FILE | {"file.fsync": "always"},
    "stdout": {"destination.kind": "stdout"},
}


@contextmanager
def fake() -> Iterator[str]:
    """The fake of Pub/Sub on the second core; where it listens."""
    with on_cores([1], [sys.executable, str(FAKE), "--discard"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["grpc"]


def worker(settings: dict[str, object], seconds: float) -> dict[str, float]:
    """A saturated worker between two looks at its counters, after it has warmed up."""
    is_pubsub = settings["destination.kind"] == "pubsub"
    with (
        tempfile.TemporaryDirectory() as directory,
        fake() if is_pubsub else nullcontext("") as endpoint,
        Path(os.devnull).open("w") as nowhere,
    ):
        port = free_port()
        ours: dict[str, object] = {
            "state.directory": directory,
            "file.path": f"{directory}/records",
            "web.listen": f"127.0.0.1:{port}",
            "database.url": "",
            "source.workers": 1,
            "source.drain_max_s": 2,
            "log.level": "error",
            "rate.records_per_second": 2_000_000,
            **({"pubsub.endpoint": f"http://{endpoint}"} if is_pubsub else {}),
            **settings,
        }
        command = [*TICKERD, "run"]
        for key, value in ours.items():
            command += ["--set", f"{key}={toml(value)}"]
        address = f"http://127.0.0.1:{port}"
        with on_cores([0], command, stdout=nowhere):
            wait_for_acks(address)
            time.sleep(3)
            before, began = metrics(address), time.monotonic()
            time.sleep(seconds)
            after, ended = metrics(address), time.monotonic()
    acked = after["tickerd_records_acked_total"] - before["tickerd_records_acked_total"]
    cpu = after["tickerd_worker_cpu_seconds_total"] - before["tickerd_worker_cpu_seconds_total"]
    return {
        "cpu_s_per_million": round(cpu / acked * 1e6, 3),
        "records_per_second": round(acked / (ended - began)),
        "cores": round(cpu / (ended - began), 2),
        "resident_mb": round(after["tickerd_worker_resident_memory_bytes"] / 1e6, 1),
    }


def main() -> None:
    """Measure each way."""
    parser = argparse.ArgumentParser(description="CPU seconds per million records, other destinations")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--way", choices=WAYS, action="append")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for way in chosen.way or WAYS:
        before = encode_lines()
        figures = worker(WAYS[way], chosen.seconds)
        reference = (before + encode_lines()) / 2
        record(
            "destinations",
            way=way,
            ratio=round(figures["cpu_s_per_million"] / reference, 2),
            encode_lines_cpu_s_per_million=round(reference, 3),
            **figures,
        )


if __name__ == "__main__":
    main()
