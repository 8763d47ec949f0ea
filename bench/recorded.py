"""How results are kept: shown as a table, and as JSON lines in bench/results/NAME.jsonl.

A file holds the rows of one run, the last; every row names machine, commit, versions and command, so that a
number can be traced and made again. `BENCH_RESULTS` names another directory.
"""

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(os.environ.get("BENCH_RESULTS") or Path(__file__).with_name("results"))
SHIPPED_SPEED = Path(__file__).parents[1] / "daemon" / "tickerd" / "planning" / "speed.json"
"""The curve that `tickerd plan` goes by."""
LIBRARIES = ("aiohttp", "aiobotocore", "msgspec", "numpy", "orjson", "pybase64", "uvloop")
ORIGIN = ("bench", "at", "machine", "commit", "versions", "command")
"""The fields of a row that say where it comes from."""
WRITTEN = (":(exclude)results", ":(exclude)../daemon/tickerd/planning/speed.json")
COLUMNS_MAX = 9  # a row with more is shown as one name and value a line

_shown: dict[str, list[int]] = {}  # by bench: the widths of the columns that the table has


def record(bench: str, **figures: object) -> None:
    """Show one row and keep it. The first of a run replaces those of the run before."""
    origin = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(),
        "commit": commit(),
        "versions": versions(),
        "command": shlex.join(["python", f"bench/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
    }
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{bench}.jsonl").open("a" if bench in _shown else "w") as file:
        file.write(json.dumps({"bench": bench, **figures, **origin}) + "\n")
    _show(bench, flat(figures), f"{origin['machine']}, commit {origin['commit']}: {origin['command']}")


def flat(figures: dict[str, object]) -> dict[str, str]:
    """The figures as texts, those of a table in a table by both names."""
    texts: dict[str, str] = {}
    for name, value in figures.items():
        if isinstance(value, dict):
            texts |= {f"{name} {inner}": text for inner, text in flat(value).items()}
        else:
            texts[name] = shown(value)
    return texts


def shown(value: object) -> str:
    """A figure as people read it."""
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
    return str(value)


def _show(bench: str, texts: dict[str, str], origin: str) -> None:
    if len(texts) > COLUMNS_MAX:
        _shown[bench] = []
        print(f"{bench}: {origin}")
        for name, text in texts.items():
            print(f"  {name:<44} {text:>14}")
        return
    if bench not in _shown:
        _shown[bench] = [max(len(name), len(text), 8) for name, text in texts.items()]
        print(f"{bench}: {origin}")
        print("  " + "  ".join(map(str.rjust, texts, _shown[bench])))
    print("  " + "  ".join(map(str.rjust, texts.values(), _shown[bench])), flush=True)


def commit() -> str:
    """The short commit of the tree, with + when it has changes other than what benches write."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        ran = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=False)  # noqa: S607 - the developer's own git is meant
        return ran.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "..", *WRITTEN)
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")


def machine() -> str:
    """The processor's model and how many of it there are."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} x {os.cpu_count()}"


def versions() -> dict[str, str]:
    """Of Python, the system and the libraries that the figures depend on."""
    libraries = {name: version(name) for name in ("tickerd", *LIBRARIES)}
    return {"python": platform.python_version(), "linux": platform.release().partition("-")[0], **libraries}
