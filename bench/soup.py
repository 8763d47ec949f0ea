"""Is anything lost when everything goes wrong at once? The fault soup, by default ten minutes of it.

30,000 records/s against `tickerd local`: 10 % throttled entries, 5 % 5xx, 2 % lost acknowledgements, a split
or merge every 5 s, outages of 10 s, `kill -9` of a random process every 20 s; then the faults end, the daemon
catches up and is stopped, and `tickerd verify --account` judges.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from recorded import record

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # where the soup is cooked for the tests as well

from daemon import Host
from fault_soup import MODES, Kitchen, Soup


def main() -> int:
    """Cook, print one line, and fail when anything is lost, altered or left."""
    parser = argparse.ArgumentParser(description="the fault soup")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--rate", type=float, default=30_000, help="records per second, without limits")
    parser.add_argument("--mode", choices=sorted(MODES), default="none")
    parser.add_argument("--request", choices=("json", "cbor"), default="json")
    parser.add_argument("--limits", choices=("off", "on"), default="off")
    parser.add_argument("--outages", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument(
        "--catch-up-max",
        type=float,
        default=1800,
        help="seconds to wait for the lag to go; 0: stop when the faults end, and only deliver what is owed",
    )
    chosen = parser.parse_args()
    limits = chosen.limits == "on"
    soup = Soup(
        chosen.mode,
        chosen.seconds,
        chosen.rate,
        limits,
        chosen.outages,
        chosen.seed,
        chosen.request,
        chosen.catch_up_max,
    )
    with tempfile.TemporaryDirectory() as directory:
        host = Host(Path(directory))
        try:
            figures = Kitchen(host, soup).cook()
        finally:
            host.close()
    record("soup", mode=soup.mode, request=soup.request, limits=chosen.limits, seed=soup.seed, **figures)
    wrong = ("lost", "altered", "corrupt", "foreign", "verify_code", "exit_code", "dropped_records")
    unordered = soup.mode == "kpl-key" and figures["out_of_order"]
    return int(any(figures[name] for name in wrong) or bool(unordered))


if __name__ == "__main__":
    sys.exit(main())
