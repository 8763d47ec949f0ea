"""How a result is recorded: one JSON line with the figures, the machine, the commit and the command."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path


def record(bench: str, **figures: object) -> None:
    """Print the line."""
    print(
        json.dumps(
            {
                "bench": bench,
                **figures,
                "python": platform.python_version(),
                "machine": machine(),
                "commit": commit(),
                "command": " ".join([f"python bench/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
            }
        )
    )


def commit() -> str:
    """The short commit of the tree, with + when it has changes."""
    shown = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"],  # noqa: S607 - the developer's own git is meant
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return shown.stdout.strip() or "unknown"


def machine() -> str:
    """The processor's model and how many of it there are."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} x {os.cpu_count()}"
