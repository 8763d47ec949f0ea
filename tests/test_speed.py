"""The hot path costs no more than is recorded: by instructions or by ratios, never by a clock."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"


def guarded(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(BENCH / "guard.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_no_stage_of_the_hot_path_has_become_slower_than_what_is_recorded() -> None:
    ran = guarded()
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.slow
def test_a_stage_that_takes_twice_what_is_recorded_is_named(tmp_path: Path) -> None:
    recorded = json.loads((BENCH / "guard.json").read_text())
    for measured in ("ratios", "instructions"):
        if "encode and pack, plain" in recorded[measured]:
            recorded[measured]["encode and pack, plain"] /= 2
    (tmp_path / "guard.json").write_text(json.dumps(recorded))
    ran = guarded("--against", str(tmp_path / "guard.json"))
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "encode and pack, plain" in ran.stdout.splitlines()[-1]
