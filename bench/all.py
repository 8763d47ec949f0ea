"""All benches after each other, and the page of their results: what `make bench` runs.

The short form takes some four and a half minutes and tells roughly; it leaves out how late the loop is, what
listeners cost, and Pub/Sub. `--full` measures what is published: it also refreshes the tables of the READMEs
and the curve that `tickerd plan` goes by. A bench that fails does not stop the others.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from recorded import RESULTS, SHIPPED_SPEED

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SPEED = os.path.relpath(RESULTS / "speed.json", ROOT)
# Options of the short form (None: it has no place there), and of both.
BENCHES: dict[str, tuple[list[str] | None, list[str]]] = {
    "encode": (["--records", "100000"], []),
    "client": (["--calls", "300"], []),
    "market": (["--seconds", "0.3"], []),
    "stages": (["--rounds", "2", "--frames", "16"], []),
    "pack": (["--seconds", "0.5", "--records", "64000"], []),
    "worker": (["--seconds", "2"], []),
    "stalls": (None, []),
    "destinations": (["--seconds", "2", "--way", "file"], []),
    "peers": (["--seconds", "0.5"], []),
    "host": (["--seconds", "2", "--short"], ["--speed", SPEED]),
    "delay": (
        ["--seconds", "2", "--way", "plain", "--way", "kpl in order", "--load", "0.9"],
        [],
    ),
    "http_load": (["--seconds", "1"], []),
    "events": (None, []),
    "http_ratio": (["--seconds", "1"], []),
    "idle": (["--seconds", "2"], []),
    "local": (["--seconds", "2"], []),
    "verify": (["--records", "200000"], []),
    "database": (["--snapshots", "50", "--rows", "300000", "--sqlite-rows", "100000", "--pages", "100"], []),
    "sizing": (["--seconds", "20"], ["--", "--speed", SPEED]),
    "guard": ([], []),
}


def run(name: str, *, full: bool) -> bool:
    """Run one; whether it did well."""
    short, both = BENCHES[name]
    command = [sys.executable, str(HERE / f"{name}.py"), *([] if full else short or []), *both]
    began = time.monotonic()
    ran = subprocess.run(command, cwd=ROOT, check=False)
    print(f"  {name}: {time.monotonic() - began:.0f} s\n", flush=True)
    if ran.returncode:
        print(f"  {name} ended with {ran.returncode}\n", flush=True)
    return ran.returncode == 0


def main() -> None:
    """Run them, and write the page."""
    parser = argparse.ArgumentParser(description="all benches")
    parser.add_argument("--full", action="store_true", help="as long as published figures need")
    parser.add_argument("--only", choices=BENCHES, action="append")
    chosen = parser.parse_args()
    names = chosen.only or [name for name, (short, _) in BENCHES.items() if chosen.full or short is not None]
    began = time.monotonic()
    failed = [name for name in names if not run(name, full=chosen.full)]
    if chosen.full and "host" in names and "host" not in failed:
        shutil.copyfile(ROOT / SPEED, SHIPPED_SPEED)
    report = [sys.executable, str(HERE / "report.py"), *(["--readme"] if chosen.full else [])]
    if subprocess.run(report, check=False).returncode:
        failed.append("report")
    print(f"{time.monotonic() - began:.0f} s; tables and plots: {RESULTS}/README.md")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
